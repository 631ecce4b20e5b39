import json
import subprocess
import sys
import tempfile

import nbformat
import papermill
import pytest
from nbformat import v4

from cprlib.notebook import kernel, runner
from cprlib.notebook.runner import choose, main, notebook_parameters
from cprlib.store.files import project_root

PARAMETERS = """from typing import Optional

run: str = "toy"  # name of the run
epochs: int = 3  # passes over the videos
lr: float = 1e-3  # learning rate
size: Optional[int] = None  # pixels
views: list = ["rgb", "flow"]  # networks
flip: bool = True"""


def write(path, *code, parameters=PARAMETERS):
    first = v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    cells = [v4.new_markdown_cell("# Story"), first, *map(v4.new_code_cell, code)]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


@pytest.fixture
def notebook(tmp_path):
    """A notebook that runs; another one beside it has the parameter `K`."""
    write(tmp_path / "other.ipynb", parameters="K: int = 2048")
    return write(
        tmp_path / "story.ipynb",
        "import json, os, sys\nplace = [sys.executable, os.getcwd(), os.getenv('CPR_BATCH')]",
        "print(json.dumps([*place, run, epochs, lr, size, views, flip]))",
    )


def printed(out):
    """The output of the cells of an executed notebook."""
    cells = nbformat.read(out, as_version=4).cells
    return "".join(o.get("text", "") for c in cells if "outputs" in c for o in c.outputs)


def error_of(capsys):
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_notebooks_run_in_this_python_and_in_the_project_from_any_folder(notebook, tmp_path, monkeypatch, capsys):
    spec = tmp_path / "jupyter/kernels/python3"  # another kernel of that name must not be used
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "no"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.chdir("/")
    (tmp_path / "a.yaml").write_text("epochs: 7\nlr: 1e-4\nK: 5\nviews: [rgb]\n")
    (tmp_path / "b.yaml").write_text("epochs: 8\n")
    out = tmp_path / "new/folder/story.ipynb"
    files = ["-f", f"{tmp_path}/a.yaml", "-f", f"{tmp_path}/b.yaml"]
    options = ["-p", "run", "2024", "-p", "size", "64", "-p", "flip", "false"]
    assert main([str(notebook), str(out), *files, *options, "--html"]) == 0
    expected = [sys.executable, str(project_root()), "1", "2024", 8, 1e-4, 64, ["rgb"], False]
    assert json.loads(printed(out)) == expected
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "story | started" and json.loads(lines[1][8:]) == expected
    assert nbformat.read(out, as_version=4).metadata.papermill.output_path == str(out)
    assert sorted(p.name for p in out.parent.iterdir()) == ["story.html", "story.ipynb"]


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_long_path_for_temporary_files_works(notebook, tmp_path, monkeypatch, elsewhere):
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    if not elsewhere:  # without a short path it uses the network
        for module in (runner, kernel):
            monkeypatch.setattr(module, "socket_folder", lambda: str(deep))
    assert main([str(notebook), str(tmp_path / "out.ipynb")]) == 0
    assert json.loads(printed(tmp_path / "out.ipynb"))[3] == "toy" and list(deep.iterdir()) == []


def test_the_runner_imports_nothing_slow():
    line = "import sys, cprlib.notebook.runner; print({'torchvision', 'pandas', 'papermill'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", line], cwd=project_root(), capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_a_failure_gives_one_line_and_the_notebook_is_kept(tmp_path, capsys):
    notebook = write(tmp_path / "story.ipynb", "print('so far')", "1 / 0", "print('never')")
    out = tmp_path / "out/story.ipynb"
    assert main([str(notebook), str(out)]) == 1
    assert error_of(capsys) == (f"error: story.ipynb, cell [3]: ZeroDivisionError: division by zero (see {out})")
    assert printed(out) == "so far\n" and "ZeroDivisionError" in out.read_text()
    assert [p.name for p in out.parent.iterdir()] == ["story.ipynb"]


def test_a_killed_kernel_gives_one_line_too(tmp_path):
    notebook = write(tmp_path / "story.ipynb", "import os; os.kill(os.getpid(), 9)")
    command = [sys.executable, "-m", "cprlib.notebook.runner", notebook, tmp_path / "out.ipynb"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=project_root())
    assert done.returncode == 1
    assert "story.ipynb: its process was killed; was there too little memory?" in done.stderr
    assert "Traceback" not in done.stderr and "process was killed" in command[-1].read_text()


