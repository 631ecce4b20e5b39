"""Imports go one way, without cycles; modules and functions are short. Read from the source, so it covers imports
also inside functions."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from cprlib.store.files import project_root

ROOT = project_root()
PAPER = ("cascade", "losses", "memory", "encoders")
# A module imports from its own part and from those to the left of it.
PARTS = ("paper", "miners", "methods", "store", "data", "training", "evaluation", "search", "report", "notebook")
PLACES = dict.fromkeys(PAPER, "paper") | {
    "features": "evaluation",
    "runner": "notebook",
}  # parts of the modules outside the parts' folders
MODULE_LINES, FUNCTION_LINES = 250, 60


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted(ROOT.glob("cprlib/**/*.py"))}


def imports_of(source: str) -> Iterator[str]:
    """Every imported module, and every imported name that may be a module, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


def part_of(module: str) -> str | None:
    """The part that a module of the project belongs to; None for the package itself."""
    _, _, rest = module.partition(".")
    part = rest.split(".")[0]
    return PLACES.get(part, part) or None


IMPORTS = {name: set(imports_of(path.read_text())) for name, path in MODULES.items()}
OWN = {name: {other for other in found if other.split(".")[0] == "cprlib"} for name, found in IMPORTS.items()}


def test_imports_are_found_inside_functions():
    source = "import a.b as x\ndef f():\n    from cprlib.store import files, load_released\n    import torch, os"
    assert list(imports_of(source)) == ["a.b", "cprlib.store.files", "cprlib.store", "torch", "os"]


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    here = part_of(module)
    assert here is None or here in PARTS, f"{module} is in no part; give it a place in {PARTS}"
    for other in OWN[module]:
        assert other in MODULES, f"{module} imports {other}, which does not exist"
        there = part_of(other)
        if here is None or there is None:  # cprlib/__init__.py imports from all parts, so no module may import it
            assert there is not None, f"{module} imports the package itself; import the module"
            continue
        assert PARTS.index(there) <= PARTS.index(here), f"{module} imports {other}, which is to the right of it"


def test_no_modules_import_each_other():
    TopologicalSorter(OWN).prepare()  # raises CycleError, naming the cycle


@pytest.mark.parametrize("part", PAPER)
def test_the_paper_needs_only_torch(part):
    """Other projects may copy these modules: no frame reader, no tables, no folders."""
    allowed = {"torch", "torchvision", *sys.stdlib_module_names}
    assert {name.split(".")[0] for name in IMPORTS[f"cprlib.{part}"]} - {"cprlib"} <= allowed
    assert {part_of(name) for name in OWN[f"cprlib.{part}"]} <= {"paper"}


@pytest.mark.parametrize("module", MODULES)
def test_torchvision_is_imported_only_inside_functions(module):
    """Importing it takes as long as torch, and every notebook, worker and command would wait for it."""
    at_once = [node for node in ast.parse(MODULES[module].read_text()).body if not hasattr(node, "body")]
    assert not any(name.startswith("torchvision") for node in at_once for name in imports_of(ast.unparse(node)))


def test_data_does_not_import_training():
    for module in (name for name in MODULES if part_of(name) == "data"):
        assert not {part_of(other) for other in OWN[module]} & {"miners", "training"}, module


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_functions_are_short(module):
    source = MODULES[module].read_text()
    assert len(source.splitlines()) <= MODULE_LINES
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno + 1 <= FUNCTION_LINES, node.name


def test_planning_does_not_import_torch():
    """The Snakefile and the runner of each notebook import these; torch would add over a second each time."""
    planning = "cprlib.cascade, cprlib.methods, cprlib.notebook.runner, cprlib.store.folders, cprlib.store.fingerprint"
    code = f"import sys, {planning}; print(*{{'torch', 'pandas', 'matplotlib'}} & set(sys.modules))"
    assert not subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
