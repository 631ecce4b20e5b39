"""What an earlier manifest said of the same videos: their order, and the side of the split that they were on.

So a video keeps its number and its side when classes become known, when it is moved, and when others are added:
networks that were trained before can be evaluated on it, and are trained again only if there is something new to train.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cprlib.data.files import fingerprint
from cprlib.data.manifest import Manifest
from data_prep.remembered import Remembered


def rows_before(paths: Sequence[str], before: Manifest, memory: str | Path | None = None) -> list[int | None]:
    """The row of each file in an earlier manifest, found by content, else by path, else by name.

    Args:
        paths: of files that exist.
        before: the earlier manifest; its files may be gone.
        memory: what was found in its files, see :mod:`data_prep.remembered`.

    Returns:
        A row of `before` for each file, each used at most once; None: the file is new.
    """
    remembered = Remembered(memory)

    def content(path: str) -> str:
        found = remembered.get(path, [path])
        return found[1] if isinstance(found, tuple) else fingerprint(path)

    was = [(path, remembered.kept.get(path, {}).get("content")) for path in before.table.path]
    now = [(path, content(path)) for path in paths]
    found: list[int | None] = [None] * len(now)
    keys = (lambda file: file, lambda file: file[1], lambda file: file[0], lambda file: Path(file[0]).name)
    for key in keys:  # copies share a content, so path and content first
        free = {key(file): row for row, file in reversed([*enumerate(was)]) if row not in found and key(file)}
        for i, file in enumerate(now):
            if found[i] is None:
                found[i] = free.pop(key(file), None)
    return found


def in_order_of_before(rows: Sequence[int | None]) -> list[int]:
    """Numbers of the files: known ones in their earlier order, then the others as they come."""
    return sorted(range(len(rows)), key=lambda i: (rows[i] is None, rows[i] or 0))


def sides_before(groups: pd.Series, rows: Sequence[int | None], before: Manifest) -> dict[str, str]:
    """Group -> the side that all its known videos were on; groups that were on both sides are left out."""
    sides = [None if row is None else before.table.split[row] for row in rows]
    known = pd.DataFrame({"group": list(groups), "side": sides}).dropna()
    known = known[known.side.isin(["train", "test"])].groupby("group").side
    return known.first()[known.nunique() == 1].to_dict()
