"""Strict notebook runner: ``python -m cprlib.notebook.runner NOTEBOOK OUT -f params.yaml -p name value``.

Papermill only warns about a misspelt parameter and then works for hours with the default. This
runner refuses it, checks types before anything starts, makes the output folder, runs in this very
Python from any directory, and reports a failure in one line where papermill prints a page.
"""

import argparse
import ast
import sys
import tempfile
import time
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nbformat
import yaml

from cprlib.notebook.kernel import this_python
from cprlib.notebook.page import write_page
from cprlib.notebook.parameters import ALLOWED, DATA_PARAMETERS
from cprlib.store.errors import STOPPED, in_one_line, told
from cprlib.store.files import atomic_path, project_root, resolve, socket_folder
from cprlib.store.progress import Marked
from cprlib.store.settings import check_range, coerce, read_params, unknown


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a notebook; errors name the file."""
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        there = ", ".join(sorted(p.name for p in path.parent.glob("*.ipynb"))) or "no notebook"
        raise FileNotFoundError(f"{path}: no such notebook; in that folder: {there}") from None
    except OSError as error:
        raise told(error, path) from error
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a notebook ({type(error).__name__})") from error


def notebook_parameters(path: Path) -> dict[str, Any]:
    """Names in the cell tagged ``parameters``, each with its annotated type or its default's."""
    cells = read_notebook(path).cells
    tagged = (c.source for c in cells if "parameters" in c.metadata.get("tags", ()))
    types = {}
    for line in ast.parse(next(tagged, "")).body:
        match line:
            case ast.AnnAssign(target=ast.Name(name), annotation=hint):
                types[name] = eval(ast.unparse(hint), dict(vars(typing)))
            case ast.Assign(targets=[ast.Name(name)], value=ast.Constant(None)):
                types[name] = Any
            case ast.Assign(targets=[ast.Name(name)], value=value):
                types[name] = type(ast.literal_eval(value))
    return types


def known_parameters(folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """All names that a parameter file may hold, as one file serves every notebook.

    Args:
        folder: where the notebooks are; default the project's.

    Returns:
        name -> who reads it -> the type it wants.
    """
    known = {name: {"Snakefile": hint} for name, hint in DATA_PARAMETERS.items()}
    for path in sorted((folder or project_root() / "notebooks").glob("*.ipynb")):
        for name, hint in notebook_parameters(path).items():
            known.setdefault(name, {})[path.name] = hint
    return known


def check_shared(values: Mapping[str, Any], folder: Path | None = None) -> dict[str, Any]:
    """Check names and types of settings that all notebooks share.

    Returns:
        The same values in these types, however they are written: 1e-3 (text to YAML) and 0.001 are one setting.

    Raises:
        ValueError: a name that nothing reads, with the closest that exists; a wrong type.
    """
    known, coerced = known_parameters(folder), {}
    for name, value in values.items():
        if name not in known:
            raise ValueError(unknown(name, known))
        coerced[name] = [coerce(name, value, hint) for hint in known[name].values()][0]
        check_range(name, coerced[name], ALLOWED.get(name, {}))
    return coerced


def choose(notebook: Path, files: Iterable = (), options: Iterable = ()) -> dict[str, Any]:
    """The parameters a notebook is run with.

    Args:
        notebook: its ``parameters`` cell declares them.
        files: paths of flat YAML files, later ones win; names of other notebooks are ignored.
        options: (name, text) pairs that win over the files; names of this notebook only.

    Raises:
        ValueError: a name that does not exist, with the closest that does, or a wrong type.
    """
    types, chosen = notebook_parameters(notebook), {}
    for path in files:
        values = read_params(path)
        try:
            check_shared({k: v for k, v in values.items() if k not in types}, notebook.parent)
            chosen |= {k: coerce(k, v, types[k]) for k, v in values.items() if k in types}
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    for name, text in options:
        if name not in types:
            raise ValueError(f"{notebook.name}: {unknown(name, types)}")
        chosen[name] = _parse(name, text, types[name])
    for name, value in chosen.items():
        check_range(name, value, ALLOWED.get(name, {}))
    return {k: list(v) if isinstance(v, tuple) else v for k, v in chosen.items()}


def _parse(name: str, text: str, hint: Any) -> Any:
    """Read a value from the command line: as YAML or, if that does not fit, as text."""
    try:
        return coerce(name, yaml.safe_load(text), hint)
    except (ValueError, yaml.YAMLError):
        return coerce(name, text, hint)


def run_notebook(notebook: Path, out: Path, parameters: Mapping, page: bool = False) -> None:
    """Run a notebook with checked parameters in this Python, in the project's folder.

    Args:
        notebook: the notebook.
        out: the executed notebook; after a failure up to the error, which it shows.
        parameters: see `choose`.
        page: also write an HTML page beside it that needs no network.

    Raises:
        RuntimeError: the cell that failed and its error, in one line.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    failure = None
    with atomic_path(out) as tmp, tempfile.TemporaryDirectory(prefix="cprlib-", dir=socket_folder()) as sockets:
        try:
            papermill.execute_notebook(
                *(str(path).replace("{", "{{").replace("}", "}}") for path in (notebook, tmp)),  # it fills in braces
                dict(parameters),
                kernel_name="python3",
                language="python",
                progress_bar=False,
                stdout_file=Marked(sys.stdout, f"{out.stem} | "),
                cwd=project_root(),
                kernel_manager_class=this_python(sockets),
            )
        except papermill.PapermillExecutionError as error:
            message = " ".join(error.evalue.split())
            failure = f"{notebook.name}, cell [{error.exec_count}]: {error.ename}: {message}"
        except DeadKernelError:
            failure = f"{notebook.name}: its process was killed; was there too little memory?"
        _finish(tmp, out, failure)
    if page:
        write_page(out)
    if failure:
        raise RuntimeError(f"{failure} (see {out})")


def _finish(tmp: Path, out: Path, failure: str | None) -> None:
    """Correct the recorded path of the notebook, and put a failure at its top."""
    executed = read_notebook(tmp)
    executed.metadata.papermill["output_path"] = str(out)
    if failure:
        executed.cells.insert(0, nbformat.v4.new_markdown_cell(f"**Stopped:** `{failure}`"))
    nbformat.write(executed, tmp)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser("python -m cprlib.notebook.runner", description=__doc__.split("\n")[0])
    parser.add_argument("notebook", help="paths are relative to the project's folder")
    parser.add_argument("out", help="the executed notebook")
    parser.add_argument("-f", "--file", action="append", default=[], help="flat YAML of parameters")
    parser.add_argument("-p", "--param", nargs=2, action="append", default=[], help="NAME VALUE")
    parser.add_argument("--html", action="store_true", help="also write a page beside OUT")
    args = parser.parse_args(argv)
    notebook, out = resolve(args.notebook), resolve(args.out)
    if notebook == out or out.suffix != ".ipynb":
        parser.error("OUT is the notebook itself; name another file" if notebook == out else "OUT must end in .ipynb")
    start = time.monotonic()
    try:
        parameters = choose(notebook, map(resolve, args.file), args.param)
        print(f"{out.stem} | started", flush=True)
        run_notebook(notebook, out, parameters, args.html)
    except (ValueError, OSError, RuntimeError) as error:
        print(in_one_line(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return 1
    print(f"{out.stem} | finished in {time.monotonic() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
