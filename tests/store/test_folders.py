"""Run folders: atomic writes, paths, progress."""

from pathlib import Path

import pytest
import torch

from cprlib.store.files import allocate, atomic_path, project_root, read_json, resolve, write_json
from cprlib.store.folders import recorded_path
from cprlib.store.progress import progress
from cprlib.store.tensors import save_tensors

resource = pytest.importorskip("resource", reason="no limits on Windows")


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


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_json(path, ["long"] * 1000),
        lambda path: save_tensors(path, torch.zeros(2000)),
        lambda path: allocate(path, 5000),
    ],
)
def test_a_full_disk_is_named_and_leaves_no_partial_file(tmp_path, write):
    """A limit on file size simulates the full disk: writing fails in the same way."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="x.pt not written: too large a file there"):
            write(tmp_path / "x.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())
    write(tmp_path / "x.pt")


def test_paths_start_at_the_project_and_variables_are_expanded(monkeypatch, tmp_path):
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


def test_a_dollar_in_a_folder_name_is_not_a_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("CPR_ROOT", str(tmp_path))
    monkeypatch.setenv("HOME", "/nowhere")
    (tmp_path / "my $HOME/$x").mkdir(parents=True)
    assert resolve("my $HOME/$x/v.csv") == tmp_path / "my $HOME/$x/v.csv"
    assert resolve(tmp_path / "my $HOME/new") == tmp_path / "my $HOME/new"
    assert resolve("my $HOME") == tmp_path / "my $HOME"
    assert resolve("$HOME/new") == Path("/nowhere/new")
    with pytest.raises(ValueError, match="not set"):
        resolve("my $HOME/$not_there/x")


def test_a_long_name_is_written_atomically(tmp_path):
    for name in (f"{'x' * 251}.mp4", f"{'é' * 125}.csv"):
        with atomic_path(tmp_path / name) as path:
            path.write_text("whole")
        assert (tmp_path / name).read_text() == "whole"


def test_recorded_paths_follow_a_moved_folder(tmp_path):
    """`outputs` was moved: files beside a training are still beside it."""
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "run/t").mkdir(parents=True)
    (old / "data").mkdir()
    (old / "data/manifest.csv").touch()
    config = {"out": str(old / "run/t"), "manifest": str(old / "data/manifest.csv"), "cache": None}
    write_json(old / "run/t/config.json", config)
    assert recorded_path(old / "run/t", "manifest") == old / "data/manifest.csv"
    old.rename(new)
    assert recorded_path(new / "run/t", "manifest") == new / "data/manifest.csv"
    assert recorded_path(new / "run/t", "cache") is None
    (new / "data/manifest.csv").unlink()
    assert recorded_path(new / "run/t", "manifest") == old / "data/manifest.csv"  # for the error message
