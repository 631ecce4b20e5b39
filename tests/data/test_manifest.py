import numpy as np
import pandas as pd
import pytest

from cprlib.data.manifest import COLUMNS, Manifest


def table(**changes) -> pd.DataFrame:
    rows = {
        "video_id": range(6),
        "path": [f"/videos/{i}.mp4" for i in range(6)],
        "label": [0, 0, 1, 1, 2, 2],
        "class_name": ["wave", "wave", "None", "None", "007", "007"],  # names that pandas may read as other types
        "source_id": ["b", "b", "a", "c", "01", "1"],
        "group": ["b", "b", "a", "a", "01", "1"],
        "split": ["train", "test", "train", "train", "unused", "train"],
        "num_frames": 40,
        "width": 64,
        "height": 48,
        "fps": 29.97,
        "flow_path": "",
        "reader": "decord",
    }
    return pd.DataFrame({**rows, **changes})


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_reading_returns_what_was_written(tmp_path, name):
    manifest = Manifest(table()[list(COLUMNS)[::-1]])  # columns may come in any order
    manifest.write(tmp_path / "sub" / name)
    again = Manifest.read(tmp_path / "sub" / name)
    pd.testing.assert_frame_equal(again.table, table().astype(again.table.dtypes))
    assert list(again.table) == list(COLUMNS) and len(again) == 6
    assert again.class_names == ["wave", "None", "007"]
    assert [p.name for p in (tmp_path / "sub").iterdir()] == [name]  # no temporary file is left


def test_a_split_keeps_ids_class_names_and_source_codes():
    whole = Manifest(table()).validate()
    part = whole.split("train")
    assert part.table.video_id.tolist() == [0, 2, 3, 5]
    assert part.class_names == whole.class_names
    np.testing.assert_array_equal(part.source_codes, whole.source_codes[[0, 2, 3, 5]])
    assert part.source_codes.dtype == np.int64
    same = whole.source_codes[:, None] == whole.source_codes
    names = whole.table.source_id.to_numpy()
    np.testing.assert_array_equal(same, names[:, None] == names)
    assert whole.split("test").split("test").class_names == whole.class_names


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="'val'.*'train': 4"):
        Manifest(table()).split("val")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": ["train", "tset"] * 3}, "row 1: split is 'tset'"),
        ({"video_id": [0, 1, 1, 3, 4, 5]}, "row 2: video_id 1 appears twice"),
        ({"video_id": [0, 1, 2, 3, 5, 4]}, "row 4: video_id is 5; expected the row's number"),
        ({"num_frames": [40, 40, "many", 40, 40, 40]}, "row 2: num_frames is 'many'"),
        ({"num_frames": [40, 40, 40, 1.5, 40, 40]}, "row 3: num_frames is 1.5"),
        ({"fps": [25, 25, 25, 25, 25, None]}, "row 5: fps"),
        ({"width": [64, 64, 64, 64, 0, 64]}, "row 4: width is 0"),
        ({"reader": "opencv"}, "row 0: reader is 'opencv'"),
        ({"source_id": ["b", "", "a", "c", "01", "1"]}, "row 1: source_id is ''"),
        ({"label": [0, 0, 1, 1, 3, 3]}, r"classes 0\.\.2"),
        ({"label": [0, 0, 1, 1, 1, 1]}, "label 1 has several class names: 007, None"),
        ({"split": ["train", "test", "test", "test", "unused", "train"]}, "'None' has no training"),
    ],
)
def test_a_broken_rule_names_its_row(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        Manifest(table(**changes)).validate()
    table(**changes).to_csv(tmp_path / "m.csv", index=False)
    with pytest.raises(ValueError, match="m.csv"):
        Manifest.read(tmp_path / "m.csv")


def test_missing_columns_files_and_content_are_named(tmp_path):
    with pytest.raises(ValueError, match="'reader' is missing"):
        Manifest(table().drop(columns="reader")).validate()
    with pytest.raises(FileNotFoundError, match="gone.csv.*data_prep"):
        Manifest.read(tmp_path / "gone.csv")
    with pytest.raises(ValueError, match="no video in the manifest"):
        Manifest(table().iloc[:0]).validate()
    with pytest.raises(ValueError, match="csv or .parquet"):
        Manifest(table()).write(tmp_path / "m.xlsx")
    (tmp_path / "broken.parquet").write_text("not parquet")
    with pytest.raises(ValueError, match="broken.parquet"):
        Manifest.read(tmp_path / "broken.parquet")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="empty.csv"):
        Manifest.read(tmp_path / "empty.csv")


