import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cprlib.data.files import find_videos
from cprlib.data.manifest import Manifest
from cprlib.data.video import write_video
from data_prep import hmdb51, own_videos, ucf101
from data_prep.common import MISSING, MISSING_CLASS, UNLISTED, save, summary

DATA = Path(os.environ.get("CPR_DATA", "../shared")).resolve()
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no real data: CPR_DATA is not set")
ROOT = Path(__file__).resolve().parents[2]


def videos(folder: Path, *names: str, frames: int = 5) -> Path:
    """Small videos with different content."""
    for name in names:
        seed = list(name.encode())
        noise = np.random.default_rng(seed).integers(0, 255, (frames, 16, 16, 3), dtype=np.uint8)
        write_video(folder / name, torch.from_numpy(noise))
    return folder


def own_command(monkeypatch, source: Path, out: Path) -> None:
    """``python -m data_prep.own_videos SOURCE OUT``, in this process."""
    monkeypatch.setattr("sys.argv", ["own_videos", str(source), str(out), "--workers", "1"])
    own_videos.main()


def ucf_lists(folder: Path) -> Path:
    """Lists of three classes like the official ones, with their line ends and odd capitals."""
    folder.mkdir()
    (folder / "classInd.txt").write_text("1 Zumba\r\n2 HandstandPushups\r\n3 Archery\r\n")
    train = [
        "Zumba/v_Zumba_g08_c01.avi 1",
        "Zumba/v_Zumba_g08_c02.avi 1",
        "HandstandPushups/v_HandStandPushups_g09_c01.avi 2",
        "Archery/v_Archery_g08_c01.avi 3",
        "Archery/v_Archery_g08_c02.avi 3",
    ]
    test = ["Zumba/v_Zumba_g01_c01.avi", "Archery/v_Archery_g01_c01.avi"]
    (folder / "trainlist01.txt").write_text("\r\n".join(train) + "\r\n")
    (folder / "testlist01.txt").write_text("\r\n".join(test) + "\r\n\r\n")
    return folder


def pairs(problems: pd.DataFrame) -> set[tuple[str, str]]:
    return {(Path(row.path).name, row.reason) for row in problems.itertuples()}


def test_ucf101(tmp_path):
    lists = ucf_lists(tmp_path / "lists")
    folder = videos(
        tmp_path / "videos",
        "Zumba/v_Zumba_g08_c01.mp4",
        "Zumba/v_Zumba_g01_c01.mkv",
        "HandstandPushups/v_handstandpushups_g09_c01.mp4",
        "Archery/v_Archery_g08_c01.mp4",
        "Archery/v_Archery_g08_c02.mp4",
        "Archery/v_Archery_g77_c01.mp4",
    )
    broken = folder / "Archery" / "v_Archery_g08_c02.mp4"
    broken.write_bytes(broken.read_bytes()[:200])
    (folder / "Archery" / "._v_Archery_g01_c01.avi").write_text("hidden")
    shutil.copy(folder / "Zumba/v_Zumba_g08_c01.mp4", folder / "HandstandPushups/v_Zumba_g08_c01.avi")
    manifest, problems = ucf101.build(folder, lists, workers=1)
    found = {(r.path[len(str(folder)) + 1 :], r.label, r.source_id, r.split) for r in manifest.table.itertuples()}
    # of two files with the same name, the first in alphabetical order is used
    assert found == {
        ("HandstandPushups/v_Zumba_g08_c01.avi", 0, "v_Zumba_g08", "train"),
        ("Zumba/v_Zumba_g01_c01.mkv", 0, "v_Zumba_g01", "test"),
        ("HandstandPushups/v_handstandpushups_g09_c01.mp4", 1, "v_HandStandPushups_g09", "train"),
        ("Archery/v_Archery_g08_c01.mp4", 2, "v_Archery_g08", "train"),
    }
    assert manifest.class_names == ["Zumba", "HandstandPushups", "Archery"]
    first = folder / "HandstandPushups/v_Zumba_g08_c01.avi"
    assert pairs(problems) == {
        ("v_Zumba_g08_c02.avi", MISSING),
        ("v_Archery_g01_c01.avi", MISSING),
        ("v_Archery_g77_c01.mp4", UNLISTED),
        ("v_Archery_g08_c02.mp4", "truncated"),
        ("v_Zumba_g08_c01.mp4", f"same name as {first}"),
    }


