"""The memory on a plane as HTML; a clip plays when it is pointed at or focused by the tab key."""

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from hashlib import sha1
from typing import Any

import numpy as np
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
    listed = names if by == "class" and list_fits(names) else ()
    rows = zip(places, groups, memory.video_id.tolist(), memory.label.tolist(), strict=True)
    marks = [_point(key, place, group, names[label], v, previews.get(v, "")) for place, group, v, label in rows]
    return (
        f'<div style="overflow-x:auto"><svg class="{key}" viewBox="0 0 {WIDTH} {HEIGHT}" role="group" '
        f'xmlns="http://www.w3.org/2000/svg" aria-label="{html.escape(title)}: {len(points)} clips on a plane" '
        f'style="display:block;width:100%;min-width:560px;max-width:{WIDTH}px;font:13px sans-serif">'
        f"{_style(key)}{_frame(title)}{_names(key, listed)}{''.join(marks)}</svg></div>"
    )


def _style(key: str) -> str:
    """Outlines of the marks, and the rules that show a preview; the mouse goes before the focus."""
    marks = "".join(f'<path id="{key}{number}" d="{_outline(marker)}"/>' for number, marker in enumerate(MARKERS))
    return (
        f"<style>.{key} .more{{display:none;pointer-events:none}}.{key} .at{{cursor:pointer;outline:none}}"
        f".{key} .at:hover .more,.{key} .at:focus .more{{display:inline}}"
        f".{key}:has(.at:hover) .at:focus:not(:hover) .more{{display:none}}"
        f".{key} use{{stroke:#fff;stroke-width:.6}}</style><defs>{marks}</defs>"
    )


@cache
def _outline(marker: str, size: float = 11) -> str:
    """The marker that matplotlib draws, as the path of an SVG."""
    style, size = MarkerStyle(marker), size * SCALE.get(marker, 1)
    path = style.get_path().transformed(style.get_transform().scale(size, -size))  # y points down
    segments = [(LETTERS[code], "" if code == Outline.CLOSEPOLY else v) for v, code in path.iter_segments()]
    return "".join(letter + " ".join(f"{number:.1f}" for number in v) for letter, v in segments)


def _frame(title: str) -> str:
    """The white card, the plot's frame, and the place where a clip will be seen."""
    text, title = 'text-anchor="middle" fill="#555"', html.escape(title)
    return (
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#fff"/>'
        f'<rect x="{EDGE}" y="{TOP}" width="{PLOT}" height="{PLOT}" fill="none" stroke="#bbb"/>'
        f'<text x="{EDGE + PLOT / 2}" y="26" text-anchor="middle" fill="#111" font-size="15">{title}</text>'
        f'<text x="{EDGE + PLOT / 2}" y="{TOP + PLOT + 18}" {text}>Component 1</text>'
        f'<text transform="translate(12 {TOP + PLOT / 2}) rotate(-90)" {text}>Component 2</text>'
        f'<rect x="{LEFT}" y="{TOP}" width="{SIDE}" height="{CLIP}" fill="#f4f4f4"/>'
        f'<text x="{LEFT + SIDE / 2}" y="{TOP + CLIP / 2}" {text}>Point at a clip to see it,</text>'
        f'<text x="{LEFT + SIDE / 2}" y="{TOP + CLIP / 2 + 18}" {text}>or go there by the tab key</text>'
    )


def _names(key: str, names: Sequence[str]) -> str:
    """The look of every class, in one column of 12 or two."""
    size = 13 if len(names) <= 12 else 11
    parts = []
    for group, name in enumerate(names):
        colour, marker = look_of(group)
        x, y = LEFT + 8 + SIDE / 2 * (group // 12), TOP + CLIP + 48 + 18 * (group % 12)
        parts.append(f'<use href="#{key}{MARKERS.index(marker)}" x="{x}" y="{y}" fill="{colour}"/>')
        parts.append(f'<text x="{x + 12}" y="{y + 4}" fill="#111" font-size="{size}">{html.escape(name)}</text>')
    return "".join(parts)


def _point(key: str, place: np.ndarray, group: int, name: str, video_id: int, preview: str) -> str:
    """A row of the memory: its mark, its name for those who cannot see it, and what is shown on demand."""
    (x, y), (colour, marker), name = place, look_of(group), html.escape(name)
    image = f'<image href="{preview}" x="{LEFT}" y="{TOP}" width="{SIDE}" height="{CLIP}"/>' if preview else ""
    return (
        f'<g class="at" tabindex="0" role="img"><title>{name}, video {video_id}</title>'
        f'<use href="#{key}{MARKERS.index(marker)}" x="{x:.1f}" y="{y:.1f}" fill="{colour}"/><g class="more">'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="10" fill="none" stroke="#000" stroke-width="2"/>'
        f'<rect x="{LEFT}" y="{TOP}" width="{SIDE}" height="{CLIP}" fill="#f4f4f4"/>{image}'
        f'<text x="{LEFT}" y="{TOP + CLIP + 20}" fill="#111" font-weight="bold">{name}'
        f'<tspan font-weight="normal" fill="#555">, video {video_id}</tspan></text></g></g>'
    )
