"""Rows of thumbnails: what was mined for a query, which videos retrieval found, the frames of a clip.

They are fast to draw, so that an explorer can follow a slider."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageOps
from torch import Tensor

from cprlib.data.flow_file import dequantise
from cprlib.data.manifest import Manifest
from cprlib.report.figures.style import RC, WIDTH, WRONG, flow_colour, new_figure
from cprlib.report.names import method_look, view_label

GAP = 0.06  # between thumbnails, in their widths
LARGEST_CELL, FOOT = 1.25, 0.36  # inches: a thumbnail, the room for its caption
SMALLEST, LARGEST = 6.5, 9.0  # size of captions, points
LETTER = 0.6  # width of a letter, in its size
LEAST = 0.05  # of the flow's bound: slower than this is drawn pale


def thumbnails(manifest: Manifest, frames: Any, view: str = "rgb") -> Callable[[int], np.ndarray]:
    """The middle frame of each video, of flow in colours: video_id -> uint8 (H, W, 3); the last 1024 are kept."""
    middles = dict(zip(manifest.table.video_id.tolist(), (manifest.table.num_frames // 2).tolist(), strict=True))

    @lru_cache(maxsize=1024)
    def middle_frame(video_id: int) -> np.ndarray:
        if video_id not in middles:
            raise ValueError(f"video_id {video_id} is not in the manifest; give the one that the run was trained on")
        frame = torch.as_tensor(frames.frames(video_id, view, [middles[video_id]])).numpy()[0]
        return flow_colour(dequantise(frame, 1.0).transpose(2, 0, 1), LEAST) if view == "flow" else frame

    return lambda video_id: middle_frame(int(video_id))  # a NumPy number would be kept beside the int


class Strip(NamedTuple):
    """A row of thumbnails.

    Attributes:
        name: text left of it.
        images: uint8 (H, W, 3) each, None leaves a place free.
        correct: for each image whether it is right; wrong ones get a red frame and a cross that shows in grey.
        captions: text under each image; left out where it does not fit.
    """

    name: str
    images: Sequence[np.ndarray | None]
    correct: Sequence[bool]
    captions: Sequence[str] = ()


@rc_context(RC)
def strips_figure(strips: Sequence[Strip], shape: tuple[int, ...], above: float = 0.0) -> Figure:
    """Rows of thumbnails, all fitted into a shape (H, W, 3); `above`: inches that are left free on top."""
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
    """The thumbnails of a strip, one wide each, with their marks and captions; a cell is so many inches wide."""
    height = shape[0] / shape[1]
    lefts = [i * (1 + GAP) for i in range(len(strip.images))]
    wrong = []
    for left, image, right in zip(lefts, strip.images, strip.correct, strict=True):
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
    """Captions of thumbnails that are so wide, in one line or two, with their font size; none if they do not fit.

    >>> fit_captions(["HandstandWalking"], 0.7)
    (['Handstand\\nWalking'], 9.0)
    """

    def size(texts: Sequence[str]) -> float:
        longest = max((len(line) for text in texts for line in text.split("\n")), default=0)
        return min(LARGEST, inches * 72 / (LETTER * max(1, longest)))

    best = max(list(captions), [_two_lines(text) for text in captions], key=size)
    return (best, size(best)) if size(best) >= SMALLEST else ([], SMALLEST)


def _two_lines(name: str) -> str:
    """A name broken where a word ends, as near to its middle as can be."""
    ends = [match.start() for match in re.finditer(r"(?<=.)(?=[A-Z_ ])", name)]
    middle = min(ends, key=lambda end: abs(end - len(name) / 2), default=None)
    return name if middle is None else f"{name[:middle]}\n{name[middle:].lstrip()}"


def fitted(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A uint8 image of another shape made to fit, with white around it."""
    if image.shape == tuple(shape):
        return image
    return np.asarray(ImageOps.pad(Image.fromarray(image), (shape[1], shape[0]), Image.Resampling.BOX, "white"))


def clip_strip(clip: Mapping[str, Any], count: int = 8) -> Figure:
    """Frames of a clip, evenly spaced, a row for each view, with their numbers.

    Args:
        clip: view -> uint8 (T, H, W, C) as a frame source gives them, flow as levels; or for "flow" float (T, 2, H, W)
            in pixels per frame.
        count: frames shown, at most.
    """
    clip = {view: torch.as_tensor(frames).numpy() for view, frames in clip.items()}
    flow = clip.get("flow")
    if flow is not None:  # colours show relative speed, so levels may have any bound
        flow = dequantise(flow, 1.0).transpose(0, 3, 1, 2) if flow.dtype == np.uint8 else flow
        clip["flow"] = flow_colour(flow)
    length = min(map(len, clip.values()))
    shown = np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(int))
    captions = [f"frame {index}" for index in shown]
    strips = [
        Strip(view_label(view), list(frames[shown]), [True] * len(shown), captions) for view, frames in clip.items()
    ]
    return strips_figure(strips, strips[0].images[0].shape)


def examples_figure(query: Any, found: Mapping[str, pd.DataFrame], thumbnail: Callable[[int], np.ndarray]) -> Figure:
    """A query and what was found for it, a row for each way to find; videos of another class are marked.

    Args:
        query: a row of a manifest: video_id, label, class_name.
        found: name of the row -> rows of a manifest, best first.
        thumbnail: video_id -> uint8 (H, W, 3), see :func:`thumbnails`.
    """
    strips = []
    for name, rows in ({"Query": pd.DataFrame([query])} | found).items():
        images = [thumbnail(video) for video in rows.video_id]
        strips.append(Strip(name.replace(" in ", "\nin "), images, rows.label == query.label, list(rows.class_name)))
    return strips_figure(strips, strips[0].images[0].shape)


def mined_figure(
    logs: Mapping[str, pd.DataFrame], manifest: Manifest, thumbnail: Callable[[int], np.ndarray], query: int
) -> Figure:
    """What each method (-> mining log of one network) mined for one query, a video_id, in its last epoch."""
    videos = manifest.table.set_index("video_id", drop=False)
    if not manifest.is_labelled:
        videos = videos.assign(class_name=[Path(path).stem for path in videos.path])
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