@pytest.mark.parametrize(
    "text, message",
    [
        ("epcohs: 3", "unknown parameter 'epcohs'. Did you mean 'epochs'?"),
        ("epochs: ten", "epochs: expected int, got 'ten' (str)"),
        ("epochs: true", "epochs: expected int, got True (bool)"),
        ("views: rgb", "views: expected list, got 'rgb' (str)"),
        ("train: {epochs: 3}", "unknown parameter 'train'"),
        ("epochs: {a: 3}", "epochs: expected int, got {'a': 3} (dict)"),
        ("K: many", "K: expected int, got 'many' (str)"),
        ("dataset: imagenet", "dataset: expected one of 'toy', 'ucf101', 'hmdb51', 'kinetics'"),
        ("- epochs", "expected lines 'name: value', got a list"),
        ("epochs: [", "not YAML"),
        ("seed: 2026-13-01", "not YAML: month must be in 1..12"),
        ("seed: 0\n<<: {epochs: 3}", "not YAML: line 2: '<<' is not supported"),
    ],
)
def test_a_wrong_parameter_file_is_refused_before_anything_runs(notebook, tmp_path, capsys, text, message):
    (tmp_path / "p.yaml").write_text(text)
    out = tmp_path / "out/story.ipynb"
    assert main([str(notebook), str(out), "-f", str(tmp_path / "p.yaml")]) == 1
    assert message in (line := error_of(capsys)) and str(tmp_path / "p.yaml") in line
    assert not out.parent.exists()


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("epoch", "3", "story.ipynb: unknown parameter 'epoch'. Did you mean 'epochs'?"),
        ("K", "5", "story.ipynb: unknown parameter 'K'. Valid: epochs, flip, lr, run, size, views"),
        ("epochs", "3.5", "epochs: expected int, got '3.5' (str)"),
    ],
)
def test_an_option_must_belong_to_the_notebook(notebook, tmp_path, capsys, name, text, message):
    assert main([str(notebook), str(tmp_path / "out.ipynb"), "-p", name, text]) == 1
    assert message in error_of(capsys)


def test_missing_and_broken_files_are_named(notebook, tmp_path, capsys):
    assert main([str(tmp_path / "stroy.ipynb"), str(tmp_path / "out.ipynb")]) == 1
    assert "stroy.ipynb: no such notebook; in that folder: other.ipynb, story" in error_of(capsys)
    assert main([str(notebook), str(tmp_path / "out.ipynb"), "-f", "nope.yaml"]) == 1
    assert "nope.yaml: no such parameter file" in error_of(capsys)
    (tmp_path / "broken.ipynb").write_text("no JSON")
    assert main([str(tmp_path / "broken.ipynb"), str(tmp_path / "out.ipynb")]) == 1
    assert "broken.ipynb: not a notebook" in error_of(capsys)
    (tmp_path / "broken.ipynb").write_bytes(b"\xff\xfe\x00")
    assert main([str(tmp_path / "broken.ipynb"), str(tmp_path / "out.ipynb")]) == 1
    assert "broken.ipynb: not a notebook" in error_of(capsys)
    assert main([str(tmp_path), str(tmp_path / "out.ipynb")]) == 1
    assert f"{tmp_path}: a folder, where a file is needed" in error_of(capsys)
    (tmp_path / "out.ipynb").mkdir()
    assert main([str(notebook), str(tmp_path / "out.ipynb")]) == 1
    assert "out.ipynb: a folder, where a file is needed" in error_of(capsys)  # before anything runs
    for out in (notebook, tmp_path / "out.html"):  # --html would replace the executed notebook
        with pytest.raises(SystemExit):
            main([str(notebook), str(out)])


def test_parameters_equal_those_of_papermill(notebook):
    seen = papermill.inspect_notebook(str(notebook))
    assert list(seen) == list(notebook_parameters(notebook))
    assert notebook_parameters(notebook)["lr"] is float


def test_parameters_without_annotation_and_those_papermill_cannot_parse(tmp_path):
    source = 'a = 3\nb = None\nc: int | None = None\nd: str = "x=y"\ne = [\n    1,\n]'
    notebook = write(tmp_path / "n.ipynb", parameters=source)
    types = notebook_parameters(notebook)
    assert list(types) == ["a", "b", "c", "d", "e"] and types["a"] is int and types["e"] is list
    assert choose(notebook, options=[("c", "5"), ("b", "x"), ("d", "true")]) == {"c": 5, "b": "x", "d": "true"}


def test_the_kernel_ends_with_its_runner(tmp_path):
    """A killed runner leaves no process behind that still writes."""
    pid_file = tmp_path / "pid"
    code = f"import os, time\nopen({str(pid_file)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    notebook = write(tmp_path / "story.ipynb", code)
    command = [sys.executable, "-m", "cprlib.notebook.runner", notebook, tmp_path / "out.ipynb"]
    runner = subprocess.Popen(command, cwd=project_root(), stdout=subprocess.DEVNULL)
    wait_until(lambda: pid_file.exists() and pid_file.read_text())
    runner.kill()
    runner.wait()
    kernel = int(pid_file.read_text())
    wait_until(lambda: not is_running(kernel))


def is_running(pid: int) -> bool:
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_until(condition, seconds=30):
    import time

    for _ in range(seconds * 10):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("waited in vain")
