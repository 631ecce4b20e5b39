"""Your own videos: a manifest from folders named after classes, or from a CSV.

    python -m data_prep.own_videos FOLDER_OR_CSV OUT_MANIFEST

FOLDER/<class>/<video>: every video is a recording of its own. FOLDER/<class>/<recording>/<video>: the videos of one
folder were cut from one recording. FOLDER/<split>/<class>/… and FOLDER/<class>/<split>/…, with train, training, test,
testing, val, valid or validation for <split>, give the split as well. CSV: columns path (absolute, or relative to the
CSV) and class_name; without class_name, or where all videos lie in the folder itself, no class is known, and what needs
classes is left out. split (also unused), source_id (the recording) and group (what stays on one side of a split: a
person, a camera) may be added. Validation is tested on where nothing is called test, else it is unused. Without split,
about a fifth of each class's groups is set aside for testing, drawn by a hash of their names. Called again, known
videos keep their number and their side, also after a move or when classes become known; --seed draws all anew.
"""

import argparse
import os
import unicodedata
from collections.abc import Iterable, Mapping
from hashlib import sha1
from pathlib import Path

import pandas as pd

from cprlib.data.files import find_videos, printable
from cprlib.data.manifest import UNLABELLED, Manifest
from cprlib.data.text_table import read_text_table
from cprlib.store.files import resolve
from data_prep.before import in_order_of_before, rows_before, sides_before
from data_prep.common import MISSING, Entry, describe, run
from data_prep.near_copies import near_copies

TEST_SHARE = 0.2
SHOWN = 20  # classes whose counts are printed
SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
SPLITS |= dict.fromkeys(("val", "valid", "validation"), "validation")
SEVERAL = "recording of several classes"
TORN = "group in several splits"


def build(
    source: str | Path,
    seed: int = 0,
    workers: int | None = None,
    memory: Path | None = None,
    before: Manifest | None = None,
) -> tuple[Manifest, pd.DataFrame]:
    """Describe your own videos.

    Args:
        source: folder with one folder per class, or a CSV file.
        seed: of the draw of test groups, where no split is given.
        workers: processes; None = one per core.
        memory: file that keeps what was found in each video, so that it is looked into once.
        before: the manifest of the last time: what was there keeps its number and, where the split is drawn, its side;
            see :mod:`data_prep.before`.

    Returns:
        The manifest, and the problems (columns path, reason). Labels are in alphabetical order.

    Raises:
        FileNotFoundError: no such folder or file, or no video in it.
        ValueError: a column or value of the CSV is missing or wrong, or nothing to train on or to test with.
    """
    source, problems = resolve(source), []
    table = read_csv(source) if source.suffix.lower() == ".csv" else read_folder(source, problems)
    table["group"] = (
        table["group"].where(table["group"] != "", table.source_id) if "group" in table else table.source_id
    )
    given = "split" in table
    there = table.path.map(os.path.isfile)
    problems += [{"path": printable(path), "reason": MISSING} for path in table.path[~there]]
    problems += remarks(table)
    table = table[there].assign(split=table.get("split", "train"))
    chosen = {}
    if before is not None:
        known = rows_before(table.path, before, memory)
        chosen = sides_before(table.group, known, before)
        table = table.iloc[in_order_of_before(known)]
    rows = table.itertuples(index=False)
    entries = [Entry(Path(r.path), r.class_name, r.source_id, r.split, group=r.group) for r in rows]
    manifest, found = describe(entries, sorted(set(table.class_name)), workers, problems, memory=memory)
    if given:
        return manifest, found
    split = draw_split(manifest.table, seed, chosen)  # of the usable videos: a broken one must not stand for its class
    if "test" not in split and manifest.is_labelled:
        raise ValueError(
            f"{source}: no usable video is left for testing, so nothing could be judged; give a class at least "
            "two recordings (three for the linear probe), or give a CSV with a column split"
        )
    return Manifest(manifest.table.assign(split=split)).validate(), found


def remarks(table: pd.DataFrame) -> list[dict]:
    """Recordings of several classes, whose clips would be positives of each other, and groups that a split tears."""
    found = []
    for column, other, what in (("source_id", "class_name", SEVERAL), ("group", "split", TORN)):
        if other not in table:
            continue
        for name, values in table.groupby(column)[other].unique().items():
            if len(values) > 1:
                found.append({"path": name, "reason": f"{what} ({', '.join(sorted(values))})"})
    return found


