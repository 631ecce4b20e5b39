"""Pictures of single cases: what was mined for a query, what retrieval found, what a clip looks like."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from cprlib.data.flow_file import dequantise
from cprlib.data.manifest import Manifest
from cprlib.report.figures.curves import clip_strip, mined_strip, neighbour_strip
from cprlib.report.figures.style import flow_colour

LEAST = 0.05  # of the bound; a step of the levels is 0.008


def clip_figure(clips: Mapping[str, Tensor], count: int = 8) -> Figure:
    """Frames of a clip in every view.

    Args:
        clips: view -> (T, H, W, C) uint8 as a frame source gives them; flow as levels.
        count: frames shown.
    """
    # The colours show direction and relative speed, so any bound will do.
    pixels = {v: dequantise(c, 1.0).transpose(0, 3, 1, 2) if v == "flow" else c for v, c in clips.items()}
    return clip_strip(pixels, count)


def mined_figure(
    logs: Mapping[str, pd.DataFrame], manifest: Manifest, thumbnail: Callable[[int], np.ndarray], query: int
) -> Figure:
    """What each method mined for one query in its last epoch, wrong ones marked.

    Args:
        logs: method -> mining log of one network.
        manifest: of the run.
        thumbnail: video_id -> picture, see :func:`thumbnails`.
        query: video_id, e.g. from :func:`common_queries`.
    """
    last = {m: log[log.epoch == log.epoch.max()] for m, log in logs.items()}
    found = {m: log[log["query"] == query].sort_values("rank") for m, log in last.items()}
    names = manifest.table.set_index("video_id").class_name
    return mined_strip(
        thumbnail(query),
        {m: [thumbnail(i) for i in rows.mined] for m, rows in found.items()},
        {m: rows.correct.tolist() for m, rows in found.items()},
        {m: names[rows.mined].tolist() for m, rows in found.items()},
        names[query],
    )


def common_queries(logs: Mapping[str, pd.DataFrame], count: int, seed: int = 0) -> list[int]:
    """Queries of as many classes as possible for which every method mined something in its last epoch.

    Args:
        logs: method -> mining log.
        count: how many, at most.
        seed: of the draw; no case is picked by hand.

    Returns:
        video_ids.
    """
    last = [log[log.epoch == log.epoch.max()] for log in logs.values()]
    common = set.intersection(*(set(log["query"]) for log in last))
    queries = last[0][last[0]["query"].isin(common)].drop_duplicates("query").sort_values("query")
    one_a_class = queries.sample(frac=1, random_state=seed).drop_duplicates("query_label")
    return one_a_class["query"].head(count).tolist()


def neighbour_figure(
    neighbours: Mapping[str, Tensor],
    query: int,
    queries: Manifest,
    gallery: Manifest,
    thumbnail: Callable[[int], np.ndarray],
) -> Figure:
    """A test video and its nearest training videos in every view, those of another class marked.

    Args:
        neighbours: view -> (k,) int64 rows of the gallery, nearest first.
        query: row of `queries`.
        queries, gallery: the splits that the features came from.
        thumbnail: video_id -> picture, of both splits.
    """
    row, table = queries.table.iloc[query], gallery.table
    found = {view: table.iloc[rows.tolist()] for view, rows in neighbours.items()}
    return neighbour_strip(
        thumbnail(row.video_id),
        {view: [thumbnail(i) for i in rows.video_id] for view, rows in found.items()},
        {view: (rows.label == row.label).tolist() for view, rows in found.items()},
        {view: rows.class_name.tolist() for view, rows in found.items()},
        row.class_name,
    )


def thumbnails(manifest: Manifest, frames: Any, view: str = "rgb") -> Callable[[int], np.ndarray]:
    """What figures that show clips take as `thumbnail`: a function from a video to its middle frame.

    Args:
        manifest: of the videos that may be asked for.
        frames: source of frames that has this view, see :func:`cprlib.data.frames.open_frames`.
        view: "flow" gives colours: the hue is the direction, white is rest, the deepest colour the fastest pixel, or a
            twentieth of the bound of the stored flow, so that a still picture stays pale.

    Returns:
        video_id -> uint8 (H, W, 3); the last 1024 are remembered. It raises a ValueError for a video that the manifest
        does not list.
    """
    middles = dict(zip(manifest.table.video_id.tolist(), (manifest.table.num_frames // 2).tolist(), strict=True))

    @lru_cache(maxsize=1024)
    def middle_frame(video_id: int) -> np.ndarray:
        if video_id not in middles:
            raise ValueError(f"video_id {video_id} is not in the manifest; give the one that the run was trained on")
        frame = torch.as_tensor(frames.frames(video_id, view, [middles[video_id]])).numpy()[0]
        return flow_colour(dequantise(frame, 1.0).transpose(2, 0, 1), LEAST) if view == "flow" else frame

    return lambda video_id: middle_frame(int(video_id))  # a NumPy number would be remembered beside the int