def test_missing_classes_are_counted_and_labels_have_no_gaps(tmp_path, capsys):
    lists = ucf_lists(tmp_path / "lists")
    folder = videos(tmp_path / "videos", "v_Archery_g08_c01.mp4", "v_Archery_g08_c02.mp4")
    shutil.copy(folder / "v_Archery_g08_c01.mp4", folder / "v_Archery_g08_c02.mp4")
    manifest, problems = ucf101.build(folder, lists, workers=1)
    assert manifest.class_names == ["Archery"] and len(manifest) == 2
    assert (problems.reason == MISSING_CLASS).sum() == 4  # all are in the list of problems
    identical = f"identical to {folder / 'v_Archery_g08_c01.mp4'}"
    assert ("v_Archery_g08_c02.mp4", identical) in pairs(problems)
    save(manifest, problems, tmp_path / "out" / "m.csv")
    printed = capsys.readouterr().out
    assert "4 videos of 2 classes without any video" in printed and "v_Zumba" not in printed
    assert "identical: 1 (v_Archery_g08_c02.mp4)" in printed
    assert "listed but missing: 1 (v_Archery_g01_c01.avi)" in printed
    assert Manifest.read(tmp_path / "out" / "m.csv").table.equals(manifest.table)
    again = pd.read_csv(tmp_path / "out" / "m_problems.csv")
    assert again.equals(problems.astype(again.dtypes))


def test_the_summary_names_a_few_problems_of_each_kind():
    rows = [(f"/v/{i}.mp4", f"truncated ({i} frames readable)") for i in range(5)]
    lines = summary(pd.DataFrame([*rows, ("/v/x.mp4", "empty")], columns=["path", "reason"]))
    assert lines == ["truncated: 5 (0.mp4, 1.mp4, 2.mp4, …)", "empty: 1 (x.mp4)"]


def test_ucf101_wrong_input(tmp_path):
    lists = ucf_lists(tmp_path / "lists")
    folder = videos(tmp_path / "videos", "v_Archery_g08_c01.mp4")
    (tmp_path / "bare").mkdir()
    with pytest.raises(FileNotFoundError, match="no video folder at .*gone"):
        ucf101.build(tmp_path / "gone", lists)
    with pytest.raises(FileNotFoundError, match="no video in .*bare"):
        ucf101.build(tmp_path / "bare", lists)
    with pytest.raises(FileNotFoundError, match="no classInd.txt in .*bare"):
        ucf101.build(folder, tmp_path / "bare")
    with pytest.raises(FileNotFoundError, match="no trainlist02.txt in .*--split 1, 2 or 3"):
        ucf101.build(folder, lists, split=2)
    with pytest.raises(ValueError, match="same data set"):
        ucf101.build(videos(tmp_path / "other", "cat.mp4"), lists)
    (folder / "v_Zumba_g08_c01.mp4").touch()
    with pytest.raises(ValueError, match=r"'Zumba' has no usable video.*empty: 1 \(v_Zumba"):
        ucf101.build(folder, lists, workers=1)
    (folder / "v_Zumba_g08_c01.mp4").unlink()
    videos(folder, "v_Zumba_g01_c01.mp4")
    with pytest.raises(ValueError, match="'Zumba' has no training video"):
        ucf101.build(folder, lists, workers=1)
    (lists / "trainlist01.txt").write_text("v_Archery_g08_c01.avi\n")
    with pytest.raises(ValueError, match="trainlist01.txt: cannot read 'v_Archery_g08_c01.avi'"):
        ucf101.build(folder, lists)