def with_near_copies(
    manifest: Manifest, problems: pd.DataFrame, workers: int | None = None
) -> tuple[Manifest, pd.DataFrame]:
    """Add a remark for each test video that shows nearly the same pictures as one for training."""
    found = near_copies(manifest, workers)
    if found:
        print(
            f"{len(found)} videos for testing look like one for training, so measures will be too good; give both the "
            "same recording or group (docs/recordings.md)"
        )
    return manifest, pd.concat([problems, pd.DataFrame(found, columns=["path", "reason"])], ignore_index=True)


def is_labelled(source: str | Path) -> bool:
    """Whether classes are known: a quick look, before anything is read."""
    source = resolve(source)
    if source.suffix.lower() == ".csv":
        return not source.is_file() or "class_name" in read_text_table(source, ("path",))[0]
    return not source.is_dir() or any(path.parent != source for path in find_videos(source))


def read_folder(folder: Path, problems: list[dict] | None = None) -> pd.DataFrame:
    """Path, class, recording and, if the folders tell, split of each video below a folder."""
    problems = [] if problems is None else problems
    videos = [(path, path.relative_to(folder).parts) for path in find_videos(folder, problems)]
    if all(len(parts) == 1 for _, parts in videos):
        print(f"{folder}: read as <video>, without classes: what needs them is left out")
        rows = [(str(path), UNLABELLED, path.stem) for path, _ in videos]
        return pd.DataFrame(rows, columns=["path", "class_name", "source_id"])
    level = split_level([parts for _, parts in videos])
    rows, loose = [], []
    for path, parts in videos:
        names = [part for place, part in enumerate(parts) if place != level]
        if len(names) < 2:
            loose.append(path)
            continue
        inside = path.relative_to(folder)
        recording = inside.parent if len(names) > 2 else inside.with_suffix("")
        split = "" if level is None else SPLITS[parts[level].casefold()]
        rows.append((str(path), class_name(names[0]), str(recording), split))
    if loose:
        raise ValueError(
            f"{loose[0]} ({len(loose)} videos) lies in no class folder; "
            "make it folder/<class>/<video>, or give a CSV with path and class_name"
        )
    _check_empty(folder, level, {row[1] for row in rows}, problems)
    table = pd.DataFrame(rows, columns=["path", "class_name", "source_id", "split"])
    layout = ["<class>", "[<recording>]", "<video>"]
    if level is not None:
        layout.insert(level, "<split>")
    print(f"{folder}: read as {'/'.join(layout)}")
    if level is None or set(table.split) == {"train"}:
        return table.drop(columns="split")  # drawn
    return table.assign(split=decided(table.split))


def split_level(paths: list[tuple[str, ...]]) -> int | None:
    """Which folder of the paths is a split: the first or the second, or None where that is not certain."""
    for level in (0, 1):
        names = {parts[level].casefold() for parts in paths if len(parts) > level + 1}
        deep = [parts for parts in paths if len(parts) > 2]
        if names and names <= SPLITS.keys() and deep and (level == 0 or len(deep) == len(paths)):
            return level
    return None


def decided(splits: Iterable[str]) -> list[str]:
    """The splits of a manifest: validation is tested on where nothing is called test."""
    splits = list(splits)
    becomes = "unused" if "test" in splits else "test"
    if "validation" in splits:
        print(f"validation videos: {'tested on, as no split is called test' if becomes == 'test' else becomes}")
    return [becomes if split == "validation" else split for split in splits]


def class_name(text: str) -> str:
    """A class as people mean it: no blanks around it, accents in one way of writing."""
    return unicodedata.normalize("NFC", text.strip())


def _check_empty(folder: Path, level: int | None, filled: set[str], problems: list[dict]) -> None:
    """Refuse a class folder without a video, unless its videos were found elsewhere."""
    linked = {Path(problem["path"]) for problem in problems if problem["reason"].startswith("same file as ")}
    tops = [folder] if level != 0 else [path for path in folder.iterdir() if path.name.casefold() in SPLITS]
    for empty in (path for top in tops if top.is_dir() for path in sorted(top.iterdir())):
        elsewhere = any(path.is_relative_to(empty) for path in linked) or empty.is_symlink()
        if empty.is_dir() and class_name(empty.name) not in filled and not empty.name.startswith(".") and not elsewhere:
            raise ValueError(f"class folder {empty} holds no video; add videos or remove it")


