"""The memory on a plane, the same at every epoch; a clip plays when it is pointed at or focused by the tab key."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from hashlib import sha1
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path as Outline

from cprlib.report.figures.flow_view import data_uri, looping_bytes
from cprlib.training.snapshots import Memory

# Okabe and Ito without yellow, which is lost on white. 7 and 12 have no common factor: 84 different looks.
COLOURS = ("#e69f00", "#0072b2", "#009e73", "#d55e00", "#56b4e9", "#000000", "#cc79a7")
MARKERS = ("o", "s", "^", "X", "D", "v", "P", "*", "<", "p", ">", "h")
SCALE = {"*": 1.5, "D": 0.85}  # marks that would look smaller or larger than the others
PLOT, SIDE, EDGE, TOP = 420, 256, 20, 40  # pixels: the plot, what is beside it, the space around, above
WIDTH, HEIGHT = PLOT + SIDE + 3 * EDGE, PLOT + TOP + 2 * EDGE
LEFT, CLIP = PLOT + 2 * EDGE, 160  # of what is beside the plot; height of a preview
LETTERS = {Outline.MOVETO: "M", Outline.LINETO: "L", Outline.CURVE3: "Q", Outline.CURVE4: "C", Outline.CLOSEPOLY: "Z"}


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


def clip_previews(
    video_ids: Iterable[int], clip: Callable[[int], Mapping[str, Any]], height: int = 48, fps: float = 8
) -> dict[int, str]:
    """Small moving pictures of videos for `embedding_html`: made once, used at every epoch.

    Args:
        video_ids: of all rows that will be shown; repeats are left out.
        clip: video_id -> views, as `looping_bytes` takes them; 6 frames are enough.
        height: in pixels.
        fps: frames per second.

    Returns:
        video_id -> address that holds the picture, about 4 kB for 6 frames.
    """
    return {v: data_uri(looping_bytes(clip(v), fps, height, 30)) for v in dict.fromkeys(map(int, video_ids))}


def embedding_html(
    points: np.ndarray,
    memory: Memory,
    names: Sequence[str],
    previews: Mapping[int, str] = MappingProxyType({}),
    by: str = "class",
    title: str = "",
    limits: tuple[float, float] | None = None,
) -> str:
    """The rows of a memory as one inline SVG, without scripts and without anything to fetch.

    Meant for some hundred points; of a larger memory pass a part of the rows.

    Args:
        points: float (K, 2), one epoch of `project`.
        memory: of the same epoch.
        names: class names, indexed by label; listed beside the points where there is room.
        previews: video_id -> picture, see `clip_previews`; a video without one shows its name alone.
        by: what colour and marker stand for, "class" or "source" (without a list).
        title: e.g. "CPR, RGB network, epoch 3".
        limits: lowest and highest coordinate shown, see `Projection`; None: as the points need.

    Raises:
        ValueError: `by` is neither, or points and memory are of different epochs.
    """
    groups, (low, high) = groups_of(points, memory, by), limits or limits_of([points])
    key = "e" + sha1(f"{points.tobytes()}{title}{by}".encode()).hexdigest()[:10]  # its ids and classes are its own
    places = (points - low) / (high - low) * (PLOT, -PLOT) + (EDGE, TOP + PLOT)
    looks = [(look_of(group)[0], MARKERS.index(look_of(group)[1])) for group in range(max([*groups, len(names)]) + 1)]
    videos = zip(memory.video_id.tolist(), memory.label.tolist(), strict=True)
    rows = [
        (f"{x:.1f}", f"{y:.1f}", *looks[group], names[label], video, previews.get(video, ""))
        for (x, y), group, (video, label) in zip(places, groups, videos, strict=True)
    ]
    template = Environment(loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined)
    sizes = {"plot": PLOT, "side": SIDE, "edge": EDGE, "top": TOP, "left": LEFT, "clip": CLIP}
    sizes |= {"width": WIDTH, "height": HEIGHT, "outlines": [_outline(marker) for marker in MARKERS]}
    sizes |= {"hint": "Point at a clip to see it," if previews else "Point at a clip to see its name,"}
    listed = names if by == "class" and list_fits(names) else ()
    return template.get_template("embedding.html").render(
        key=key, title=title, names=listed, looks=looks, rows=rows, **sizes
    )


@cache
def _outline(marker: str, size: float = 11) -> str:
    """The marker that matplotlib draws, as the path of an SVG."""
    style, size = MarkerStyle(marker), size * SCALE.get(marker, 1)
    path = style.get_path().transformed(style.get_transform().scale(size, -size))  # y points down
    segments = [(LETTERS[code], "" if code == Outline.CLOSEPOLY else v) for v, code in path.iter_segments()]
    return "".join(letter + " ".join(f"{number:.1f}" for number in v) for letter, v in segments)
