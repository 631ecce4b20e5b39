"""Your own videos: a manifest from folders named after classes, or from a CSV.

    python -m data_prep.own_videos FOLDER_OR_CSV OUT_MANIFEST

FOLDER/<class>/<video>: every video is a recording of its own. FOLDER/<class>/<recording>/<video>: the
videos of one folder were cut from one recording. CSV: columns path (absolute, or relative to the CSV) and
class_name; split (train, test, unused) and source_id (the recording) may be added. Without split, about
a fifth of each class's recordings is set aside for testing, drawn by a hash of their names: adding
videos later hardly moves the others.
"""

import argparse
from hashlib import sha1
from pathlib import Path

import pandas as pd

from cprlib.data.manifest import SPLITS, Manifest
from cprlib.store.files import resolve
from data_prep.common import MISSING, Entry, describe, find_videos, run

TEST_SHARE = 0.2


def build(source: str | Path, seed: int = 0, workers: int | None = None) -> tuple[Manifest, pd.DataFrame]:
    """Describe your own videos.

    Args:
        source: folder with one folder per class, or a CSV file.
        seed: of the draw of test recordings, where no split is given.
        workers: processes; None = one per core.

    Returns:
        The manifest, and the problems (columns path, reason). Labels are in alphabetical order.

    Raises:
        FileNotFoundError: no such folder or file, or no video in it.
        ValueError: a column or value of the CSV is missing or wrong, or nothing to train on or to test with.
    """
    source = resolve(source)
    table = read_csv(source) if source.suffix.lower() == ".csv" else read_folder(source)
    there = table.path.map(lambda path: Path(path).is_file())
    problems = [{"path": path, "reason": MISSING} for path in table.path[~there]]
    rows = table[there].assign(split=table.get("split", "train")).itertuples(index=False)
    entries = [Entry(Path(r.path), r.class_name, r.source_id, r.split) for r in rows]
    manifest, found = describe(entries, sorted(set(table.class_name)), workers, problems)
    if "split" in table:
        return manifest, found
    split = draw_split(manifest.table, seed)  # of the usable videos: a broken one must not stand for its class
    if "test" not in split:
        raise ValueError(
            f"{source}: no usable video is left for testing, so nothing could be judged; give a class at least "
            "two recordings (three for the linear probe), or give a CSV with a column split"
        )
    return Manifest(manifest.table.assign(split=split)).validate(), found


def read_folder(folder: Path) -> pd.DataFrame:
    """Path, class and recording of ``folder/<class>/<video>`` and ``folder/<class>/<recording>/<video>``."""
    rows, loose = [], []
    for path in find_videos(folder):
        inside = path.relative_to(folder)
        if len(inside.parts) < 2:
            loose.append(path)
        else:
            recording = inside.parent if len(inside.parts) > 2 else inside.with_suffix("")
            rows.append((str(path), inside.parts[0], str(recording)))
    if loose:
        raise ValueError(
            f"{loose[0]} ({len(loose)} videos) lies in no class folder; "
            "make it folder/<class>/<video>, or give a CSV with path and class_name"
        )
    filled = {row[1] for row in rows}
    for empty in folder.iterdir():
        if empty.is_dir() and empty.name not in filled and not empty.name.startswith("."):
            raise ValueError(f"class folder {empty} holds no video; add videos or remove it")
    return pd.DataFrame(rows, columns=["path", "class_name", "source_id"])


def read_csv(path: Path) -> pd.DataFrame:
    """Path, class, recording and, if given, split of each row of a CSV."""
    if not path.is_file():
        raise FileNotFoundError(f"no CSV at {path}; it has the columns path and class_name")
    table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    for column in ("path", "class_name"):
        if column not in table:
            raise ValueError(f"{path}: no column {column!r}; it needs path and class_name")
    if table.empty:
        raise ValueError(f"{path}: no row; it needs a path and a class_name in each")
    table["path"] = [str(path.parent / p) if p else "" for p in table.path]
    if "source_id" not in table:
        table["source_id"] = ""
    table["source_id"] = table.source_id.where(table.source_id != "", table.path)
    for column, valid in {"path": None, "class_name": None, "split": SPLITS}.items():
        values = table.get(column, pd.Series(dtype=str))
        wrong = values[~values.isin(valid) if valid else values == ""]
        if len(wrong):
            raise ValueError(
                f"{path}, line {wrong.index[0] + 2}: {column} is {wrong.iloc[0]!r}; expected "
                f"{' or '.join(valid) if valid else 'a name'}"
            )
    twice = table.path[table.path.duplicated()]
    if len(twice):
        raise ValueError(f"{path}, line {twice.index[0] + 2}: {twice.iloc[0]} is listed twice")
    return table


def draw_split(table: pd.DataFrame, seed: int) -> list[str]:
    """Train or test for each row: all clips of a recording alike, a lone recording for training."""
    chosen: dict[str, str] = {}
    for _, sources in table.groupby("class_name").source_id:
        order = sorted(sources.unique(), key=lambda s: sha1(f"{seed}/{s}".encode()).hexdigest())
        count = max(1, round(TEST_SHARE * len(order))) if len(order) > 1 else 0
        for place, source in enumerate(order):
            chosen.setdefault(source, "test" if place < count else "train")
    return table.source_id.map(chosen).tolist()


def tell_recordings(manifest: Manifest, problems: pd.DataFrame) -> tuple[Manifest, pd.DataFrame]:
    """Say it if no two videos share a recording: unnoticed siblings in train and test make any network look good."""
    if manifest.table.source_id.is_unique:
        print(
            "every video counts as a recording of its own; clips cut from one recording belong in a folder of "
            "their own, <class>/<recording>/<clip>, or get the same source_id in a CSV"
        )
    return manifest, problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="folder with one folder per class, or a CSV")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of test recordings")
    run(parser, lambda args: tell_recordings(*build(args.source, args.seed, args.workers)))


if __name__ == "__main__":
    main()
