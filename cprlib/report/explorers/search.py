"""Search in a notebook: the videos most like one, in every view and in all together, as a figure or moving clips."""

import html
import io
import os
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from cprlib.data.manifest import Manifest
from cprlib.methods import ALL_VIEWS
from cprlib.report.explorers.widgets import Explorer, explorer
from cprlib.report.figures.strips import examples_figure
from cprlib.report.figures.style import data_uri
from cprlib.report.names import view_label, view_order
from cprlib.search.index import Index
from cprlib.search.page import HEIGHT, moving
from cprlib.search.query import search

ANY = "any"
STRIP = "display:grid; grid-template-columns:repeat(auto-fill, minmax(9em, 1fr)); gap:.6em; margin:.3em 0 1em"


def known_videos(manifest: str | Path, index: Index) -> pd.DataFrame:
    """Columns class_name and source_id by the path of every indexed video; "" for videos that the manifest lacks."""
    manifest = Manifest.read(manifest)
    table = manifest.table if manifest.is_labelled else manifest.table.assign(class_name="")
    known = table.set_index(table.path.map(os.path.realpath))[["class_name", "source_id"]]
    known = known[~known.index.duplicated()].reindex(index.videos.path.map(os.path.realpath)).fillna("")
    return known.set_axis(index.videos.path)


def neighbours(
    index: Index,
    video: str | Path,
    top: int = 5,
    at: float | None = None,
    known: pd.DataFrame | None = None,
    class_name: str = ANY,
    others: bool = False,
) -> dict[str, pd.DataFrame]:
    """View, and "both" for all together -> the results of :func:`cprlib.search.query.search`.

    Args:
        index, video, top, at: see there.
        known: from :func:`known_videos`; adds the columns class_name and source_id.
        class_name: only videos of this class.
        others: only videos of other recordings.
    """
    views, among = sorted(index.parts, key=view_order), None
    if known is not None and (class_name != ANY or others):
        own = known.source_id.get(str(Path(video).resolve()), "")
        among = ((class_name == ANY) | (known.class_name == class_name)) & ~(others & (known.source_id == own))
    found = {}
    for view in [*views, ALL_VIEWS] if len(views) > 1 else views:
        rows = search(index, video, top, at, view=None if view == ALL_VIEWS else view, among=among)
        found[view] = rows if known is None else rows.join(known, on="path")
    return found


def search_figure(video: str | Path, found: Mapping[str, pd.DataFrame], class_name: str = "") -> Figure:
    """A video and what was found for it, a row for each view.

    Args:
        video: the query.
        found: from :func:`neighbours`.
        class_name: of the query, to mark other classes; "" if not known.
    """
    rows = {}
    for view, table in found.items():
        names = table.get("class_name", pd.Series("", table.index))
        shown = names.where(names != "", table.path.map(lambda path: Path(path).stem))
        clips = list(zip(table.path, table.start, table.end, strict=True))
        cells = {"video_id": clips, "label": names if class_name else "", "class_name": shown}
        rows[view_label(view, found)] = pd.DataFrame(cells)
    asked = {"video_id": (str(video), 0.0, None), "label": class_name, "class_name": class_name or Path(video).stem}
    return examples_figure(pd.Series(asked), rows, lambda part: _still(*part))


def search_explorer(index: Index, known: pd.DataFrame | None = None) -> Explorer:
    """Choose a video of the index, or upload a file, and see its neighbours in every view as small looping clips.

    `known`, from :func:`known_videos`, adds controls to narrow by class and to leave out the video's own recording.
    """
    names = {os.path.relpath(path, index.root): path for path in sorted(index.videos.path)}
    folder = Path(tempfile.mkdtemp(prefix="cprlib-search-"))

    def draw(video: str, file: tuple, by_moment: bool, second: float, top: int, **narrow: object) -> str:
        if file:  # instead of the chosen video
            video = str(folder / Path(file[0]["name"]).name)
            Path(video).write_bytes(file[0]["content"])
        found = neighbours(index, video, top, second if by_moment else None, known, **narrow)
        return _clips(video, found)

    controls: dict[str, widgets.Widget] = {
        "video": widgets.Dropdown(options=names),
        "file": widgets.FileUpload(accept="video/*", description="or a file"),
        "by_moment": widgets.Checkbox(False, description="a moment of it"),
        "second": widgets.BoundedFloatText(0.0, min=0.0, max=1e6, step=1.0),
        "top": widgets.IntSlider(min(5, len(index)), 1, min(12, len(index))),
    }
    # a video that is chosen later replaces the file
    controls["video"].observe(lambda _: controls["file"].set_trait("value", ()), "value")
    if known is not None:
        classes = sorted(set(known.class_name) - {""})
        controls["class_name"] = widgets.Dropdown(options=[ANY, *classes], description="class")
        controls["others"] = widgets.Checkbox(False, description="other recordings")
    return explorer(draw, **controls)


def _clips(video: str, found: Mapping[str, pd.DataFrame]) -> str:
    parts = [f"<b>Query: {html.escape(Path(video).name)}</b>", f'<div style="{STRIP}">{_clip(video)}</div>']
    for view, rows in found.items():
        items = [
            _clip(row.path, row.start, row.end)
            + f"<small>{html.escape(Path(row.path).stem)}<br>{row.similarity:.2f} at {row.start:.1f} s</small></div>"
            for row in rows.itertuples()
        ]
        items = [f'<div style="line-height:1.25; overflow-wrap:anywhere">{item}' for item in items]
        parts.append(f'<b>{view_label(view, found)}</b><div style="{STRIP}">{"".join(items) or "none"}</div>')
    return "".join(parts)


@lru_cache(512)
def _moving(video: str, start: float, end: float | None) -> bytes:
    """A part of a video as a small looping WebP; empty if the file can no longer be read."""
    try:
        return moving(video, start, end)
    except (OSError, ValueError):
        return b""


def _clip(video: str, start: float = 0.0, end: float | None = None) -> str:
    name, data = html.escape(Path(video).name), _moving(video, start, end)
    if not data:
        return f"<p>No picture: {name} can no longer be read.</p>"
    return f'<img style="width:100%" alt="{name}" src="{data_uri(data)}">'


def _still(video: str, start: float, end: float | None) -> np.ndarray:
    """The middle frame of a part of a video, uint8 (H, W, 3)."""
    data = _moving(video, start, end)
    if not data:
        return np.full((HEIGHT, HEIGHT, 3), 255, np.uint8)
    picture = Image.open(io.BytesIO(data))
    picture.seek(picture.n_frames // 2)
    return np.asarray(picture.convert("RGB"))