def test_the_command_prints_a_summary_and_errors_in_one_line(tmp_path):
    lists = ucf_lists(tmp_path / "lists")
    folder = videos(tmp_path / "videos", "v_Archery_g08_c01.mp4")

    def command(*arguments) -> subprocess.CompletedProcess:
        line = [sys.executable, "-m", "data_prep.ucf101", *map(str, arguments), "--workers", "1"]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True)

    good = command(folder, lists, tmp_path / "m.parquet")
    assert good.returncode == 0 and "1 videos of 1 classes (1 train)" in good.stdout
    assert len(Manifest.read(tmp_path / "m.parquet")) == 1
    bad = command(tmp_path / "gone", lists, tmp_path / "n.csv")
    assert bad.returncode == 1 and bad.stderr.startswith("error: no video folder at ")
    assert bad.stderr.count("\n") == 1 and not (tmp_path / "n.csv").exists()


def test_hmdb51(tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    sword = "Blade_sword_Scene_1_sword_f_cm_np1_fr_med_4"
    exercise = "Blade_sword_Scene_1_sword_exercise_f_cm_np1_ri_med_3"
    clips = ["21_wave_u_nm_np1_fr_goo_5", "21_wave_u_nm_np1_fr_goo_6", "#2 Gum_wave_h_nm_np1_fr_med_0"]
    marks = zip(clips, "120", strict=True)
    (lists / "wave_test_split2.txt").write_text("".join(f"{c}.avi {m} \n" for c, m in marks))
    (lists / "sword_test_split2.txt").write_text(f"{sword}.avi 1 \n")
    (lists / "sword_exercise_test_split2.txt").write_text(f"{exercise}.avi 1 \ngone_sword_exercise_u_0.avi 2 \n")
    names = [*(f"wave/{c}" for c in clips), f"sword/{sword}", f"sword_exercise/{exercise}"]
    folder = videos(tmp_path / "videos", *(f"{name}.mp4" for name in names))
    manifest, problems = hmdb51.build(folder, lists, split=2, workers=1)
    found = {
        r.path[len(str(folder)) + 1 : -4]: (r.class_name, r.source_id, r.split) for r in manifest.table.itertuples()
    }
    assert found == {
        names[0]: ("wave", "21", "train"),
        names[1]: ("wave", "21", "test"),
        names[2]: ("wave", "#2 Gum", "unused"),
        names[3]: ("sword", "Blade_sword_Scene_1/sword", "train"),
        names[4]: ("sword_exercise", "Blade_sword_Scene_1/sword_exercise", "train"),
    }
    assert manifest.class_names == ["sword", "sword_exercise", "wave"]
    # one film, two actions: not siblings, but never on both sides of the split
    assert set(manifest.table.group) == {"21", "#2 Gum", "Blade_sword_Scene_1"}
    assert pairs(problems) == {("gone_sword_exercise_u_0.avi", MISSING)}
    with pytest.raises(FileNotFoundError, match=r"\*_test_split1.txt in .*--split 1, 2 or 3"):
        hmdb51.build(folder, lists)
    (lists / "wave_test_split2.txt").write_text("21_wave_u_nm_np1_fr_goo_5.avi 3\n")
    with pytest.raises(ValueError, match="wave_test_split2.txt: cannot read"):
        hmdb51.build(folder, lists, split=2)


def test_own_folders(tmp_path):
    names = [f"{c}/{i}.mp4" for c in ("jump", "run") for i in range(10)]
    folder = videos(tmp_path / "own", *names, "lone/a/b.mp4")
    manifest, problems = own_videos.build(folder, workers=1)
    assert problems.empty and manifest.class_names == ["jump", "lone", "run"]
    table = manifest.table
    counts = table.groupby("class_name").split.value_counts().to_dict()
    assert counts == {("jump", "train"): 8, ("jump", "test"): 2, ("lone", "train"): 1,
                      ("run", "train"): 8, ("run", "test"): 2}  # fmt: skip
    assert table.source_id.is_unique and {"jump/3", "lone/a"} < set(table.source_id)
    assert own_videos.build(folder, workers=1)[0].table.equals(table)
    splits = {tuple(own_videos.build(folder, seed, 1)[0].table.split) for seed in range(4)}
    assert len(splits) > 1
    videos(folder, "loose.mp4")
    with pytest.raises(ValueError, match="loose.mp4 .*folder/<class>/<video>"):
        own_videos.build(folder)
    (folder / "loose.mp4").unlink()
    (folder / "swim").mkdir()
    with pytest.raises(ValueError, match="class folder .*swim holds no video"):
        own_videos.build(folder)


def test_a_folder_inside_a_class_is_a_recording(tmp_path):
    names = [f"{c}/{recording}/{i}.mp4" for c in ("jump", "run") for recording in ("beach", "hall") for i in range(2)]
    table = own_videos.build(videos(tmp_path / "own", *names, "run/1.mp4"), workers=1)[0].table
    assert table.groupby("source_id").path.nunique().to_dict() == {
        "jump/beach": 2, "jump/hall": 2, "run/1": 1, "run/beach": 2, "run/hall": 2,
    }  # fmt: skip
    assert (table.groupby("source_id").split.nunique() == 1).all() and set(table.split) == {"train", "test"}


@pytest.mark.parametrize(("name", "told"), [("jump/2.mp4", True), ("jump/1/b.mp4", False)])
def test_own_videos_say_that_none_share_a_recording(tmp_path, monkeypatch, capsys, name, told):
    folder = videos(tmp_path / "own", "jump/1/a.mp4", name, "jump/3.mp4")
    own_command(monkeypatch, folder, tmp_path / "m.csv")
    assert ("every video counts as a recording of its own" in capsys.readouterr().out) == told
    own_videos.tell_recordings(*own_videos.build(videos(tmp_path / "flat", "1.mp4", "2.mp4", "3.mp4"), workers=1))
    assert "one recording get the same source_id in a CSV" in capsys.readouterr().out  # no class folder to put them in


def test_own_videos_without_a_possible_test_split(tmp_path):
    folder = videos(tmp_path / "own", "jump/1.mp4", "run/1/a.mp4", "run/1/b.mp4")
    with pytest.raises(ValueError, match="own: no usable video is left for testing.* two recordings"):
        own_videos.build(folder, workers=1)
    for broken in range(2, 9):  # the test split is drawn from readable videos only
        folder.joinpath(f"jump/{broken}.mp4").touch()
    shutil.copy(folder / "run/1/a.mp4", folder / "jump/9.mp4")
    manifest, problems = own_videos.build(folder, workers=1)
    assert sorted(manifest.table.split[manifest.table.class_name == "jump"]) == ["test", "train"]
    assert set(problems.reason[:7]) == {"empty"}
    rows = {"path": ["own/jump/1.mp4", "own/run/1/a.mp4"], "class_name": ["jump", "run"], "split": "train"}
    pd.DataFrame(rows).to_csv(tmp_path / "own.csv", index=False)
    assert len(own_videos.build(tmp_path / "own.csv", workers=1)[0]) == 2  # on request: for pre-training only


def test_own_csv(tmp_path):
    folder = videos(tmp_path, *(f"{i}.mp4" for i in range(6)))
    rows = {"path": [f"{i}.mp4" for i in range(5)] + [str(folder / "5.mp4")]}
    rows["class_name"] = ["b", "b", "a", "a", "b", "a"]
    rows["source_id"] = ["x", "x", "y", "y", "", "z"]
    rows["split"] = ["train", "train", "test", "test", "unused", "train"]

    def build(**changes):
        pd.DataFrame({**rows, **changes}).to_csv(tmp_path / "own.csv", index=False)
        return own_videos.build(tmp_path / "own.csv", workers=1)

    manifest, problems = build()
    table = manifest.table
    assert problems.empty and table.split.tolist() == rows["split"]
    assert table.label.tolist() == [1, 1, 0, 0, 1, 0]
    assert table.source_id.tolist() == ["x", "x", "y", "y", "4.mp4", "z"]
    missing = build(path=[*rows["path"][:4], "gone.mp4", rows["path"][5]])
    assert pairs(missing[1]) == {("gone.mp4", MISSING)} and len(missing[0]) == 5
    for column, value in (("split", "dev"), ("class_name", ""), ("path", "")):
        with pytest.raises(ValueError, match=f"own.csv, line 6: {column} is '{value}'"):
            build(**{column: [*rows[column][:4], value, rows[column][5]]})
    with pytest.raises(ValueError, match="line 3: .*0.mp4 is listed twice"):
        build(path=["0.mp4", *rows["path"][:1], *rows["path"][2:]])
    (tmp_path / "own.csv").write_text("path,class\n0.mp4,run\n")
    with pytest.raises(ValueError, match="no column 'class_name'"):
        own_videos.build(tmp_path / "own.csv")
    with pytest.raises(FileNotFoundError, match="no CSV at .*gone.csv"):
        own_videos.build(tmp_path / "gone.csv")


def test_clips_of_one_recording_stay_on_one_side_of_the_split():
    table = pd.DataFrame({"class_name": ["a"] * 40 + ["b"] * 2, "source_id": [f"s{i // 4}" for i in range(42)]})
    for seed in range(20):
        table["split"] = own_videos.draw_split(table, seed)
        assert (table.groupby("source_id").split.nunique() == 1).all()
        assert set(table.split[:40]) == {"train", "test"}


def test_hidden_files_are_ignored(tmp_path):
    videos(tmp_path, "a/1.mp4")
    shutil.copytree(tmp_path / "a", tmp_path / ".cache")
    shutil.copy(tmp_path / "a" / "1.mp4", tmp_path / "a" / ".1.mp4")
    (tmp_path / "a" / "notes.txt").touch()
    assert find_videos(tmp_path) == [tmp_path / "a" / "1.mp4"]


@needs_data
def test_real_ucf101_names(tmp_path):
    for pattern in ("HandstandPushups/*_g01_*", "HandstandPushups/*_g09_c0*"):
        for path in (DATA / "videos" / "ucf101-12").glob(pattern):
            (tmp_path / path.name).symlink_to(path)
    manifest, problems = ucf101.build(tmp_path, DATA / "splits" / "ucf101", workers=1)
    assert manifest.class_names == ["HandstandPushups"]
    assert set(manifest.table.source_id[manifest.table.split == "train"]) == {"v_HandStandPushups_g09"}
    assert set(manifest.table.source_id[manifest.table.split == "test"]) == {"v_HandStandPushups_g01"}
    assert len(manifest) + problems.reason.isin([MISSING, MISSING_CLASS]).sum() == 13320


@needs_data
@pytest.mark.parametrize("split", [1, 2, 3])
def test_real_lists_can_be_read(tmp_path, split):
    names = [f"v_Archery_g{group}_c01.mp4" for group in ("04", "08", "12", "20")]
    folder = videos(tmp_path, *names)
    _, problems = ucf101.build(folder, DATA / "splits" / "ucf101", split, workers=1)
    assert problems.reason.isin([MISSING, MISSING_CLASS]).sum() == 13320 - 4
    lists = DATA / "splits" / "hmdb51"
    listed = [i for path in lists.glob(f"*_test_split{split}.txt") for i in path.read_text().split("\n") if i.strip()]
    marks = np.unique([line.split()[-1] for line in listed], return_counts=True)
    assert dict(zip(*marks, strict=True))["1"] == 3570  # 70 training videos in each of 51 classes
