"""Your own videos: a manifest from folders named after classes, or from a CSV.

    python -m data_prep.own_videos FOLDER_OR_CSV OUT_MANIFEST

FOLDER/<class>/<video>: every video is a recording of its own. FOLDER/<class>/<recording>/<video>: the videos of one
folder were cut from one recording. FOLDER/<split>/<class>/… and FOLDER/<class>/<split>/…, with train, training, test,
testing, val, valid or validation for <split>, give the split as well. CSV: columns path (absolute, or relative to the
CSV) and class_name; without class_name, or if all videos lie in the folder itself, no class is known, and what needs
classes is left out. Optional columns: split (also unused), source_id (the recording) and group (what stays on one side
of a split: a person, a camera). Validation videos are the test videos if there are no others, else unused. Without
split, about a fifth of each class's groups become the test split, drawn by a hash of their names. When run again, known
videos keep their number and their side, even after a move or when classes become known; --seed draws all anew.
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
        seed: for drawing the test groups if no split is given.
        workers: processes; None = one per core.
        memory: file that keeps what was found in each video, so that it is inspected only once.
        before: the earlier manifest: its videos keep their number and, if the split is drawn, their side; see
            :mod:`data_prep.before`.

    Returns:
        The manifest, and the problems (columns path, reason). Labels are in alphabetical order.

    Raises:
        FileNotFoundError: no such folder or file, or no video in it.
        ValueError: a column or value of the CSV is missing or wrong, or there is no training or test video.
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
    """Train or test for each row: the same for all videos of a group, also over classes; a class's only group trains.

    Groups in `chosen` stay on their side.
    """
    groups, chosen = table.get("group", table.source_id), dict(chosen or {})
    classes = [list(found.unique()) for _, found in groups.groupby(table.class_name)]
    for names in sorted(classes, key=len):  # classes with the fewest groups first
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
    """Build what the command asks for."""
    before = _before(args.out) if args.seed is None else None
    return build(args.source, args.seed or 0, args.workers, args.memory, before)


def _before(out: str) -> Manifest | None:
    """The earlier manifest, None if there is none that can be read."""
    try:
        return Manifest.read(resolve(out))
    except (ValueError, OSError):
        return None


if __name__ == "__main__":
    main()
