"""Errors of the system, and of commands, are one line with the file and what to do."""

import os
import runpy
import sys

import pytest

from cprlib.store.errors import one_line
from cprlib.store.files import atomic_path, locked, read_json, write_json
from cprlib.store.sealed import read_lines
from cprlib.store.tables import read_csv


@pytest.fixture
def places(tmp_path):
    """A folder `folder`, a file `file` and a link `loop` to itself."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("text")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "function", "remedy"),
    [
        ("folder", read_json, "a folder, where a file is needed; move it away"),
        ("loop", read_json, "a link that leads back to itself; delete the link"),
        ("none", read_json, "not there; correct the path"),
        ("file/none", read_json, "a part of this path is a file"),
        ("folder", read_lines, "a folder, where a file is needed"),
        ("folder", lambda path: write_json(path, {}), "a folder, where a file is needed"),
        ("file/new", lambda path: write_json(path, {}), "a file or a broken link, where a folder is needed"),
        ("loop/new", lambda path: write_json(path, {}), "a file or a broken link, where a folder is needed"),
        ("x" * 300, lambda path: write_json(path, {}), "too long a name"),
        ("file/new", lambda path: locked(path).__enter__(), "a file or a broken link, where a folder is needed"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_a_remedy(places, name, function, remedy):
    with pytest.raises(OSError, match=f"/{name.split('/')[0][:200]}.*: {remedy}") as caught:
        function(places / name)
    assert "Errno" not in str(caught.value)


def test_a_folder_in_the_place_of_a_file_is_told_before_anything_is_written(places):
    with pytest.raises(IsADirectoryError), atomic_path(places / "folder"):
        pytest.fail("hours of work would be lost")
    write_json(places / "loop", {"a": 1})  # replaces the link
    assert read_json(places / "loop") == {"a": 1}
    assert sorted(os.listdir(places)) == ["file", "folder", "loop"]


@pytest.mark.parametrize(
    ("content", "told"), [(b"", "no table"), (b"\xff\xfe\x00", "no table"), (b"a\n1\n", "no column view")]
)
def test_a_damaged_table_of_results_is_named(tmp_path, content, told):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"t.csv (is|has) ({told}).*; delete it and run its step"):
        read_csv(tmp_path / "t.csv", ["view"])


COMMANDS = {
    "cprlib.report.tables none": "no table .*none/tables/retrieval.csv",
    "cprlib.evaluation.ablation none": "no CPR network in .*none",
    "cprlib.evaluation.progress none": "no co-trained network in .*none",
    "cprlib.evaluation.feature_shard none --manifest MANIFEST --shard 0/1": "none/config.json: not there",
    "cprlib.store.checkpoints export loop x.pth.tar": "no checkpoint at .*loop/checkpoint.pt",
    "cprlib.features none --out folder.npz": "folder.npz: a folder, where a file is needed",
    "cprlib.features none --out file/x.npz": "file: a file or a broken link, where a folder is needed",
    "cprlib.report.figures none --seed -1": "seed: -1 must lie between 0",
    "cprlib.data.flow MANIFEST file --method dis": "file: a file or a broken link",
    "cprlib.data.flow MANIFEST flow --method dis --bound inf": "bound is inf",
    "cprlib.data.flow MANIFEST flow --method dis --workers -1": "workers is -1",
    "cprlib.data.frame_cache MANIFEST cache --short-side -1": "short_side is -1",
    "cprlib.search index loop --run none": "no finished network at .*none",
    "data_prep.own_videos loop x.csv": "no video folder at .*loop",
    "data_prep.own_videos folder x.txt": "x.txt: a manifest ends in .csv or .parquet",
    "data_prep.own_videos folder folder.csv": "folder.csv: a folder, where a file is needed",
    "data_prep.toy_actions file": "file: a file or a broken link, where a folder is needed",
    "data_prep.toy_actions none --takes 0": "recordings is 16, takes 0",
    "bench.when none": "none: no such parameter file",
    "bench.evidence params/toy.yaml --set x": "'x' is not NAME=VALUE",
    "bench.rules none": "no CPR network in .*none",
}


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_in_one_line(places, toy_manifest, monkeypatch, command):
    for name in ("folder.npz", "folder.csv"):
        (places / name).mkdir()
    module, *words = command.replace("MANIFEST", str(toy_manifest)).split()
    names = ("none", "loop", "file", "file/x.npz", "folder", "folder.npz", "folder.csv", "flow", "cache")
    at = {name: str(places / name) for name in names}
    monkeypatch.chdir(places)
    monkeypatch.setattr(sys, "argv", [module, *(at.get(word, word) for word in words)])
    with pytest.raises(SystemExit, match=f"^error: .*{COMMANDS[command]}") as caught:
        runpy.run_module(module, run_name="__main__")
    assert "\n" not in caught.value.code and not (places / "none").exists()


def test_ctrl_c_ends_a_command_in_one_line():
    with pytest.raises(SystemExit, match="^stopped; what was finished is kept"), one_line():
        raise KeyboardInterrupt
