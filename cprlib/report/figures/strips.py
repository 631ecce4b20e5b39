"""Rows of thumbnails: what was mined for a query, which videos retrieval found, the frames of a clip.

They are fast to draw, so that explorers can follow a slider.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageOps
from torch import Tensor

from cprlib.data.flow_file import dequantise
from cprlib.data.manifest import Manifest
from cprlib.report.figures.style import WIDTH, WRONG, flow_colour, new_figure, styled
from cprlib.report.names import method_look, view_label

GAP = 0.06  # between thumbnails, in thumbnail widths
LARGEST_CELL, FOOT = 1.25, 0.36  # inches: width of a thumbnail, height of its caption
SMALLEST, LARGEST = 6.5, 9.0  # font size of captions, points
LETTER = 0.6  # width of a letter, in font sizes
LEAST = 0.05  # of the flow's bound: slower clips are drawn pale
Thumbnail = Callable[[int], np.ndarray]  # video_id -> uint8 (H, W, 3)


def thumbnails(manifest: Manifest, frames: Any, view: str = "rgb") -> Thumbnail:
    """A function that gives the middle frame of a video, flow in colours; it keeps the last 1024."""
    middles = dict(zip(manifest.table.video_id.tolist(), (manifest.table.num_frames // 2).tolist(), strict=True))

    @lru_cache(maxsize=1024)
    def middle_frame(video_id: int) -> np.ndarray:
        if video_id not in middles:
            raise ValueError(f"video_id {video_id} is not in the manifest; give the one that the run was trained on")
        frame = torch.as_tensor(frames.frames(video_id, view, [middles[video_id]])).numpy()[0]
        return flow_colour(dequantise(frame, 1.0).transpose(2, 0, 1), LEAST) if view == "flow" else frame

    return lambda video_id: middle_frame(int(video_id))  # a NumPy number would have a cache entry of its own


class Strip(NamedTuple):
    """A row of thumbnails.

    Attributes:
        name: text on the left.
        images: uint8 (H, W, 3) each; None leaves a place free.
        correct: whether each image is right (None: all); wrong ones get a red frame and a cross, visible in grey.
        captions: text under each image; left out if it does not fit.
    """

    name: str
    images: Sequence[np.ndarray | None]
    correct: Sequence[bool] | None = None
    captions: Sequence[str] = ()


@styled
def strips_figure(strips: Sequence[Strip], shape: tuple[int, ...], above: float = 0.0) -> Figure:
    """Rows of thumbnails, all of one shape (H, W, 3); `above`: inches that stay free on top."""
    slots = max(5, *(len(strip.images) for strip in strips)) * (1 + GAP)
    left = 0.25 + 0.07 * max(len(line) for strip in strips for line in strip.name.split("\n"))
    cell = min(LARGEST_CELL, (WIDTH - left - 0.05) / slots)
    tall = cell * shape[0] / shape[1]
    tops, top = [], above + 0.05
    for strip in strips:
        tops.append(top)
        top += tall + (FOOT if any(strip.captions) else 0.1)
    figure = new_figure(WIDTH, top, placed=True)
    for strip, start in zip(strips, tops, strict=True):
        axes = figure.add_axes((left / WIDTH, 1 - (start + tall) / top, slots * cell / WIDTH, tall / top))
        _draw(axes, strip, shape, cell)
        axes.set(xlim=(0, slots), ylim=(tall / cell, 0))
        axes.axis("off")
        axes.text(-0.1 / cell, 0.5 * tall / cell, strip.name, ha="right", va="center", fontsize=9)
    return figure


def _draw(axes: Axes, strip: Strip, shape: tuple[int, ...], cell: float) -> None:
    """Draw the thumbnails, one unit wide each, with marks and captions; `cell`: inches in a unit."""
    height = shape[0] / shape[1]
    lefts, wrong = [i * (1 + GAP) for i in range(len(strip.images))], []
    correct = [True] * len(lefts) if strip.correct is None else strip.correct
    for left, image, right in zip(lefts, strip.images, correct, strict=True):
        if image is not None:
            axes.imshow(fitted(image, shape), extent=(left, left + 1, height, 0))
            look = {"edgecolor": "#777777", "linewidth": 0.6} if right else {"edgecolor": WRONG, "linewidth": 2.5}
            axes.add_patch(Rectangle((left, 0), 1, height, fill=False, clip_on=False, **look))
            wrong += [] if right else [left]
    x, y = [left + 0.88 for left in wrong], [0.14 * height] * len(wrong)
    look = {"linestyle": "", "clip_on": False, "markeredgecolor": WRONG}
    axes.plot(x, y, marker="o", markersize=10.5 * cell, color="white", **look)
    axes.plot(x, y, gid="wrong", marker="x", markersize=5.6 * cell, markeredgewidth=1.9 * cell, **look)
    texts, size = fit_captions(strip.captions, cell)
    for left, text in zip(lefts, texts, strict=False):
        axes.text(left + 0.5, height + 0.03, text, ha="center", va="top", fontsize=size, linespacing=1.0)


def fit_captions(captions: Sequence[str], inches: float) -> tuple[list[str], float]:
    """Captions for thumbnails of this width, in one line or two, and their font size; none if they do not fit.

    >>> fit_captions(["HandstandWalking"], 0.7)
    (['Handstand\\nWalking'], 9.0)
    """

    def size(texts: Sequence[str]) -> float:
        longest = max((len(line) for text in texts for line in text.split("\n")), default=0)
        return min(LARGEST, inches * 72 / (LETTER * max(1, longest)))

    best = max(list(captions), [_two_lines(text) for text in captions], key=size)
    return (best, size(best)) if size(best) >= SMALLEST else ([], SMALLEST)


def _two_lines(name: str) -> str:
    """Break a name at the end of a word, as near to its middle as possible."""
    ends = [match.start() for match in re.finditer(r"(?<=.)(?=[A-Z_ ])", name)]
    middle = min(ends, key=lambda end: abs(end - len(name) / 2), default=None)
    return name if middle is None else f"{name[:middle]}\n{name[middle:].lstrip()}"


def fitted(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A uint8 image scaled to a shape, with white around it."""
    if image.shape == tuple(shape):
        return image
    return np.asarray(ImageOps.pad(Image.fromarray(image), (shape[1], shape[0]), Image.Resampling.BOX, "white"))


