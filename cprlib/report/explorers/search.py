"""Search in a notebook: the videos most like one, in every view and in all together, as figure or moving clips."""

import base64
import html
import os
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cprlib.data.manifest import Manifest
from cprlib.data.video import resize
from cprlib.evaluation.stream import timed_frames
from cprlib.methods import ALL_VIEWS
from cprlib.report.explorers.widgets import Explorer, explorer
from cprlib.report.figures.examples import examples_figure
from cprlib.report.names import view_label, view_order
from cprlib.search.index import Index
from cprlib.search.page import HEIGHT, moving
from cprlib.search.query import search

ANY = "any"
STRIP = "display:grid; grid-template-columns:repeat(auto-fill, minmax(9em, 1fr)); gap:.6em; margin:.3em 0 1em"


def known_videos(manifest: str | Path, index: Index) -> pd.DataFrame:
    """Class and recording of every indexed video, index path; "" where the manifest does not know it."""
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
        index, video, at: what is asked.
        top: how many videos in each.
        known: from :func:`known_videos`; adds the columns class_name and source_id.
        class_name: only videos of this class.
        others: no video of the own recording.
    """
    views = sorted(index.parts, key=view_order)
    found = {}
    for view in [*views, ALL_VIEWS] if len(views) > 1 else views:
        rows = search(index, video, top if known is None else len(index), at, view=None if view == ALL_VIEWS else view)
        if known is not None:
            rows = rows.join(known, on="path")
            own = known.source_id.get(str(Path(video).resolve()), "")
            rows = rows[(class_name == ANY) | (rows.class_name == class_name)]
            rows = rows[~(others & (rows.source_id == own))]
        found[view] = rows.head(top)
    return found


def search_figure(index: Index, video: str | Path, found: Mapping[str, pd.DataFrame], class_name: str = "") -> Figure:
    """A video and what was found for it, a row for each view; another class is marked where classes are known.

    Args:
        index: that was asked.
        video: that was asked with.
        found: from :func:`neighbours`.
        class_name: of the video; "": not known, so nothing is marked.
    """
    pictures = {str(video): (str(video), 0.0, None)}
    rows = {}
    for view, table in found.items():
        pictures |= {f"{row.path} {row.start}": (row.path, row.start, row.end) for row in table.itertuples()}
        names = table.get("class_name", pd.Series("", table.index))
        keys = [f"{row.path} {row.start}" for row in table.itertuples()]
        shown = names.where(names != "", table.path.map(lambda path: Path(path).stem))
        label = names if class_name else ""
        rows[view_label(view, found)] = pd.DataFrame({"video_id": keys, "label": label, "class_name": shown})
    asked = pd.Series({"video_id": str(video), "label": class_name, "class_name": class_name or Path(video).stem})
    return examples_figure(asked, rows, lambda key: _still(*pictures[key]))


def search_explorer(index: Index, known: pd.DataFrame | None = None) -> Explorer:
    """Choose a video of the index, or drop a file, and see its neighbours in every view as small looping clips.

    Args:
        index: what is searched.
        known: from :func:`known_videos`: to narrow by class and to leave out the own recording.
    """
    names = {os.path.relpath(path, index.root): path for path in sorted(index.videos.path)}
    folder = Path(tempfile.mkdtemp(prefix="cprlib-search-"))

    def draw(video: str, file: tuple, by_moment: bool, second: float, top: int, **narrow: object) -> str:
        if file:  # dropped: in place of the chosen one
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
    if known is not None:
        classes = sorted(set(known.class_name) - {""})
        controls["class_name"] = widgets.Dropdown(options=[ANY, *classes], description="class")
        controls["others"] = widgets.Checkbox(False, description="other recordings")
    return explorer(draw, **controls)


def _clips(video: str, found: Mapping[str, pd.DataFrame]) -> str:
    """The asked and the found clips as HTML, a strip for each view."""
    parts = [f"<b>Asked for: {html.escape(Path(video).name)}</b>", f'<div style="{STRIP}">{_clip(video)}</div>']
    for view, rows in found.items():
        items = [
            _clip(row.path, row.start, row.end)
            + f"<small>{html.escape(Path(row.path).name)}<br>{row.similarity:.2f} at {row.start:.1f} s</small></div>"
            for row in rows.itertuples()
        ]
        items = [f'<div style="line-height:1.25; overflow-wrap:anywhere">{item}' for item in items]
        parts.append(f'<b>{view_label(view, found)}</b><div style="{STRIP}">{"".join(items) or "none"}</div>')
    return "".join(parts)


@lru_cache(512)
def _clip(video: str, start: float = 0.0, end: float | None = None) -> str:
    name = html.escape(Path(video).name)
    try:
        data = base64.b64encode(moving(video, start, end)).decode()
    except (OSError, ValueError):
        return f"<p>No picture: {name} cannot be read any more.</p>"
    return f'<img style="width:100%" alt="{name}" src="data:image/webp;base64,{data}">'


@lru_cache(512)
def _still(video: str, start: float, end: float | None) -> np.ndarray:
    """The middle frame of a part of a video, uint8 (H, W, 3); white where the file cannot be read any more."""
    try:
        frames = [frame for s, frame in timed_frames(video) if s >= start - 1e-3 and (end is None or s <= end + 1e-3)]
    except (OSError, ValueError):
        return np.full((HEIGHT, HEIGHT, 3), 255, np.uint8)
    middle = frames[len(frames) // 2]
    return resize(middle[None], min(HEIGHT, *middle.shape[:2]))[0]
