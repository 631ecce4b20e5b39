"""Read your own folders and tables of videos: path, class, recording, and perhaps group and split."""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cprlib.data.files import find_videos
from cprlib.data.manifest import UNLABELLED
from cprlib.data.text_table import TABLES, place_of, read_text_table
from cprlib.store.files import resolve

SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
SPLITS |= dict.fromkeys(("val", "valid", "validation"), "validation")


def is_labelled(source: str | Path) -> bool:
    """Whether classes are known: a quick look, before anything is read."""
    source = resolve(source)
    if is_table(source):
        return not source.is_file() or "class_name" in read_text_table(source, ("path",))[0]
    return not source.is_dir() or any(path.parent != source for path in find_videos(source))


def read_videos(source: Path, problems: list[dict] | None = None) -> pd.DataFrame:
    """Read a folder or a CSV of videos, see :func:`read_folder` and :func:`read_csv`."""
    return read_csv(source) if is_table(source) else read_folder(source, problems)


def is_table(source: Path) -> bool:
    """Whether the source is a text table rather than a folder.

    Raises:
        ValueError: it is another kind of file, such as a spreadsheet.
    """
    if source.is_dir() or source.suffix.lower() in TABLES:
        return not source.is_dir()
    if source.exists():
        raise ValueError(f"{source} is neither a folder nor a CSV; save a spreadsheet as CSV in UTF-8")
    return False


def read_folder(folder: Path, problems: list[dict] | None = None) -> pd.DataFrame:
    """Path, class, recording and, if folders name one, split of each video below a folder."""
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
        return table.drop(columns="split")  # to be drawn
    return table.assign(split=decided(table.split))


def split_level(paths: list[tuple[str, ...]]) -> int | None:
    """Which level of the paths names a split: the first or the second, or None if that is not certain."""
    for level in (0, 1):
        names = {parts[level].casefold() for parts in paths if len(parts) > level + 1}
        deep = [parts for parts in paths if len(parts) > 2]
        if names and names <= SPLITS.keys() and deep and (level == 0 or len(deep) == len(paths)):
            return level
    return None


def decided(splits: Iterable[str]) -> list[str]:
    """The splits of a manifest: validation videos become test videos if there are none, else unused."""
    splits = list(splits)
    becomes = "unused" if "test" in splits else "test"
    if "validation" in splits:
        print(f"validation videos: {'used for testing, as no split is called test' if becomes == 'test' else becomes}")
    return [becomes if split == "validation" else split for split in splits]


def class_name(text: str) -> str:
    """A class name in one spelling: no blanks around it, accents normalised."""
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
        print(f"{path}: no column class_name, so classes are unknown: what needs them is left out")
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
    table["path"] = [place_of(text, path) for text in table.path]
    if not any(map(os.path.isfile, table.path)):
        raise FileNotFoundError(
            f"{path}: none of its {len(table)} videos is there, the first is looked for at {table.path[0]}; correct "
            "the paths: absolute, or relative to the folder of this table"
        )
    twice = table.path[table.path.duplicated()]
    if len(twice):
        raise ValueError(f"{path}, line {lines[twice.index[0]]}: {twice.iloc[0]} is listed twice")
    return table
