"""Thumbnails side by side in one axes: quick to draw, so that an explorer can follow a slider."""

import re
from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.path import Path

from cprlib.report.figures.style import WRONG

GAP = 0.06  # between thumbnails, in their widths
SMALLEST, LARGEST = 6.5, 9.0  # size of captions, points
LETTER = 0.6  # width of a letter, in its size
TICK = Path([(-1, 0), (-0.3, -0.8), (1, 0.9)])


def draw_strip(
    axes: Axes,
    images: Sequence[np.ndarray],
    correct: Sequence[bool],
    captions: Sequence[str] = (),
    slots: int | None = None,
    shape: tuple[int, ...] | None = None,
) -> None:
    """Draw thumbnails side by side; wrong ones get a red frame and a cross that shows in grey.

    Args:
        axes: to draw in, placed already; in data coordinates a thumbnail is one wide.
        images: uint8 (H, W, 3) each.
        correct: for each image whether it is right.
        captions: text under each image; left out where it does not fit.
        slots: thumbnails that there is room for; None = as many as there are.
        shape: (H, W, 3) that images of another shape are fitted into; None = that of the first.
    """
    slots = slots or max(1, len(images))
    shape = shape or (images[0].shape if len(images) else (3, 4, 3))
    height = shape[0] / shape[1]
    lefts = [i * (1 + GAP) for i in range(len(images))]
    for left, image in zip(lefts, images, strict=True):
        axes.imshow(fitted(image, shape), extent=(left, left + 1, height, 0))
    wrong = [left for left, right in zip(lefts, correct, strict=True) if not right]
    for left in wrong:
        axes.add_patch(Rectangle((left, 0), 1, height, fill=False, edgecolor=WRONG, linewidth=3, clip_on=False))
    mark_crosses(axes, [left + 0.88 for left in wrong], [0.14 * height] * len(wrong))
    axes.set(xlim=(-0.02, slots * (1 + GAP)), ylim=(height, 0), anchor="NW")
    axes.axis("off")
    room = axes.get_position().size * axes.figure.get_size_inches()
    inches = min(room[0] / (slots * (1 + GAP) + 0.02), room[1] / height)
    texts, size = fit_captions(captions, inches)
    for left, text in zip(lefts, texts, strict=False):
        axes.text(left + 0.5, height + 0.03, text, ha="center", va="top", fontsize=size, linespacing=1.0)


def mark_crosses(axes: Axes, x: Sequence[float], y: Sequence[float], size: float = 12) -> list[Line2D]:
    """Mark places as wrong: crosses on white discs; `size` in points."""
    look = {"linestyle": "", "clip_on": False}
    disc = {"marker": "o", "markersize": size, "color": "white", "markeredgecolor": WRONG}
    cross = {"marker": "x", "markersize": 0.54 * size, "color": WRONG, "markeredgewidth": 0.18 * size}
    return [axes.plot(x, y, gid=gid, **mark, **look)[0] for gid, mark in (("disc", disc), ("wrong", cross))]


def mark_ticks(axes: Axes, x: Sequence[float], y: Sequence[float], size: float = 12) -> list[Line2D]:
    """Mark places as right: ticks on white discs; `size` in points."""
    look = {"linestyle": "", "clip_on": False, "color": "white", "markeredgecolor": "black"}
    disc = {"marker": "o", "markersize": size, "markeredgewidth": 0.8}
    tick = {"marker": TICK, "markersize": 0.6 * size, "markeredgewidth": 0.14 * size, "fillstyle": "none"}
    return [axes.plot(x, y, gid=gid, **mark, **look)[0] for gid, mark in (("disc", disc), ("right", tick))]


def fit_captions(captions: Sequence[str], inches: float) -> tuple[list[str], float]:
    """Captions that fit under images of a width, on one or two lines, all of one size; [] if they cannot.

    >>> fit_captions(["HandstandWalking"], 0.8)
    (['Handstand\\nWalking'], 9.0)
    """
    choices = (list(captions), [two_lines(text) for text in captions])
    texts, size = max(((texts, _size(texts, inches)) for texts in choices), key=lambda choice: choice[1])
    return (texts, size) if size >= SMALLEST else ([], SMALLEST)


def _size(texts: Sequence[str], inches: float) -> float:
    longest = max((len(line) for text in texts for line in text.split("\n")), default=0)
    return min(LARGEST, inches * 72 / (LETTER * max(1, longest)))


def two_lines(name: str) -> str:
    """A name broken where a word ends, as near to its middle as can be.

    >>> two_lines("slide_ball_on_waves"), two_lines("Diving")
    ('slide_ball\\n_on_waves', 'Diving')
    """
    ends = [match.start() for match in re.finditer(r"(?<=.)(?=[A-Z_ ])", name)]
    if not ends:
        return name
    middle = min(ends, key=lambda end: abs(end - len(name) / 2))
    return f"{name[:middle]}\n{name[middle:].lstrip()}"


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
