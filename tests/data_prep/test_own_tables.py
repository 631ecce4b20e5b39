"""Own videos in a CSV: splits, groups, recordings, and all made cases."""

import os
from pathlib import Path

import pandas as pd
import pytest

from data_prep import own_videos
from tests.data_prep.test_data_prep import own_command, videos

CASES = Path(os.environ.get("CPR_DATA", "../shared")).resolve() / "cases" / "tables"
CLASSES = {"latin1": None, "utf16": ["Run", "Walk"], "na": ["007", "NA"]}
REFUSED = {
    "empty": "is empty",
    "one_field_too_many": r"line 5: 3 fields .*'Run', 'fast'",
    "unquoted_comma_in_class": r"line 2: 3 fields .*'Run', 'fast'",
    "blank_lines": "line 11: class_name is ''; expected a name",
    "latin1": "line 6: byte fc is not UTF-8",
}


@pytest.mark.skipif(not CASES.is_dir(), reason="no made files: CPR_DATA is not set")
@pytest.mark.parametrize("case", sorted(CASES.glob("*.csv")), ids=lambda path: path.stem)
def test_the_cases_of_tables(tmp_path, case, capsys):
    videos(tmp_path / "v", *(f"{i}.mp4" for i in range(8)))
    path = tmp_path / case.name
    path.write_bytes(case.read_bytes())
    if case.stem in REFUSED:
        with pytest.raises(ValueError, match=f"{case.name}.*{REFUSED[case.stem]}") as caught:
            own_videos.build(path, workers=1)
        assert "\n" not in str(caught.value)
        return
    manifest, problems = own_videos.build(path, workers=1)
    assert len(manifest) == 8 and problems.empty
    assert manifest.class_names == CLASSES.get(case.stem, ["Run", "Walk"])
    assert manifest.table.split.value_counts().to_dict() == {"train": 6, "test": 2}
    if case.stem == "split_val":
        assert manifest.table.path[manifest.table.split == "test"].str.endswith(("0.mp4", "4.mp4")).all()
        assert "validation videos: used for testing" in capsys.readouterr().out


def table(folder: Path, **columns) -> Path:
    """A CSV of eight videos of two classes, four of them showing persons p1 … p4."""
    videos(folder, *(f"{i}.mp4" for i in range(8)))
    rows = {"path": [f"{i}.mp4" for i in range(8)], "class_name": ["Run"] * 4 + ["Walk"] * 4}
    pd.DataFrame({**rows, **columns}).to_csv(folder / "own.csv", index=False)
    return folder / "own.csv"


PERSONS = ["p1", "p2", "p3", "p4"] * 2


def test_a_group_stays_on_one_side_without_making_siblings(tmp_path):
    path = table(tmp_path, group=PERSONS)
    for seed in range(6):
        made, problems = own_videos.build(path, seed, workers=1)
        assert problems.empty and made.table.source_id.is_unique and made.table.group.tolist() == PERSONS
        assert (made.table.groupby("group").split.nunique() == 1).all()
        assert made.table.groupby("class_name").split.value_counts().to_dict() == {
            ("Run", "train"): 3, ("Run", "test"): 1, ("Walk", "train"): 3, ("Walk", "test"): 1,
        }  # fmt: skip


def test_every_class_keeps_training_videos_when_groups_span_classes():
    for seed in range(50):
        pairs = [("a", "1"), ("a", "2"), ("b", "2"), ("b", "3"), ("c", "3"), ("c", "1"), ("d", "2"), ("e", "1")]
        rows = pd.DataFrame(pairs, columns=["class_name", "group"]).assign(source_id="x")
        rows["split"] = own_videos.draw_split(rows, seed)
        assert (rows.groupby("group").split.nunique() == 1).all()
        assert rows[rows.class_name.isin(["d", "e"])].split.eq("train").all()


def test_a_recording_of_several_classes_is_reported(tmp_path, monkeypatch, capsys):
    path = table(tmp_path, source_id=PERSONS)
    _, problems = own_videos.build(path, workers=1)
    assert problems.path.tolist() == ["p1", "p2", "p3", "p4"]
    assert set(problems.reason) == {"recording of several classes (Run, Walk)"}
    own_command(monkeypatch, path, tmp_path / "m.csv")
    printed = capsys.readouterr().out
    assert "recording of several classes: 4 (p1, p2, p3, …)" in printed and "belongs in the column group" in printed


def test_splits_in_any_spelling(tmp_path, capsys):
    names = ["Train", "TRAINING", "test", "val", "train", "Testing", "Valid", "unused"]
    made, problems = own_videos.build(table(tmp_path, split=names, group=PERSONS), workers=1)
    assert made.table.split.tolist() == ["train", "train", "test", "unused", "train", "test", "unused", "unused"]
    assert "validation videos: unused" in capsys.readouterr().out
    assert problems.path.tolist() == ["p2", "p3"]  # p1 is only in training, p4 in neither split
    assert problems.reason.str.startswith("group in several splits (").all()


def test_a_split_does_not_depend_on_the_place_of_the_table(tmp_path):
    path = table(tmp_path / "here")
    before = own_videos.build(path, workers=1)[0].table
    (tmp_path / "here").rename(tmp_path / "there")
    after = own_videos.build(tmp_path / "there/own.csv", workers=1)[0].table
    assert after.split.tolist() == before.split.tolist() and after.source_id.tolist() == before.source_id.tolist()


def test_one_file_in_two_spellings_counts_as_listed_twice(tmp_path):
    path = table(tmp_path, path=["0.mp4", "./0.mp4", *(f"{i}.mp4" for i in range(2, 8))])
    with pytest.raises(ValueError, match=r"line 3: .*/0.mp4 is listed twice"):
        own_videos.build(path, workers=1)


def test_paths_may_have_windows_backslashes(tmp_path):
    path = table(tmp_path, path=[f"in\\{i}.mp4" for i in range(8)])
    (tmp_path / "in").mkdir()
    for video in tmp_path.glob("*.mp4"):
        video.rename(tmp_path / "in" / video.name)
    made, problems = own_videos.build(path.rename(tmp_path / "own.TSV"), workers=1)
    assert problems.empty and sorted(made.table.path) == [str(tmp_path / f"in/{i}.mp4") for i in range(8)]


def test_paths_without_a_video_are_refused(tmp_path):
    path = table(tmp_path, path=[f"C:\\videos\\{i}.mp4" for i in range(8)])
    with pytest.raises(FileNotFoundError, match=r"own.csv: none of its 8 videos is there, the first .*C:.videos.0.mp4"):
        own_videos.build(path, workers=1)
    path.rename(tmp_path / "own.xlsx")
    with pytest.raises(ValueError, match="own.xlsx is neither a folder nor a CSV; save a spreadsheet as CSV"):
        own_videos.build(tmp_path / "own.xlsx", workers=1)
