"""Vectors on disk, in shards that are written once and memory-mapped."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cprlib.store.files import atomic_path

KINDS = {"whole": np.float32, "windows": np.float16, "seconds": np.float32}
SMALL = 50_000  # shards with fewer windows are merged
BLOCK = 4096  # rows compared at once, which fit a processor's cache


class Vectors(NamedTuple):
    """The vectors of a video: (F,) of the whole, (W, F) of its windows, (W, 2) their first and last second."""

    whole: np.ndarray
    windows: np.ndarray
    seconds: np.ndarray

    @property
    def size(self) -> int:
        """Size in bytes."""
        return sum(array.nbytes for array in self)


def shard_file(folder: Path, shard: str, kind: str) -> Path:
    """One of the three files of a shard."""
    return folder / "shards" / f"{shard}.{kind}.npy"


def write_shard(folder: Path, shard: str, videos: Sequence[Vectors]) -> pd.DataFrame:
    """Write a shard.

    Returns:
        One row per video: shard, row (of the whole), first and count (of its windows).
    """
    stacked = (
        np.stack([video.whole for video in videos]),
        *(np.concatenate([video[i] for video in videos]) for i in (1, 2)),
    )
    for (kind, dtype), array in zip(KINDS.items(), stacked, strict=True):
        with atomic_path(shard_file(folder, shard, kind)) as tmp:
            np.save(tmp, array.astype(dtype))
    counts = np.array([len(video.windows) for video in videos])
    rows = {"shard": shard, "row": range(len(videos)), "first": counts.cumsum() - counts, "count": counts}
    return pd.DataFrame(rows)


def open_shard(folder: Path, shard: str, kind: str) -> np.ndarray:
    """The rows of a shard, as a memory map.

    Raises:
        ValueError: the shard is missing or damaged.
    """
    path = shard_file(folder, shard, kind)
    try:
        return np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        remedy = f"delete {folder} and make the index again"
        if not path.exists():  # e.g. another process has merged shards
            raise ValueError(f"{path} is gone; open the index again or, if that does not help, {remedy}") from error
        raise ValueError(f"{path} is damaged; {remedy}") from error


def read_vectors(folder: Path, place: pd.Series) -> Vectors:
    """The vectors of a video, from a row of :func:`write_shard`."""
    windows = slice(place["first"], place["first"] + place["count"])
    whole = np.array(open_shard(folder, place["shard"], "whole")[place["row"]])
    return Vectors(
        whole, *(np.array(open_shard(folder, place["shard"], kind)[windows]) for kind in ("windows", "seconds"))
    )


def best_of_each(folder: Path, videos: pd.DataFrame, query: np.ndarray, kind: str, columns: slice) -> np.ndarray:
    """The dot product of a query with each video, or with the most similar of its windows; exact, block by block.

    Args:
        videos: V rows of :func:`write_shard`; other rows of the shards are skipped.
        query: float32 (F,).
        kind: "whole" or "windows".
        columns: of the vectors, to compare.

    Returns:
        float32 (V,).
    """
    best = np.full(len(videos), -np.inf, np.float32)
    for vectors, owners in blocks(folder, videos, kind):
        np.maximum.at(best, owners, vectors[:, columns].astype(np.float32, copy=False) @ query[columns])
    return best


def blocks(folder: Path, videos: pd.DataFrame, kind: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield blocks of vectors (N, F) and the video of each vector, 0..V-1; vectors of other videos are skipped."""
    numbers = pd.Series(range(len(videos)), videos.index)
    for shard, rows in videos.groupby("shard", sort=False):
        vectors, number = open_shard(folder, shard, kind), numbers[rows.index].to_numpy()
        owners = np.full(len(vectors), -1)
        if kind == "whole":
            owners[rows["row"]] = number
        else:
            first, count = rows["first"].to_numpy(int), rows["count"].to_numpy(int)
            inside = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
            owners[np.repeat(first, count) + inside] = np.repeat(number, count)
        for start in range(0, len(vectors), BLOCK):
            block, of = vectors[start : start + BLOCK], owners[start : start + BLOCK]
            yield (block, of) if (of >= 0).all() else (block[of >= 0], of[of >= 0])


def to_merge(videos: pd.DataFrame, folder: Path) -> list[list[str]]:
    """Groups of shards to merge: small ones, and those with less than half of their windows in use."""
    alive = videos.groupby("shard")["count"].sum()
    half_dead = [shard for shard in alive.index if alive[shard] < 0.5 * len(open_shard(folder, shard, "seconds"))]
    small = [shard for shard in alive.index if alive[shard] < SMALL]
    groups, room = [], 0
    for shard in sorted({*half_dead, *(small if len(small) > 8 else [])}):
        if alive[shard] > room:
            groups.append([])
            room = 2 * SMALL
        groups[-1].append(shard)
        room -= alive[shard]
    return groups
