"""Results as a self-contained HTML page with moving clips of the query and of the videos found."""

import base64
import io
import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from cprlib.data.video import resize
from cprlib.evaluation.stream import timed_frames
from cprlib.search.index import Index
from cprlib.search.query import moment
from cprlib.store.files import atomic_path

FRAMES, HEIGHT, PAUSE = 8, 120, 150  # pictures per clip, their short side in pixels, milliseconds per picture


def moving(video: str | Path, start: float = 0.0, end: float | None = None) -> bytes:
    """A part of a video as a small looping WebP.

    Args:
        video: a file.
        start, end: in seconds; None: to its end.

    Returns:
        The bytes of the picture; a still if the part has a single frame.

    Raises:
        VideoError, FileNotFoundError: the video cannot be read.
    """
    kept, step = [], 1
    for number, (seconds, frame) in enumerate(timed_frames(video)):
        if end is not None and seconds > end + 1e-3:
            break
        if seconds >= start - 1e-3 and number % step == 0:
            kept.append(resize(frame[None], min(HEIGHT, *frame.shape[:2]))[0])
            if len(kept) == 2 * FRAMES:  # keep every second frame, as the length is not known before the end
                kept, step = kept[::2], 2 * step
    chosen = [kept[i] for i in np.linspace(0, len(kept) - 1, min(FRAMES, len(kept))).round().astype(int)]
    first, *rest = map(Image.fromarray, chosen)
    file = io.BytesIO()
    first.save(file, "WEBP", save_all=True, append_images=rest, duration=PAUSE, loop=0, quality=70)
    return file.getvalue()


def write_results(path: Path, index: Index, video: str | Path, found: pd.DataFrame, at: float | None = None) -> Path:
    """Write the page of one query.

    Args:
        path: of the page.
        index: that was searched.
        video: the query.
        found: the result of :func:`cprlib.search.query.search`.
        at: the moment of the query, in seconds.
    """
    asked = {
        "name": Path(video).name,
        "path": str(video),
        "part": "" if at is None else f"at {at:g} s",
        "clip": _clip(video),
    }
    if at is not None:
        seconds = index.vectors(video).seconds
        asked["clip"] = _clip(video, *seconds[moment(seconds, at, video)].tolist())
    results = [
        {
            "name": os.path.relpath(row.path, index.root),
            "cosine": f"{row.similarity:.3f}",
            "views": ", ".join(f"{view} {getattr(row, view):.2f}" for view in index.parts if hasattr(row, view)),
            "part": f"{row.start:.1f}–{row.end:.1f} s",
            "clip": _clip(row.path, row.start, row.end),
        }
        for row in found.itertuples(index=False)
    ]
    loader = PackageLoader("cprlib.search")
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = page.get_template("results.html").render(
        asked=asked, results=results, made=f"{datetime.now():%Y-%m-%d %H:%M}", count=len(index), root=str(index.root)
    )
    with atomic_path(path) as tmp:
        tmp.write_text(text, encoding="utf-8")
    return path


def _clip(video: str | Path, start: float = 0.0, end: float | None = None) -> str:
    """A moving picture as data URI; empty if the file is now missing or broken."""
    try:
        return f"data:image/webp;base64,{base64.b64encode(moving(video, start, end)).decode()}"
    except (OSError, ValueError):
        return ""
