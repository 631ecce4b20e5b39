import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cprlib.store.files import project_root

ROOT = project_root()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements():
    extras = PROJECT["optional-dependencies"]
    return [
        Requirement(line) for line in [*PROJECT["dependencies"], *extras["dev"], *extras["examples"], *extras["faiss"]]
    ]


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    lines = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(line.name): line for line in lines}


@pytest.mark.parametrize("requirement", requirements(), ids=lambda r: r.name)
def test_every_dependency_is_pinned_to_an_allowed_version(requirement):
    pin = pins()[canonicalize_name(requirement.name)]
    (specifier,) = pin.specifier
    assert specifier.operator == "==" and requirement.specifier.contains(specifier.version)


def test_pins_name_versions_not_sources():
    assert all(len(p.specifier) == 1 and not p.url for p in pins().values())
    assert not re.search(r"://|@|^-", (ROOT / "constraints.txt").read_text(), re.MULTILINE)


def test_every_import_is_pinned():
    """A module installed only by accident would be missing elsewhere."""
    own = {"cprlib", "data_prep", *sys.stdlib_module_names}
    distributions = packages_distributions()
    for path in [*ROOT.glob("cprlib/**/*.py"), *ROOT.glob("data_prep/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for top in {name.split(".")[0] for name in names} - own - {"decord"}:
                found = {canonicalize_name(d) for d in distributions.get(top, ())}
                assert found & set(pins()), f"{path} imports {top}, which constraints.txt lacks"


def test_conda_installs_this_project_with_the_pins_and_a_matching_python():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == PROJECT["name"] and environment["channels"] == ["conda-forge"]
    *conda, pip = environment["dependencies"]
    assert pip == {"pip": ["-c constraints.txt", "-e .[dev]"]}
    python = Requirement(next(p for p in conda if p.startswith("python")).replace("=", "=="))
    (specifier,) = python.specifier
    wanted = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert wanted.contains(specifier.version)
    assert set(conda) == {f"python={specifier.version}", "pip", "make"}  # the rest is pyproject's


def test_decord_is_required_only_where_it_has_a_wheel():
    marker = next(r.marker for r in requirements() if r.name == "decord")
    linux = {"platform_system": "Linux", "platform_machine": "x86_64"}
    assert marker.evaluate(linux)
    assert not marker.evaluate(linux | {"platform_machine": "aarch64"})
    assert not marker.evaluate(linux | {"platform_system": "Darwin"})


def test_make_test_runs_every_check():
    ci = ROOT / ".ci/run"
    assert os.access(ci, os.X_OK) and "make test" in ci.read_text()

    def plan(target):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "ruff check" in plan("test") and "pytest" in plan("test")
    assert "snakemake" in plan("demo") and "params/toy.yaml" in plan("demo")


def test_git_ignores_results():
    def ignored(path):
        return subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT).returncode == 0

    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    assert all(map(ignored, ["outputs/toy/x.csv", ".venv", ".snakemake/log/x", "a/b.whl"]))
    assert not any(map(ignored, ["outputs/README.md", "params/toy.yaml", "cprlib/runner.py"]))
