"""Single cases: what was mined for a query, which videos retrieval found."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import Tensor

from cprlib.data.manifest import Manifest
from cprlib.report.figures.strips import GAP, draw_strip
from cprlib.report.figures.style import RC, WIDTH, new_figure
from cprlib.report.names import method_look, view_label


@rc_context(RC)
def examples_figure(query: Any, found: Mapping[str, pd.DataFrame], thumbnail: Callable[[int], np.ndarray]) -> Figure:
    """A query and what was found for it, a row for each way to find; videos of another class are marked.

    Args:
        query: a row of a manifest: video_id, label, class_name.
        found: name of the row -> rows of a manifest, best first.
        thumbnail: video_id -> uint8 (H, W, 3), see :func:`cprlib.report.figures.strips.thumbnails`.
    """
    picture = thumbnail(query.video_id)
    slots = max(1, *map(len, found.values()))
    cell = (WIDTH - 0.75) / (1.2 + slots * (1 + GAP))  # inches, the width of a thumbnail
    tall = cell * picture.shape[0] / picture.shape[1]
    figure = new_figure(WIDTH, height := len(found) * (tall + 0.4) + 0.1, placed=True)
    left = 0.7 + 1.2 * cell
    columns = ["video_id", "label", "class_name"]
    strips = [("Query", pd.DataFrame([query])[columns], 0.3, 0, 1.1 * cell, 1)]
    strips += [(name, rows, left, i, WIDTH - 0.05 - left, slots) for i, (name, rows) in enumerate(found.items())]
    for name, rows, x, row, wide, room in strips:
        bottom = height - 0.1 - row * (tall + 0.4) - tall
        axes = figure.add_axes((x / WIDTH, bottom / height, wide / WIDTH, tall / height))
        images = [thumbnail(video) for video in rows.video_id]
        draw_strip(axes, images, rows.label == query.label, list(rows.class_name), room, picture.shape)
        name = name.replace(" in ", "\nin ")
        axes.text(-0.05, 0.5 * tall / cell, name, rotation=90, ha="right", va="center", fontsize=9)
    return figure


def mined_figure(
    logs: Mapping[str, pd.DataFrame], manifest: Manifest, thumbnail: Callable[[int], np.ndarray], query: int
) -> Figure:
    """What each method (-> mining log of one network) mined for one query, a video_id, in its last epoch."""
    videos = manifest.table.set_index("video_id", drop=False)
    last = {method: log[(log.epoch == log.epoch.max()) & (log["query"] == query)] for method, log in logs.items()}
    found = {method_look(m).label: videos.loc[rows.sort_values("rank").mined] for m, rows in last.items()}
    return examples_figure(videos.loc[query], found, thumbnail)


def common_queries(logs: Mapping[str, pd.DataFrame], count: int, seed: int = 0) -> list[int]:
    """video_ids of at most so many queries, each of another class, for which every method (-> its mining log) mined.

    They are drawn from the last epoch by the seed; no case is picked by hand.
    """
    last = [log[log.epoch == log.epoch.max()] for log in logs.values()]
    common = set.intersection(*(set(log["query"]) for log in last))
    queries = last[0][last[0]["query"].isin(common)].drop_duplicates("query").sort_values("query")
    return queries.sample(frac=1, random_state=seed).drop_duplicates("query_label")["query"].head(count).tolist()


def neighbour_figure(
    neighbours: Mapping[str, Tensor],
    query: int,
    queries: Manifest,
    gallery: Manifest,
    thumbnail: Callable[[int], np.ndarray],
) -> Figure:
    """A test video, a row of `queries`, and its nearest in every view, rows of the gallery (k,), nearest first."""
    found = {view_label(view, neighbours): gallery.table.iloc[rows.tolist()] for view, rows in neighbours.items()}
    return examples_figure(queries.table.iloc[query], found, thumbnail)