def clip_strip(clip: Mapping[str, Any], count: int = 8) -> Figure:
    """At most `count` frames of a clip, evenly spaced, with their numbers, a row for each view.

    Args:
        clip: view -> uint8 (T, H, W, C) from a frame source; for "flow" also float (T, 2, H, W) in pixels per frame.
    """
    clip = {view: torch.as_tensor(frames).numpy() for view, frames in clip.items()}
    flow = clip.get("flow")
    if flow is not None:  # colours show relative speed, so the bound of the levels does not matter
        flow = dequantise(flow, 1.0).transpose(0, 3, 1, 2) if flow.dtype == np.uint8 else flow
        clip["flow"] = flow_colour(flow)
    length = min(map(len, clip.values()))
    shown = np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(int))
    captions = [f"frame {index}" for index in shown]
    strips = [Strip(view_label(view), list(frames[shown]), captions=captions) for view, frames in clip.items()]
    return strips_figure(strips, strips[0].images[0].shape)


def examples_figure(query: Any, found: Mapping[str, pd.DataFrame], thumbnail: Thumbnail) -> Figure:
    """A query and what was found for it; videos of another class are marked.

    Args:
        query: a row of a manifest: video_id, label, class_name.
        found: name of a row of thumbnails -> rows of a manifest, best first.
    """
    strips = []
    for name, rows in ({"Query": pd.DataFrame([query])} | found).items():
        images = [thumbnail(video) for video in rows.video_id]
        strips.append(Strip(name.replace(" in ", "\nin "), images, rows.label == query.label, list(rows.class_name)))
    return strips_figure(strips, strips[0].images[0].shape)


def mined_figure(logs: Mapping[str, pd.DataFrame], manifest: Manifest, thumbnail: Thumbnail, query: int) -> Figure:
    """What each method (-> mining log of one network) mined for a query (a video_id) in its last epoch."""
    videos = manifest.table.set_index("video_id", drop=False)
    if not manifest.is_labelled:
        videos = videos.assign(class_name=[Path(path).stem for path in videos.path])
    last = {method: log[(log.epoch == log.epoch.max()) & (log["query"] == query)] for method, log in logs.items()}
    found = {method_look(m).label: videos.loc[rows.sort_values("rank").mined] for m, rows in last.items()}
    return examples_figure(videos.loc[query], found, thumbnail)


def common_queries(logs: Mapping[str, pd.DataFrame], count: int, seed: int = 0) -> list[int]:
    """At most `count` random queries, one a class, that each method (-> mining log) mined for in its last epoch."""
    last = [log[log.epoch == log.epoch.max()] for log in logs.values()]
    common = set.intersection(*(set(log["query"]) for log in last))
    queries = last[0][last[0]["query"].isin(common)].drop_duplicates("query").sort_values("query")
    return queries.sample(frac=1, random_state=seed).drop_duplicates("query_label")["query"].head(count).tolist()


def neighbour_figure(
    neighbours: Mapping[str, Tensor], query: int, queries: Manifest, gallery: Manifest, thumbnail: Thumbnail
) -> Figure:
    """A test video (row of `queries`) and its neighbours: view -> rows of the gallery (k,), nearest first."""
    found = {view_label(view, neighbours): gallery.table.iloc[rows.tolist()] for view, rows in neighbours.items()}
    return examples_figure(queries.table.iloc[query], found, thumbnail)
