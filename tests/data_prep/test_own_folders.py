"""Own videos in folders: split folders, links, skipped files, any name; and calling it again."""

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from cprlib.data.content import trained_on, training_rows
from cprlib.data.files import find_videos
from cprlib.data.flow import extract_flow, flow_info
from cprlib.data.frame_cache import build_cache
from cprlib.data.frames import open_frames
from cprlib.data.manifest import UNLABELLED, Manifest
from cprlib.notebook import runner
from cprlib.store.files import project_root
from data_prep import common, own_sources, own_videos
from data_prep.before import rows_before
from data_prep.remembered import beside
from tests.data_prep.test_data_prep import own_command, pairs, videos


@pytest.mark.parametrize(
    "names", [("train", "test"), ("Training", "VALIDATION"), ("TRAIN", "val"), ("train", "Testing")]
)
@pytest.mark.parametrize("first", [True, False])
def test_folders_may_be_splits(tmp_path, capsys, names, first):
    places = [f"{s}/{c}" if first else f"{c}/{s}" for s in names for c in ("jump", "run")]
    folder = videos(tmp_path / "own", *(f"{place}/{i}.mp4" for place in places for i in "ab"))
    manifest, problems = own_videos.build(folder, workers=1)
    assert problems.empty and manifest.class_names == ["jump", "run"]
    assert manifest.table.groupby(["class_name", "split"]).size().to_dict() == {
        ("jump", "test"): 2, ("jump", "train"): 2, ("run", "test"): 2, ("run", "train"): 2,
    }  # fmt: skip
    assert manifest.table.source_id.is_unique  # the a.mp4 of each split is a separate recording
    layout = "<split>/<class>/[<recording>]/<video>" if first else "<class>/<split>/[<recording>]/<video>"
    assert f"read as {layout}" in capsys.readouterr().out


def test_validation_is_unused_beside_a_test_split_and_recordings_work_in_every_split(tmp_path):
    names = [f"{s}/{c}/film/{i}.mp4" for s in ("train", "test", "val") for c in ("jump", "run") for i in "ab"]
    folder = videos(tmp_path / "own", *names)
    table = own_videos.build(folder, workers=1)[0].table
    assert table.groupby("source_id").size().eq(2).all() and table.source_id.nunique() == 6
    assert table.split.value_counts().to_dict() == {"train": 4, "test": 4, "unused": 4}


def test_folders_that_are_not_splits(tmp_path, capsys):
    folder = videos(tmp_path / "sport", *(f"{c}/{i}.mp4" for c in ("training", "rowing") for i in range(3)))
    assert own_videos.build(folder, workers=1)[0].class_names == ["rowing", "training"]
    assert "read as <class>/[<recording>]/<video>" in capsys.readouterr().out
    folder = videos(tmp_path / "flat", *(f"{c}/{i}.mp4" for c in ("train", "bus") for i in range(3)))
    assert own_videos.build(folder, workers=1)[0].class_names == ["bus", "train"]
    folder = videos(tmp_path / "alone", *(f"train/{c}/{i}.mp4" for c in ("jump", "run") for i in range(3)))
    made = own_videos.build(folder, workers=1)[0]
    assert made.class_names == ["jump", "run"] and set(made.table.split) == {"train", "test"}  # drawn at random
    videos(folder, "train/loose.mp4")
    with pytest.raises(ValueError, match="loose.mp4 .*lies in no class folder"):
        own_videos.build(folder, workers=1)


def test_skipped_files_are_reported(tmp_path, monkeypatch, capsys):
    folder = videos(tmp_path / "own", *(f"jump/{i}.mp4" for i in range(3)), "run/9.MP4", "run/10.mp4")
    for name in ("jump/a.txt", "jump/b.TXT", "run/c.heic", "run/README"):
        (folder / name).touch()
    for suffix in (".MTS", ".m2ts", ".3gp"):
        shutil.copy(folder / "jump/0.mp4", folder / f"run/x{suffix}")
    own_command(monkeypatch, folder, tmp_path / "m.csv")
    printed = capsys.readouterr().out
    for line in (".txt file not looked at: 2 (a.txt, b.TXT)", ".heic file not looked at: 1 (c.heic)",
                 "file without suffix not looked at: 1 (README)", "identical: 3"):  # fmt: skip
        assert line in printed
    listed = pd.read_csv(tmp_path / "m_problems.csv")
    assert str(folder / "run/c.heic") in listed.path.tolist() and len(Manifest.read(tmp_path / "m.csv")) == 8