def read_csv(path: Path) -> pd.DataFrame:
    """Path, class, recording and, if given, group and split of each row of a CSV."""
    if not path.is_file():
        raise FileNotFoundError(f"no CSV at {path}; it has the columns path and class_name")
    table, lines = read_text_table(path, ("path",))
    if any("class" in name or "label" in name for name in table):  # a misspelt column is not a missing one
        table, lines = read_text_table(path, ("path", "class_name"))
    else:
        print(f"{path}: no column class_name, so no class is known: what needs them is left out")
        table["class_name"] = UNLABELLED
    if table.empty:
        raise ValueError(f"{path}: no row; it needs a path and a class_name in each")
    splits = [*SPLITS, "unused"]
    for column, valid in {"path": None, "class_name": None, "split": splits}.items():
        values = table.get(column, pd.Series(dtype=str))
        wrong = values[~values.str.casefold().isin(valid) if valid else values == ""]
        if len(wrong):
            raise ValueError(
                f"{path}, line {lines[wrong.index[0]]}: {column} is {wrong.iloc[0]!r}; expected "
                f"{' or '.join(valid) if valid else 'a name'}"
            )
    if "split" in table:
        table["split"] = decided(SPLITS.get(split.casefold(), "unused") for split in table.split)
    if "source_id" not in table:
        table["source_id"] = ""
    table["source_id"] = table.source_id.where(table.source_id != "", table.path)  # as written: it may be moved
    table["class_name"] = table.class_name.map(class_name)
    table["path"] = [os.path.normpath(path.parent / text) for text in table.path]
    twice = table.path[table.path.duplicated()]
    if len(twice):
        raise ValueError(f"{path}, line {lines[twice.index[0]]}: {twice.iloc[0]} is listed twice")
    return table


def draw_split(table: pd.DataFrame, seed: int, chosen: Mapping[str, str] | None = None) -> list[str]:
    """Train or test for each row: all videos of a group alike, also over classes; a lone group for training.

    Groups that are `chosen` already stay on their side.
    """
    groups, chosen = table.get("group", table.source_id), dict(chosen or {})
    classes = [list(found.unique()) for _, found in groups.groupby(table.class_name)]
    for names in sorted(classes, key=len):  # where there is least to choose from first
        order = sorted(names, key=lambda name: sha1(f"{seed}/{name}".encode()).hexdigest())
        count = max(1, round(TEST_SHARE * len(order))) if len(order) > 1 else 0
        count -= sum(chosen.get(name) == "test" for name in order)
        for name in (name for name in order if name not in chosen):
            chosen[name] = "test" if count > 0 else "train"
            count -= 1
    return groups.map(chosen).tolist()


def tell_recordings(manifest: Manifest, problems: pd.DataFrame) -> tuple[Manifest, pd.DataFrame]:
    """Say it if no two videos share a recording, as unnoticed siblings make any network look good, or too many do."""
    if manifest.table.source_id.is_unique and manifest.table.group.is_unique:
        print(
            "every video counts as a recording of its own; clips cut from one recording belong in a folder of "
            "their own, <class>/<recording>/<clip>, or get the same source_id in a CSV"
        )
    if problems.reason.str.startswith(SEVERAL).any():
        print(
            "some recordings span several classes: their clips count as positives of each other; a person or a camera "
            "belongs in the column group, which keeps videos on one side of the split and no more"
        )
    return manifest, problems


def tell_counts(manifest: Manifest, problems: pd.DataFrame) -> tuple[Manifest, pd.DataFrame]:
    """Say how many videos and recordings each class has on each side; a fifth may become more with few groups."""
    for name, rows in list(manifest.table.groupby("class_name"))[:SHOWN]:
        sides = [(side, part) for side, part in rows.groupby("split", sort=False)]
        told = (f"{side} {len(part)} of {part.source_id.nunique()} recordings" for side, part in sides)
        print(f"  {printable(name)}: {', '.join(told)}")
    if len(manifest.class_names) > SHOWN:
        print(f"  … and {len(manifest.class_names) - SHOWN} other classes")
    return manifest, problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="folder with one folder per class, or a CSV")
    parser.add_argument("--seed", type=int, help="draw test recordings anew (default: 0, known videos keep their side)")
    run(parser, lambda args: tell_recordings(*tell_counts(*with_near_copies(*made(args), args.workers))))


def made(args: argparse.Namespace) -> tuple[Manifest, pd.DataFrame]:
    """What the command builds."""
    before = _before(args.out) if args.seed is None else None
    return build(args.source, args.seed or 0, args.workers, args.memory, before)


def _before(out: str) -> Manifest | None:
    """The manifest of the last time, None where there is none that can be read."""
    try:
        return Manifest.read(resolve(out))
    except (ValueError, OSError):
        return None


if __name__ == "__main__":
    main()
