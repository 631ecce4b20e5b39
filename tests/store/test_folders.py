"""Run folders: atomic writes, configuration guard, paths, progress."""

import pytest

from cprlib.store.files import atomic_path, project_root, read_json, resolve
from cprlib.store.progress import progress


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as tmp:
        tmp.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with atomic_path(path) as tmp:
        tmp.write_text("new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_paths_start_at_the_project_and_variables_are_filled_in(monkeypatch, tmp_path):
    assert resolve("outputs/x") == project_root() / "outputs" / "x"
    monkeypatch.setenv("CPR_DATA", str(tmp_path))
    assert resolve("$CPR_DATA/videos") == resolve("${CPR_DATA:-elsewhere}/videos") == tmp_path / "videos"
    monkeypatch.delenv("CPR_DATA")
    assert resolve("${CPR_DATA:-elsewhere}/videos") == project_root() / "elsewhere" / "videos"
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(ValueError, match=r"\$NOT_SET/x: an environment variable"):
        resolve("$NOT_SET/x")


def test_broken_json_is_named(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ValueError, match="x.json: not a JSON file .* delete it"):
        read_json(tmp_path / "x.json")


def test_progress_prints_sparse_lines_with_status(monkeypatch, capsys):
    monkeypatch.setenv("CPR_BATCH", "1")
    assert list(progress(range(5), "epochs", status=lambda: "loss 1.0", seconds=1e9)) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().out == "epochs: 5/5, 0 s left, loss 1.0\n"