def test_links_are_followed_once(tmp_path):
    folder = videos(tmp_path / "own", "jump/1.mp4", "jump/2.mp4", "run/3.mp4")
    videos(tmp_path / "elsewhere", "4.mp4")
    (folder / "jump/loop").symlink_to(folder)
    (folder / "a_again").symlink_to(folder / "run")
    (folder / "jump/0.mp4").symlink_to(folder / "jump/1.mp4")
    (folder / "run/linked").symlink_to(tmp_path / "elsewhere")
    (folder / "dangling").symlink_to(tmp_path / "gone")
    (folder / "gone.mp4").symlink_to(tmp_path / "gone.mp4")
    os.mkfifo(folder / "jump/pipe.mp4")  # reading it would block forever
    problems: list[dict] = []
    found = find_videos(folder, problems)
    assert [str(path.relative_to(folder)) for path in found] == [
        "jump/1.mp4",
        "jump/2.mp4",
        "run/3.mp4",
        "run/linked/4.mp4",
    ]
    left = [Path(p["path"]).name for p in problems if p["reason"].startswith("no file")]
    assert sorted(left) == ["gone.mp4", "pipe.mp4"]
    assert {"path": str(folder / "jump/0.mp4"), "reason": f"same file as {folder / 'jump/1.mp4'}"} in problems
    made, told = own_videos.build(folder, workers=1)
    assert made.class_names == ["jump", "run"] and ("0.mp4", f"same file as {folder / 'jump/1.mp4'}") in pairs(told)


def test_a_name_that_is_not_text_is_reported(tmp_path, monkeypatch, capsys):
    folder = videos(tmp_path / "own", "jump/1.mp4", "jump/2.mp4")
    odd = os.fsencode(folder) + b"/jump/\xff.mp4"
    try:
        shutil.copy(folder / "jump/1.mp4", odd)
    except OSError:
        pytest.skip("this file system allows only text names")
    own_command(monkeypatch, folder, tmp_path / "m.csv")
    assert "name is not UTF-8; rename the file: 1" in capsys.readouterr().out
    assert len(Manifest.read(tmp_path / "m.csv")) == 2


@pytest.fixture
def again(tmp_path, monkeypatch):
    """A function that makes the manifest of tmp_path/own and returns the videos that were probed."""
    looked = []
    rightly = common.parallel_map

    def noted(function, items, workers, description):
        looked.extend(Path(str(item)).name for item in items)
        return rightly(function, items, workers, description)

    monkeypatch.setattr(common, "parallel_map", noted)
    monkeypatch.setattr("sys.argv", ["own_videos", str(tmp_path / "own"), str(tmp_path / "m.csv"), "--workers", "1"])

    def call() -> tuple[list[str], Manifest]:
        looked.clear()
        own_videos.main()
        return looked[:], Manifest.read(tmp_path / "m.csv")

    return call


@pytest.mark.parametrize("content", ["[1]", '{"version": 1}', '{"version": 1, "files": [1]}', "\xff"])
def test_foreign_findings_are_not_used(tmp_path, again, content):
    folder = videos(tmp_path / "own", *(f"{c}/{i}{c}.mp4" for c in ("jump", "run") for i in range(2)))
    (tmp_path / "m_looked.json").write_text(content, encoding="latin-1")
    assert again()[0] == [path.name for path in find_videos(folder)]
    assert again()[0] == []