def test_missing_files_and_flow_are_found_early(tmp_path):
    paths = [tmp_path / f"{i}.mp4" for i in range(6)]
    for path in paths:
        path.touch()
    manifest = Manifest(table(path=[str(p) for p in paths]))
    assert manifest.check_files() is manifest
    with pytest.raises(ValueError, match="no flow yet for .*0.mp4.*5 other.*01_flow"):
        manifest.check_files(("rgb", "flow"))
    paths[3].unlink()
    with pytest.raises(FileNotFoundError, match="3.mp4 .*1 of 6"):
        manifest.check_files()


def test_the_default_group_is_the_recording(tmp_path):
    old = table().drop(columns="group")
    old.to_csv(tmp_path / "old.csv", index=False)
    old.to_parquet(tmp_path / "old.parquet", index=False)
    for name in ("old.csv", "old.parquet"):
        assert Manifest.read(tmp_path / name).table.group.tolist() == old.source_id.tolist()
    some = Manifest(table(group=["p", "", "p", None, "", "q"])).validate().table
    assert some.group.tolist() == ["p", "b", "p", "c", "01", "q"]


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_a_manifest_moved_with_its_videos_works(tmp_path, monkeypatch, name):
    inside = [str(tmp_path / "set/v" / f"{i}.mp4") for i in range(5)]
    Manifest(table(path=[*inside, "/elsewhere/5.mp4"], flow_path=[*inside[:5], ""])).write(tmp_path / "set" / name)
    (tmp_path / "set").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    for path in (tmp_path / "moved" / name, name):  # by absolute or relative path
        again = Manifest.read(path).table
        assert again.path.tolist() == [p.replace("/set/", "/moved/") for p in inside] + ["/elsewhere/5.mp4"]
        assert again.flow_path.tolist() == [p.replace("/set/", "/moved/") for p in inside] + [""]


def test_a_moved_project_works(tmp_path, monkeypatch):
    monkeypatch.setenv("CPR_ROOT", str(tmp_path / "project"))
    paths = [str(tmp_path / "project/videos" / f"{i}.mp4") for i in range(5)] + [str(tmp_path / "far.mp4")]
    Manifest(table(path=paths)).write(tmp_path / "project/outputs/m.csv")
    (tmp_path / "project").rename(tmp_path / "other")
    again = Manifest.read(tmp_path / "other/outputs/m.csv").table
    assert again.path.tolist() == [p.replace("/project/", "/other/") for p in paths]


def test_any_name_survives_a_round_trip(tmp_path):
    names = ["$HOME.mp4", "a {b} 'c' \"d\",e;f.mp4", " blank .mp4", "two\nlines\r.mp4", "ünï→.mp4", "~x.mp4"]
    rows = table(path=[str(tmp_path / name) for name in names], class_name=["NA", "NA", "007", "007", "True", "True"])
    for name in ("m.csv", "m.parquet"):
        Manifest(rows).write(tmp_path / name)
        again = Manifest.read(tmp_path / name).table
        assert again.path.tolist() == rows.path.tolist() and again.class_name.tolist() == rows.class_name.tolist()


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_an_unchanged_manifest_is_not_written_again(tmp_path, name):
    path = tmp_path / name
    Manifest(table()).write(path)
    before = path.stat()
    Manifest.read(path).write(path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    Manifest(table(num_frames=41)).write(path)
    assert path.stat().st_ino != before.st_ino and Manifest.read(path).table.num_frames[0] == 41
