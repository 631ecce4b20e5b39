"""The memory on a plane, the same plane at every epoch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cprlib.report.figures.style import RC, WIDTH, new_figure
from cprlib.training.snapshots import Memory

# Okabe and Ito without yellow, which is lost on white. 7 and 12 have no common factor: 84 different looks.
COLOURS = ("#e69f00", "#0072b2", "#009e73", "#d55e00", "#56b4e9", "#000000", "#cc79a7")
MARKERS = ("o", "s", "^", "X", "D", "v", "P", "*", "<", "p", ">", "h")
SCALE = {"*": 1.5, "D": 0.85}  # marks that would look smaller or larger than the others


class Projection(NamedTuple):
    """Memories on the plane of the last one's two principal components.

    Attributes:
        points: epoch -> (K, 2) float64, a row for each row of the memory.
        share: of the last epoch's variance that the plane shows, in [0, 1].
        limits: lowest and highest coordinate of all epochs, with a margin; the same for both axes.
    """

    points: dict[int, np.ndarray]
    share: float
    limits: tuple[float, float]


def project(memories: Mapping[int, Memory], view: str) -> Projection:
    """Project the features of a view by PCA of the last epoch, so that the axes stay the same over all epochs.

    Args:
        memories: epoch -> memory of one network.
        view: one of the memories' views.

    Raises:
        ValueError: no memory, no such view, or too few rows or dimensions for a plane.
    """
    if not memories:
        raise ValueError("no memory to project; train a network first (notebook 02, 03 or 04)")
    last = memories[max(memories)].features
    if view not in last:
        raise ValueError(f"view is {view!r}; the memory holds {', '.join(last)}")
    features = last[view].double()
    if min(features.shape) < 2:
        raise ValueError(f"{view} features are {tuple(features.shape)}; a plane needs two rows and two dimensions")
    mean = features.mean(0)
    _, spread, axes = torch.linalg.svd(features - mean, full_matrices=False)
    largest = axes[:2].gather(1, axes[:2].abs().argmax(1, keepdim=True))
    plane = axes[:2] * largest.sign()  # SVD leaves the signs open: here the largest weight of an axis is positive
    points = {epoch: ((m.features[view].double() - mean) @ plane.T).numpy() for epoch, m in memories.items()}
    share = (spread[:2] ** 2).sum() / (spread**2).sum().clamp(min=1e-30)
    return Projection(points, float(share), limits_of(points.values()))


def look_of(group: int) -> tuple[str, str]:
    """Colour and marker of a class or source."""
    return COLOURS[group % len(COLOURS)], MARKERS[group % len(MARKERS)]


@rc_context(RC)
def embedding_figure(
    points: np.ndarray, memory: Memory, names: Sequence[str], by: str = "class", title: str = ""
) -> Figure:
    """The rows of a memory as points.

    Args:
        points: float (K, 2), one epoch of `project`.
        memory: of the same epoch.
        names: class names, indexed by label; listed beside the points where there is room.
        by: what colour and marker stand for, "class" or "source" (without a list).
        title: e.g. "CPR, RGB network, epoch 3".

    Raises:
        ValueError: `by` is neither, or points and memory are of different epochs.
    """
    looks = [look_of(group) for group in groups_of(points, memory, by)]
    figure = new_figure(WIDTH, 4.7)
    plot, beside = figure.subplots(1, 2, width_ratios=[1.5, 1])
    beside.axis("off")
    for mark in dict.fromkeys(marker for _, marker in looks):  # one call for each marker, however many classes
        rows = [row for row, (_, marker) in enumerate(looks) if marker == mark]
        size = 38 * SCALE.get(mark, 1) ** 2
        colours = [looks[row][0] for row in rows]
        plot.scatter(*points[rows].T, s=size, c=colours, marker=mark, edgecolors="white", linewidths=0.5)
    limits = limits_of([points])
    plot.set(xlim=limits, ylim=limits, aspect="equal", xlabel="Component 1", ylabel="Component 2", title=title)
    if by == "class" and list_fits(names):
        _draw_names(beside, names)
    return figure


def groups_of(points: np.ndarray, memory: Memory, by: str) -> list[int]:
    """What decides colour and marker of each row."""
    if by not in ("class", "source"):
        raise ValueError(f"by is {by!r}; expected 'class' or 'source'")
    groups = (memory.label if by == "class" else memory.source_id).tolist()
    if len(points) != len(groups):
        raise ValueError(f"{len(points)} points of a memory of {len(groups)} rows; take both of one epoch")
    return groups


def limits_of(arrays: Iterable[np.ndarray]) -> tuple[float, float]:
    """Lowest and highest coordinate, with a margin."""
    values = np.concatenate([np.ravel(array) for array in arrays])
    margin = 0.05 * np.ptp(values) or 1.0
    return float(values.min() - margin), float(values.max() + margin)


def list_fits(names: Sequence[str]) -> bool:
    """Whether there is room for a list: one column of 12, or two if the names are short."""
    return len(names) <= 12 or (len(names) <= 24 and max(map(len, names)) <= 18)


def _draw_names(axes: Axes, names: Sequence[str]) -> None:
    """Colour and marker of every class."""
    looks = [look_of(label) for label in range(len(names))]
    handles = [Line2D([], [], color=c, marker=m, linestyle="", markersize=7, label="?") for c, m in looks]
    columns = 1 if len(names) <= 12 else 2
    where = {"loc": "lower left", "bbox_to_anchor": (-0.08, -0.02), "labelspacing": 0.4, "handletextpad": 0.2}
    legend = axes.legend(handles=handles, ncols=columns, fontsize=9.5 if columns == 1 else 8, **where)
    for text, name in zip(legend.get_texts(), names, strict=True):  # a label "_a" would be left out of the legend
        text.set_text(name)