def test_only_new_and_changed_videos_are_probed_again(tmp_path, again):
    folder = videos(tmp_path / "own", *(f"{c}/{i}{c}.mp4" for c in ("jump", "run") for i in range(3)))
    whole = (folder / "run/0run.mp4").read_bytes()
    (folder / "run/0run.mp4").write_bytes(whole[:500])
    names = [path.name for path in find_videos(folder)]
    looked, manifest = again()
    assert looked == names and len(manifest) == 5
    files = [tmp_path / name for name in ("m.csv", "m_problems.csv", "m_looked.json")]
    before = [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files]
    looked, _ = again()
    assert looked == [] and [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files] == before
    (folder / "run/0run.mp4").write_bytes(whole)  # repaired under the same name
    looked, manifest = again()
    assert looked == ["0run.mp4"] and len(manifest) == 6
    assert pd.read_csv(tmp_path / "m_problems.csv").empty
    videos(tmp_path / "disk", "late.mp4")
    (folder / "run/disk").symlink_to(tmp_path / "disk")
    looked, manifest = again()
    assert looked == ["late.mp4"] and len(manifest) == 7
    one = videos(tmp_path / "new", "0jump.mp4", frames=9) / "0jump.mp4"  # another video with preserved times
    state = (folder / "jump/0jump.mp4").stat()
    os.utime(one, ns=(state.st_atime_ns, state.st_mtime_ns))
    shutil.copy2(one, folder / "jump/0jump.mp4")
    looked, manifest = again()
    assert looked == ["0jump.mp4"] and manifest.table.num_frames.max() == 9
    (folder / "jump/1jump.mp4").unlink()
    looked, manifest = again()
    assert looked == [] and len(manifest) == 6
    assert len(json.loads(beside(tmp_path / "m.csv").read_text())["files"]) == 6
    beside(tmp_path / "m.csv").write_text("{broken")
    assert len(again()[0]) == 6


def test_a_file_added_after_its_csv(tmp_path):
    folder = videos(tmp_path, *(f"{i}.mp4" for i in range(4)))
    rows = {"path": [f"{i}.mp4" for i in range(5)], "class_name": ["a", "a", "a", "b", "b"]}
    pd.DataFrame(rows).to_csv(folder / "own.csv", index=False)
    memory = tmp_path / "looked.json"
    first, problems = own_videos.build(folder / "own.csv", workers=1, memory=memory)
    assert len(first) == 4 and pairs(problems) == {("4.mp4", "listed but missing")}
    videos(folder, "4.mp4")
    second, problems = own_videos.build(folder / "own.csv", workers=1, memory=memory)
    assert len(second) == 5 and problems.empty


ODD = ["$HOME.mp4", "a {b} [c] 'd' \"e\".mp4", "#%&;(x)*?.mp4", "two\nlines.mp4", "日本 é.mp4", f"{'x' * 251}.mp4"]


def test_odd_names_work_throughout(tmp_path, monkeypatch):
    """Names of videos, classes and their parent folder; through the flow notebook, too."""
    monkeypatch.setenv("HOME", "/nowhere")
    folder = tmp_path / "my $data {1}"
    names = [f"{c}/{name}" for c in ("{braces} $x", "'quotes' \"b\"") for name in ODD]
    videos(folder, *names)
    out = tmp_path / "out $1 {x}"
    out.mkdir()
    own_command(monkeypatch, folder, out / "videos.csv")
    manifest = Manifest.read(out / "videos.csv")
    assert sorted(manifest.table.path) == sorted(str(folder / name) for name in names)
    done = extract_flow(manifest, out / "flow", "dis", 20.0, 1)
    assert all(flow_info(path).num_frames == 4 for path in done.table.flow_path)
    build_cache(done, out / "cache", ["rgb", "flow"], 16, workers=1)
    assert open_frames(done, ["rgb", "flow"], 16, out / "cache").frames(3, "flow", [0]).shape == (1, 16, 16, 2)
    options = dict(videos_csv=out / "videos.csv", manifest=out / "manifest.csv", outputs=out, cache="")
    options |= dict(flow_short_side=12, workers=1, examples=1, video=0)
    words = [word for name, value in options.items() for word in ("-p", name, str(value))]
    notebook = project_root() / "notebooks/01_flow_extraction.ipynb"
    assert runner.main([str(notebook), str(out / "01.ipynb"), *words]) == 0
    made = Manifest.read(out / "manifest.csv")
    assert {flow_info(path).short_side for path in made.table.flow_path} == {12}


