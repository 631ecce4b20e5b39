"""Kinetics: a manifest from a folder of videos and the usual CSV files.

    python -m data_prep.kinetics VIDEOS CSV [CSV ...] OUT_MANIFEST

VIDEOS holds the videos at any depth and in any container: <id>_<start>_<end>.mp4 (seconds, six digits) or <id>.mp4.
A CSV, or each CSV of a folder, has the columns label, youtube_id, time_start, time_end, split; id, start and end are
accepted, too. Classes come from the CSV alone, folder names mean nothing. Missing videos are counted. Testing uses the
validation split, as the labels of the test split were long withheld; --test-split test uses the test split and leaves
out the validation split.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from cprlib.data.files import find_videos
from cprlib.data.manifest import Manifest
from cprlib.data.text_table import read_records, read_text
from cprlib.store.files import resolve
from data_prep.common import Listed, describe, match, run

COLUMNS = {
    "label": ("label", "class", "class_name"),
    "id": ("youtube_id", "id", "video_id"),
    "start": ("time_start", "start"),
    "end": ("time_end", "end"),
    "split": ("split",),
}
SPLITS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
TWICE = "listed more than once"


def build(
    videos: str | Path,
    lists: Sequence[str | Path],
    test_split: str = "val",
    workers: int | None = None,
    memory: Path | None = None,
) -> tuple[Manifest, pd.DataFrame]:
    """Describe the training videos and those of one other split.

    Args:
        videos: folder of videos.
        lists: CSV files, or folders of them.
        test_split: "val" or "test": the split to test on.
        workers: processes; None = one per core.
        memory: file that keeps what was found in each video, so that it is inspected only once.

    Returns:
        The manifest, and the problems (columns path, reason). Labels are in alphabetical order; clips of one
        YouTube video and class are siblings.

    Raises:
        FileNotFoundError: no such folder or CSV, or no video.
        ValueError: a row cannot be read or has no label, or the lists are of other videos.
    """
    files = _files([resolve(path) for path in lists])
    problems: list[dict] = []
    found = find_videos(resolve(videos), problems)
    there, listed, others = {path.stem.lower() for path in found}, {}, set()
    for place, row in (item for path in files for item in _rows(path)):
        name = _name(row, there)
        if row["split"] not in ("train", test_split):
            others.add(name.lower())
        elif not row["label"]:
            raise ValueError(f"{place}: no label; give a list with labels, or another --test-split")
        elif name in listed:
            problems.append({"path": name, "reason": TWICE})
        else:
            split = "train" if row["split"] == "train" else "test"
            listed[name] = Listed(f"{row['label']}/{name}.mp4", row["label"], row["id"], split)
    others -= {name.lower() for name in listed}
    wanted = [path for path in found if path.stem.lower() not in others] or found
    entries, missing = match(wanted, list(listed.values()), files[0])
    classes = sorted({item.class_name for item in listed.values()})
    return describe(entries, classes, workers, problems + missing, memory=memory)


def _files(paths: Sequence[Path]) -> list[Path]:
    """The CSV files given, and those in the folders given."""
    files = [file for path in paths for file in (sorted(path.glob("*.csv")) if path.is_dir() else [path])]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"no CSV at {file}; give Kinetics' lists, such as train.csv and val.csv")
    if not files:
        raise FileNotFoundError(f"no CSV in {paths[0]}; put Kinetics' lists there, such as train.csv and val.csv")
    return files


def _rows(path: Path) -> Iterator[tuple[str, dict]]:
    """Place ("file, line n") and label, id, start, end, split of each row."""
    records = read_records(path, read_text(path))
    header = [name.lower() for name in next(records, (1, []))[1]]
    while header and not header[-1]:  # a comma at the end
        header.pop()
    places = _columns(header, path)
    for line, values in records:
        place = f"{path}, line {line}"
        while len(values) > len(header) and not values[-1]:
            values.pop()
        if len(values) != len(header):
            raise ValueError(f"{place}: {len(values)} values, {len(header)} in the header; correct or remove it")
        yield place, _row({column: values[i] for column, i in places.items()}, place)


def _columns(header: list[str], path: Path) -> dict[str, int]:
    """The place of each column; only label may be missing, as in lists whose labels are withheld."""
    places = {}
    for column, names in COLUMNS.items():
        found = [header.index(name) for name in names if name in header]
        if found:
            places[column] = found[0]
        elif column != "label":
            raise ValueError(f"{path}: no column {' or '.join(names)}; it has {', '.join(header) or 'none'}")
    return places


def _row(row: dict, place: str) -> dict:
    """The row with its times in whole seconds and its split as train, val or test."""
    try:
        times = {column: int(float(row[column])) for column in ("start", "end")}
    except (ValueError, OverflowError):
        raise ValueError(f"{place}: times are {row['start']!r} and {row['end']!r}; expected seconds") from None
    if not row["id"]:
        raise ValueError(f"{place}: no YouTube id; correct or remove it")
    if row["split"].lower() not in SPLITS:
        raise ValueError(f"{place}: split is {row['split']!r}; expected one of {', '.join(SPLITS)}")
    return {"label": "", **row, **times, "split": SPLITS[row["split"].lower()]}


def _name(row: dict, there: set[str]) -> str:
    """The name of a row's video: its id alone, if only such a file is there."""
    timed = f"{row['id']}_{row['start']:06}_{row['end']:06}"
    return row["id"] if row["id"].lower() in there and timed.lower() not in there else timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", help="folder of videos")
    parser.add_argument("lists", nargs="+", metavar="csv", help="CSV files, or folders of them")
    parser.add_argument("--test-split", choices=("val", "test"), default="val", help="what to test on")
    run(parser, lambda args: build(args.videos, args.lists, args.test_split, args.workers, args.memory))


if __name__ == "__main__":
    main()
