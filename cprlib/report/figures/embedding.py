"""The memory projected on a plane, the same in every epoch; a clip plays when the mouse or the Tab key selects it."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import sha1
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path as Outline

from cprlib.report.figures.flow_view import looping_bytes
from cprlib.report.figures.style import data_uri
from cprlib.training.snapshots import Memory

# Okabe and Ito without yellow, which is hard to see on white. 7 and 12 have no common factor: 84 different looks.
COLOURS = ("#e69f00", "#0072b2", "#009e73", "#d55e00", "#56b4e9", "#000000", "#cc79a7")
MARKERS = ("o", "s", "^", "X", "D", "v", "P", "*", "<", "p", ">", "h")
SCALE = {"*": 1.5, "D": 0.85}  # markers that would look smaller or larger than the others
SIZES = {"plot": 420, "side": 256, "edge": 20, "top": 40, "clip": 160}  # pixels: the plot, beside it, around, above
SIZES |= {"width": 420 + 256 + 3 * 20, "height": 420 + 40 + 2 * 20, "left": 420 + 2 * 20}
LETTERS = {Outline.MOVETO: "M", Outline.LINETO: "L", Outline.CURVE3: "Q", Outline.CURVE4: "C", Outline.CLOSEPOLY: "Z"}


class Projection(NamedTuple):
    """Memories on the plane of the last one's two principal components.

    Attributes:
        points: epoch -> (K, 2) float64, in the order of the memory.
        share: part of the last epoch's variance that lies in the plane, in [0, 1].
        limits: lowest and highest coordinate of all epochs, with a margin, for both axes.
    """

    points: dict[int, np.ndarray]
    share: float
    limits: tuple[float, float]


def project(memories: Mapping[int, Memory], view: str) -> Projection:
    """Project the features of a view in all epochs by PCA of the last one.

    Raises:
        ValueError: no memory, or fewer than two rows or dimensions.
    """
    if not memories:
        raise ValueError("no memory to project; train a network first (notebook 02, 03 or 04)")
    features = memories[max(memories)].features[view].double()
    if min(features.shape) < 2:
        raise ValueError(f"{view} features are {tuple(features.shape)}; a plane needs two rows and two dimensions")
    mean = features.mean(0)
    _, spread, axes = torch.linalg.svd(features - mean, full_matrices=False)
    largest = axes[:2].gather(1, axes[:2].abs().argmax(1, keepdim=True))
    plane = axes[:2] * largest.sign()  # SVD does not fix the signs: make the largest weight of an axis positive
    points = {epoch: ((m.features[view].double() - mean) @ plane.T).numpy() for epoch, m in memories.items()}
    share = (spread[:2] ** 2).sum() / (spread**2).sum().clamp(min=1e-30)
    return Projection(points, float(share), _limits(points.values()))


def look_of(group: int) -> tuple[str, int]:
    """Colour and number of the marker of a class or source."""
    return COLOURS[group % len(COLOURS)], group % len(MARKERS)


def preview(clip: Mapping[str, Any]) -> str:
    """A clip (see `looping_bytes`) as data URI of a small animation: about 4 kB for 6 frames."""
    return data_uri(looping_bytes(clip, 8, 48, 30))


def embedding_html(
    points: np.ndarray,
    memory: Memory,
    names: Sequence[str],
    previews: Mapping[int, str] = MappingProxyType({}),
    by: str = "class",
    title: str = "",
    limits: tuple[float, float] | None = None,
) -> str:
    """The rows of a memory, a few hundred, as one inline SVG that needs no script and no network.

    Args:
        points: float (K, 2), one epoch of `project`.
        memory: of the same epoch.
        names: class names, indexed by label; listed beside the points if there is room.
        previews: video_id -> data URI, see `preview`; a video without one shows only its name.
        by: what colour and marker stand for, "class" or "source" (without a list).
        limits: lowest and highest coordinate shown, see `Projection`; None: those of the points.
    """
    groups, (low, high) = memory.label if by == "class" else memory.source_id, limits or _limits([points])
    looks = [look_of(group) for group in range(max(int(groups.max()) + 1, len(names)))]
    places = (points - low) / (high - low) * (1, -1) * SIZES["plot"] + (SIZES["edge"], SIZES["top"] + SIZES["plot"])
    columns = zip(places, groups.tolist(), memory.video_id.tolist(), memory.label.tolist(), strict=True)
    rows = [
        (f"{x:.1f}", f"{y:.1f}", *looks[group], names[label], video, previews.get(video, ""))
        for (x, y), group, video, label in columns
    ]
    room = len(names) <= 12 or (len(names) <= 24 and max(map(len, names)) <= 18)  # one column, or two
    templates = Environment(loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined)
    return templates.get_template("embedding.html").render(
        key="e" + sha1(f"{points.tobytes()}{title}{by}".encode()).hexdigest()[:10],  # ids unique in a page
        title=title,
        names=names if by == "class" and room else (),
        looks=looks,
        rows=rows,
        outlines=[_outline(marker) for marker in MARKERS],
        hint="Point at a clip to see it," if previews else "Point at a clip to see its name,",
        **SIZES,
    )


def _limits(arrays: Iterable[np.ndarray]) -> tuple[float, float]:
    """Lowest and highest coordinate, with a margin."""
    values = np.concatenate([np.ravel(array) for array in arrays])
    margin = 0.05 * np.ptp(values) or 1.0
    return float(values.min() - margin), float(values.max() + margin)


@cache
def _outline(marker: str) -> str:
    """A marker of matplotlib as SVG path."""
    style, size = MarkerStyle(marker), 11 * SCALE.get(marker, 1)
    path = style.get_path().transformed(style.get_transform().scale(size, -size))  # y points down
    segments = [(LETTERS[code], "" if code == Outline.CLOSEPOLY else v) for v, code in path.iter_segments()]
    return "".join(letter + " ".join(f"{number:.1f}" for number in v) for letter, v in segments)
