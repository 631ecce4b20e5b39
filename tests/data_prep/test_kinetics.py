"""Kinetics' lists in their various formats, missing videos, and unreadable rows."""

import sys
from pathlib import Path

import pytest

from cprlib.data.manifest import Manifest
from data_prep import kinetics
from data_prep.common import MISSING, MISSING_CLASS, UNLISTED
from tests.data_prep.test_data_prep import videos

HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"
TRAIN = """\
"tying knot (not on a tie)",-aB3_xYz012,4,14,train,0
abseiling,AAAAAAAAAAA,0,10,train,0
abseiling,AAAAAAAAAAA,20,30,train,0
abseiling,gone1234567,100,110,train,1
yoga,gone7654321,1,11,train,1
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """Clips in folders with arbitrary names; one is named by its id only."""
    return videos(
        tmp_path / "videos",
        "train/tying_knot/-aB3_xYz012_000004_000014.mp4",
        "train/abseiling/AAAAAAAAAAA_000000_000010.mp4",
        "more/AAAAAAAAAAA_000020_000030.mkv",
        "val/any thing/BBBBBBBBBBB.mp4",
        "test/CCCCCCCCCCC_000003_000013.mp4",
        "stray.mp4",
    )


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def rows(manifest: Manifest) -> dict:
    return {Path(r.path).stem: (r.class_name, r.source_id, r.split) for r in manifest.table.itertuples()}


def reasons(problems) -> dict:
    return {Path(r.path).stem: r.reason for r in problems.itertuples()}


KNOT = "tying knot (not on a tie)"
TRAINING = {
    "-aB3_xYz012_000004_000014": (KNOT, "-aB3_xYz012", "train"),
    "AAAAAAAAAAA_000000_000010": ("abseiling", "AAAAAAAAAAA", "train"),
    "AAAAAAAAAAA_000020_000030": ("abseiling", "AAAAAAAAAAA", "train"),
}


@pytest.mark.parametrize("val", ["val", "validate", "Validation"])
def test_train_and_validation(tmp_path, folder, val):
    lists = write(tmp_path / "lists" / "train.csv", HEADER + TRAIN).parent
    write(lists / "validate.csv", f"\ufeffID,label,start,end,split\nBBBBBBBBBBB,{KNOT},5.0,15.0,{val}\n\n")
    write(lists / "test.csv", "youtube_id,time_start,time_end,split\nCCCCCCCCCCC,3,13,test\n")
    manifest, problems = kinetics.build(folder, [lists], workers=1)
    assert rows(manifest) == {**TRAINING, "BBBBBBBBBBB": (KNOT, "BBBBBBBBBBB", "test")}
    assert manifest.class_names == ["abseiling", KNOT]
    assert manifest.source_codes[1] == manifest.source_codes[2] != manifest.source_codes[0]
    assert reasons(problems) == {
        "gone1234567_000100_000110": MISSING,
        "gone7654321_000001_000011": MISSING_CLASS,
        "stray": UNLISTED,  # the video of the test split is skipped silently
    }


def test_the_test_split_needs_labels(tmp_path, folder):
    train = write(tmp_path / "train.csv", HEADER + TRAIN)
    test = write(tmp_path / "test.csv", "youtube_id,time_start,time_end,split\nCCCCCCCCCCC,3,13,test\n")
    with pytest.raises(ValueError, match="test.csv, line 2: no label; .*another --test-split"):
        kinetics.build(folder, [train, test], "test")
    write(
        test,
        f"label,youtube_id,time_start,time_end,split\nabseiling,CCCCCCCCCCC,3,13,test\n{KNOT},BBBBBBBBBBB,0,9,val\n",
    )
    manifest, problems = kinetics.build(folder, [train, test], "test", workers=1)
    assert rows(manifest) == {**TRAINING, "CCCCCCCCCCC_000003_000013": ("abseiling", "CCCCCCCCCCC", "test")}
    assert "BBBBBBBBBBB" not in reasons(problems)


def test_a_clip_listed_twice_is_used_once(tmp_path, folder):
    again = HEADER + TRAIN + f"{KNOT},BBBBBBBBBBB,0,9,val,0\nabseiling,BBBBBBBBBBB,50,59,val,0\n"
    manifest, problems = kinetics.build(folder, [write(tmp_path / "all.csv", again)], workers=1)
    assert rows(manifest)["BBBBBBBBBBB"][0] == KNOT and len(manifest) == 4
    assert reasons(problems)["BBBBBBBBBBB"] == "listed more than once"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("abseiling,AAAAAAAAAAA,ten,20,train,0", "times are 'ten' and 20; expected seconds"),
        ("abseiling,AAAAAAAAAAA,,,train,0", "times are '' and ''"),
        ("abseiling,AAAAAAAAAAA,inf,20,train,0", "times are 'inf'"),
        ("abseiling,,10,20,train,0", "no YouTube id"),
        ("abseiling,AAAAAAAAAAA,10,20,training,0", "split is 'training'; expected one of train, val"),
        ("abseiling,AAAAAAAAAAA,10,20", "4 values, 6 in the header"),
        ("abseiling,AAAAAAAAAAA,10,20,train,0,0", "7 values, 6 in the header"),
        (",AAAAAAAAAAA,10,20,train,0", "no label"),
    ],
)
def test_an_unreadable_row_is_named(tmp_path, folder, row, message):
    path = write(tmp_path / "bad.csv", HEADER + TRAIN + row + "\n")
    with pytest.raises(ValueError, match=f"bad.csv, line 7: .*{message.replace('20;', '.*;')}"):
        kinetics.build(folder, [path])


def test_wrong_lists(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="no CSV at .*gone.csv"):
        kinetics.build(folder, [tmp_path / "gone.csv"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no CSV in .*empty"):
        kinetics.build(folder, [tmp_path / "empty"])
    with pytest.raises(ValueError, match="a.csv: no column youtube_id or id or video_id; it has label, split"):
        kinetics.build(folder, [write(tmp_path / "a.csv", "label,split\n")])
    with pytest.raises(ValueError, match="none of the .* videos .*same data set"):
        kinetics.build(folder, [write(tmp_path / "b.csv", HEADER)])
    only_test = HEADER.replace("label,", "") + "CCCCCCCCCCC,3,13,test,0\n"
    with pytest.raises(ValueError, match="none of the 1 videos"):
        kinetics.build(folder / "test", [write(tmp_path / "c.csv", only_test)])
    (tmp_path / "d.csv").write_bytes(b"label,youtube_id,time_start,time_end,split\n\xff\xfe\x00")
    with pytest.raises(ValueError, match="d.csv, line 2: a NUL byte"):
        kinetics.build(folder, [tmp_path / "d.csv"])


def test_the_command(tmp_path, folder, monkeypatch, capsys):
    train = write(tmp_path / "train.csv", HEADER + TRAIN)
    val = write(tmp_path / "val.csv", HEADER + f"{KNOT},BBBBBBBBBBB,5,15,val,0\n")
    words = ["kinetics", folder, train, val, tmp_path / "m.csv", "--workers", "1"]
    monkeypatch.setattr(sys, "argv", [*map(str, words)])
    kinetics.main()
    printed = capsys.readouterr().out
    assert "4 videos of 2 classes (3 train, 1 test)" in printed
    assert f"{MISSING}: 1 (gone1234567_000100_000110.mp4)" in printed
    assert f"{MISSING}: 1 videos of 1 classes without any video" in printed
    assert len(Manifest.read(tmp_path / "m.csv")) == 4


def test_lists_saved_by_a_spreadsheet(tmp_path, folder):
    plain = rows(kinetics.build(folder, [write(tmp_path / "a.csv", HEADER + TRAIN)], workers=1)[0])
    commas = "".join(f"{line},\n\n" for line in (HEADER + TRAIN).splitlines())
    (tmp_path / "b.csv").write_text(commas, "utf-16")
    assert rows(kinetics.build(folder, [tmp_path / "b.csv"], workers=1)[0]) == plain
    with pytest.raises(ValueError, match="c.csv, line 13: no YouTube id"):
        kinetics.build(folder, [write(tmp_path / "c.csv", commas + "abseiling,,10,20,train,0\n")])


def test_clips_of_one_video_in_two_classes_are_not_siblings(tmp_path, folder):
    text = HEADER + TRAIN.replace("abseiling,AAAAAAAAAAA,20", "yoga,AAAAAAAAAAA,20")
    table = kinetics.build(folder, [write(tmp_path / "a.csv", text)], workers=1)[0].table
    pair = table[table.group == "AAAAAAAAAAA"]
    assert sorted(pair.source_id) == ["AAAAAAAAAAA/abseiling", "AAAAAAAAAAA/yoga"]
