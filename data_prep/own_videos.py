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
from collections.abc import Mapping
from hashlib import sha1
from pathlib import Path

import pandas as pd

from cprlib.data.files import printable
from cprlib.data.manifest import Manifest
from cprlib.store.files import resolve
from data_prep.before import in_order_of_before, rows_before, sides_before
from data_prep.common import MISSING, Entry, describe, run
from data_prep.own_sources import read_videos
from data_prep.recordings import remarks, tell_counts, tell_recordings, with_near_copies

TEST_SHARE = 0.2


def build(
    source: str | Path,
    seed: int = 0,
    workers: int | None = None,
    memory: Path | None = None,
    before: Manifest | None = None,
) -> tuple[Manifest, pd.DataFrame]:
    """Describe your own videos.

    Args:
        source: folder with one folder per class, or a CSV file; see :mod:`data_prep.own_sources`.
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
    table = read_videos(source, problems)
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