def test_without_classes_and_with_them_later(tmp_path, capsys):
    folder = videos(tmp_path / "flat", *(f"{i}.mp4" for i in range(10)))
    assert not own_sources.is_labelled(folder)
    blind, _ = own_videos.build(folder, workers=1)
    assert not blind.is_labelled and blind.table.split.value_counts().to_dict() == {"train": 8, "test": 2}
    assert "without classes" in capsys.readouterr().out
    rows = pd.DataFrame({"path": [f"{i}.mp4" for i in range(10)], "class_name": ["a", "b"] * 5})
    rows.to_csv(folder / "all.csv", index=False)
    rows[["path"]].to_csv(folder / "paths.csv", index=False)
    rows.rename(columns={"class_name": "class"}).to_csv(folder / "misspelt.csv", index=False)
    assert own_sources.is_labelled(folder / "all.csv") and not own_sources.is_labelled(folder / "paths.csv")
    assert own_videos.build(folder / "paths.csv", workers=1)[0].class_names == [UNLABELLED]
    with pytest.raises(ValueError, match="class_name"):
        own_videos.build(folder / "misspelt.csv", workers=1)
    seen = own_videos.build(folder / "all.csv", workers=1, before=blind)[0]
    assert seen.is_labelled and seen.table.split.tolist() == blind.table.split.tolist()
    assert training_rows(seen) != training_rows(blind) and trained_on(training_rows(blind), seen)
    assert not trained_on(training_rows(seen), blind)


def test_known_videos_keep_their_id_and_split(tmp_path):
    """In any order, after a move, with videos added; a group that was on both sides is drawn again."""
    folder, memory = videos(tmp_path / "flat", *(f"{i}.mp4" for i in range(10))), tmp_path / "looked.json"
    blind, _ = own_videos.build(folder, workers=1, memory=memory)
    hidden = training_rows(blind)
    (tmp_path / "moved").mkdir()
    for i in range(10):
        (folder / f"{i}.mp4").rename(tmp_path / "moved" / f"video {i}.mp4")
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    rows = pd.DataFrame({"path": [f"moved/video {i}.mp4" for i in order], "class_name": ["a", "b"] * 5})
    rows.to_csv(tmp_path / "all.csv", index=False)
    seen = own_videos.build(tmp_path / "all.csv", workers=1, memory=memory, before=blind)[0]
    assert trained_on(hidden, seen)
    assert [Path(path).stem for path in seen.table.path] == [f"video {i}" for i in range(10)]
    assert seen.table.split.tolist() == blind.table.split.tolist()
    videos(tmp_path / "moved", *(f"late {i}.mp4" for i in range(10)))
    late = pd.DataFrame({"path": [f"moved/late {i}.mp4" for i in range(10)], "class_name": ["a", "b"] * 5})
    pd.concat([late, rows]).to_csv(tmp_path / "all.csv", index=False)
    more = own_videos.build(tmp_path / "all.csv", workers=1, memory=memory, before=seen)[0].table
    assert more.split[:10].tolist() == seen.table.split.tolist() and (more.split[10:] == "test").any()
    both = [f"video {i}" for i in (seen.table.split.tolist().index("test"), seen.table.split.tolist().index("train"))]
    rows["group"] = ["same" if Path(path).stem in both else "" for path in rows.path]
    rows.to_csv(tmp_path / "all.csv", index=False)
    joined = own_videos.build(tmp_path / "all.csv", workers=1, memory=memory, before=seen)[0].table
    assert joined[joined.group == "same"].split.nunique() == 1
    table = own_videos.build(tmp_path / "moved", workers=1, before=None)[0].table  # the names are the same
    lost = Manifest(table.assign(path=[f"/gone/{Path(path).name}" for path in table.path]))
    assert rows_before(table.path[::-1].tolist(), lost) == list(range(len(table)))[::-1]
