"""Query an index: which videos are like this one, or like a moment of it, and where in them?"""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from cprlib.data.files import fingerprint
from cprlib.search.flat import TOLERANCE
from cprlib.search.index import Index
from cprlib.search.shards import read_vectors

KINDS = ("whole", "windows")


def search(
    index: Index,
    video: str | Path,
    top: int = 10,
    at: float | None = None,
    by: str | None = None,
    view: str | None = None,
    itself: bool = False,
    run: str | Path | None = None,
    among: pd.Series | None = None,
) -> pd.DataFrame:
    """The videos most like a file.

    Args:
        index: to search.
        video: a file, in the index or not.
        top: how many videos, at least 1.
        at: a moment of the file, in seconds; the query is its window instead of the whole video.
        by: compare with "whole" videos, or with the most similar of each video's "windows"; None: windows if `at` is
            given, else whole videos.
        view: compare in this view only; None: mean over all views.
        itself: include the file itself, if the index holds it.
        run: where the networks of the index are now, if they were moved.
        among: bool, indexed by the paths of :attr:`Index.videos`: which videos to search; None: all.

    Returns:
        One row per video, the most similar first: rank, path, similarity (cosine, -1..1), a column per view if there
        are several, start and end of its most similar window in seconds, copies (number of other files with the same
        content); no row if there is no other video.

    Raises:
        FileNotFoundError, ValueError: no such file, not a video, a moment after its end, an impossible setting.
    """
    by = by or ("whole" if at is None else "windows")
    if by not in KINDS:
        raise ValueError(f"by is {by!r}; choose {' or '.join(KINDS)}")
    if top < 1:
        raise ValueError(f"top is {top}; ask for at least 1 video")
    if not len(index):
        raise ValueError(f"{index.folder} holds no video to search; {len(index.problems)} files are left out")
    if run is not None:
        index.encoder(run)  # refuses other networks, even if the index holds the file
    asked = index.vectors(video, run)
    query = asked.whole if at is None else asked.windows[moment(asked.seconds, at, video)].astype(np.float32)
    allowed = itself | (index.videos.content != fingerprint(video)).to_numpy()
    allowed &= True if among is None else among[index.videos.path].to_numpy()
    found = index.similarities(query, by, view, top + 1 if among is None else None)
    near = np.flatnonzero(allowed & (found > -np.inf))
    if top < len(near):
        near = near[found[near] >= np.partition(found[near], -top)[-top] - len(index.parts) * TOLERANCE]
    # Rank by the similarities that are returned, free of the search's rounding; ties stay in the order of paths.
    rows = [_row(index, index.videos.iloc[i], query, by, view) for i in near]
    rows = sorted(rows, key=lambda row: -row["similarity"])[:top]
    views = index.parts if len(index.parts) > 1 else ()
    columns = ["rank", "path", "similarity", *views, "start", "end", "copies"]
    return pd.DataFrame([{"rank": rank, **row} for rank, row in enumerate(rows, 1)], columns=columns)


def moment(seconds: np.ndarray, at: float, video: str | Path) -> int:
    """The number of the window, among (W, 2) first and last seconds, whose middle is nearest to a moment.

    Raises:
        ValueError: the moment lies outside the video.
    """
    if not 0 <= at <= seconds[-1, 1] + 1:
        raise ValueError(f"{video} has no second {at:g}; it ends at {seconds[-1, 1]:.1f}")
    return int(np.abs(seconds.mean(axis=1) - at).argmin())


def _row(index: Index, video: pd.Series, query: np.ndarray, by: str, view: str | None) -> dict:
    """The result row of one video."""
    vectors = read_vectors(index.folder, video)
    shown = slice(None) if view is None else index.parts[view]
    windows = vectors.windows.astype(np.float32)
    dots = windows[:, shown] @ query[shown]
    compared = vectors.whole if by == "whole" else windows[dots.argmax()]
    cosines = {name: len(index.parts) * float(compared[c] @ query[c]) for name, c in index.parts.items()}
    start, end = vectors.seconds[dots.argmax()].tolist()
    similarity = cosines[view] if view else float(np.mean([*cosines.values()]))
    several = cosines if len(cosines) > 1 else {}
    copies = len(index.copies[video.content]) - 1
    return {"path": video.path, "similarity": similarity, **several, "start": start, "end": end, "copies": copies}


def readable(found: pd.DataFrame, index: Index) -> pd.DataFrame:
    """Results to look at: paths relative to the folder, start and end in one column, copies only if there are any."""
    table = found.assign(path=[os.path.relpath(path, index.root) for path in found["path"]])
    table["at"] = [f"{start:.1f}–{end:.1f} s" for start, end in zip(found["start"], found["end"], strict=True)]
    table = table.drop(columns=["start", "end", *(["copies"] if not found["copies"].any() else [])])
    return table.round(3)
