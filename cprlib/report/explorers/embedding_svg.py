"""The memory on a plane as HTML; a clip plays when it is pointed at or focused by the tab key."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from hashlib import sha1
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path as Outline

from cprlib.report.figures.embedding import MARKERS, SCALE, groups_of, limits_of, list_fits, look_of
from cprlib.report.figures.flow_view import data_uri, looping_bytes
from cprlib.training.snapshots import Memory

PLOT, SIDE, EDGE, TOP = 420, 256, 20, 40  # pixels: the plot, what stands beside it, the space around, above
WIDTH, HEIGHT = PLOT + SIDE + 3 * EDGE, PLOT + TOP + 2 * EDGE
LEFT, CLIP = PLOT + 2 * EDGE, 160  # where stands what is beside the plot; height of a preview
LETTERS = {Outline.MOVETO: "M", Outline.LINETO: "L", Outline.CURVE3: "Q", Outline.CURVE4: "C", Outline.CLOSEPOLY: "Z"}


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
    previews: Mapping[int, str],
    by: str = "class",
    title: str = "",
    limits: tuple[float, float] | None = None,
) -> str:
    """The rows of a memory as one inline SVG, without scripts and without anything to fetch.

    Meant for some hundred points; of a larger memory pass a part of the rows.

    Args:
        points, memory, names, by, title: see `embedding_figure`.
        limits: lowest and highest coordinate shown, see `Projection`; None: as the points need.
        previews: video_id -> picture, see `clip_previews`; a video without one shows its name alone.

    Raises:
        ValueError: see `embedding_figure`.
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
