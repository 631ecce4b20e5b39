"""Thumbnails in a row: fast to draw, so that an explorer can follow a slider."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.path import Path

from cprlib.data.flow_file import dequantise
from cprlib.data.manifest import Manifest
from cprlib.report.figures.style import RC, WIDTH, WRONG, flow_colour, new_figure, show_image
from cprlib.report.names import view_label

GAP = 0.06  # between thumbnails, in their widths
SMALLEST, LARGEST = 6.5, 9.0  # size of captions, points
LETTER = 0.6  # width of a letter, in its size
TICK = Path([(-1, 0), (-0.3, -0.8), (1, 0.9)])
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


def draw_strip(
    axes: Axes,
    images: Sequence[np.ndarray],
    correct: Sequence[bool],
    captions: Sequence[str] = (),
    slots: int | None = None,
    shape: tuple[int, ...] | None = None,
) -> None:
    """Draw thumbnails in a row; wrong ones get a red frame and a cross that shows in grey.

    Args:
        axes: already placed; in data coordinates a thumbnail is one wide.
        images: uint8 (H, W, 3) each.
        correct: for each image whether it is right.
        captions: text under each image; left out where it does not fit.
        slots: how many thumbnails there is room for; None = as many as there are.
        shape: (H, W, 3) that the images are fitted into; None = that of the first.
    """
    slots = slots or max(1, len(images))
    shape = shape or images[0].shape
    height = shape[0] / shape[1]
    lefts = [i * (1 + GAP) for i in range(len(images))]
    for left, image in zip(lefts, images, strict=True):
        axes.imshow(fitted(image, shape), extent=(left, left + 1, height, 0))
    wrong = [left for left, right in zip(lefts, correct, strict=True) if not right]
    for left in wrong:
        axes.add_patch(Rectangle((left, 0), 1, height, fill=False, edgecolor=WRONG, linewidth=3, clip_on=False))
    draw_marks(axes, False, [left + 0.88 for left in wrong], [0.14 * height] * len(wrong), 12)
    axes.set(xlim=(-0.02, slots * (1 + GAP)), ylim=(height, 0), anchor="NW")
    axes.axis("off")
    room = axes.get_position().size * axes.figure.get_size_inches()
    texts, size = fit_captions(captions, min(room[0] / (slots * (1 + GAP) + 0.02), room[1] / height))
    for left, text in zip(lefts, texts, strict=False):
        axes.text(left + 0.5, height + 0.03, text, ha="center", va="top", fontsize=size, linespacing=1.0)


def draw_marks(axes: Axes, right: bool, x: Sequence[float], y: Sequence[float], size: float) -> None:
    """Mark places by ticks (right) or crosses (wrong) on white discs; `size` in points."""
    colour, line = ("black", 0.14) if right else (WRONG, 0.18)
    look = {"linestyle": "", "clip_on": False, "markeredgecolor": colour}
    shape = {"marker": TICK, "markersize": 0.6 * size} if right else {"marker": "x", "markersize": 0.54 * size}
    axes.plot(x, y, gid="disc", marker="o", markersize=size, color="white", **look)
    axes.plot(x, y, gid="right" if right else "wrong", fillstyle="none", markeredgewidth=line * size, **shape, **look)


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
    scale = min(shape[0] / image.shape[0], shape[1] / image.shape[1])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    canvas = np.full(shape, 255, np.uint8)
    canvas[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return canvas


@rc_context(RC)
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
    height, width = next(iter(clip.values())).shape[1:3]
    cell = WIDTH / (len(shown) + 0.3)
    figure = new_figure(WIDTH, len(clip) * (cell * height / width + 0.04) + 0.25)
    grid = figure.subplots(len(clip), len(shown), squeeze=False)
    for row, (view, frames) in enumerate(clip.items()):
        grid[row, 0].set_ylabel(view_label(view))
        for axes, index in zip(grid[row], shown, strict=True):
            show_image(axes, frames[index], "" if row else f"frame {index}")
    return figure
