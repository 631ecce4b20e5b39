"""Flow as arrows on a frame, as colours with their wheel, and beside RGB in a small animation."""

import html
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from cprlib.data.flow import dequantise, estimate, flow_info
from cprlib.data.frames import open_frames
from cprlib.data.manifest import Manifest
from cprlib.report.figures.style import data_uri, flow_colour, new_figure, show_image, styled
from cprlib.report.names import view_label

LMDB_BOUND = 20.0  # of the flow that CoCLR published
RIM = {"right\nu > 0": (1, 0, "left", "center"), "left\nu < 0": (-1, 0, "right", "center")}
RIM |= {"down\nv > 0": (0, 1, "center", "top"), "up\nv < 0": (0, -1, "center", "bottom")}
# thin, so that a short arrow still shows its direction
ARROWS = {"facecolor": "white", "edgecolor": "black", "linewidth": 0.7, "minshaft": 2, "width": 0.03, "units": "inches"}
ARROWS |= {"headwidth": 3, "headlength": 3.6, "headaxislength": 3.2, "angles": "xy", "scale_units": "xy", "scale": 1}


class Look(NamedTuple):
    """Some frames of a video and their flow.

    Attributes:
        row: the row of the manifest.
        frames: (T, H, W, 3) uint8.
        flow: (T, 2, H, W) float32, in pixels of `frames` per frame; u to the right, v downwards.
    """

    row: Any
    frames: torch.Tensor
    flow: torch.Tensor

    @property
    def fastest(self) -> int:
        """The frame with the largest mean speed."""
        return int(self.flow.norm(dim=1).mean((1, 2)).argmax())


def find_video(manifest: Manifest, video: int | str) -> Any:
    """The row of a video, given by its video_id, path, file name or a unique part of the name; "" is the first.

    Raises:
        ValueError: no video fits, or several do; names some videos.
    """
    table, text = manifest.table, str(video)
    if not text:
        table = table.head(1)
    whole = ("/" + table.path).str.endswith("/" + text) | (table.path.map(lambda path: Path(path).stem) == text)
    part = table.path.map(lambda path: Path(path).name).str.contains(text, case=False, regex=False)
    tests = (table.video_id.astype(str) == text, whole, part)
    found = next((table[test] for test in tests if test.sum() == 1), table[part])
    if len(found) != 1:
        close = table.head(4) if found.empty else found.head(4)
        some = ", ".join(f"{row.video_id} ({'/'.join(Path(row.path).parts[-2:])})" for row in close.itertuples())
        fits = f"is in the names of {len(found)} of the {len(table)} videos"
        raise ValueError(f"video {text!r} {fits}; give a video_id or more of the name, e.g. {some}")
    return next(found.itertuples(index=False))


def look(manifest: Manifest, video: int | str = "", flow_method: str = "dis", count: int = 24, short_side=128) -> Look:
    """Read at most `count` frames from the middle of a video with their flow, stored or estimated.

    Args:
        video: see `find_video`.
        flow_method: "tvl1" or "dis", for a video without stored flow.
        short_side: pixels that larger frames are shrunk to.
    """
    row = find_video(manifest, video)
    size = min(row.height, row.width)
    stored = ("flow",) if row.flow_path else ()
    one = Manifest(manifest.table[manifest.table.video_id == row.video_id], manifest.table)
    source = open_frames(one, ("rgb", *stored), min(short_side, size))
    last = row.num_frames - 1  # the last frame has no flow
    start = max(0, (last - count) // 2)
    shown = range(start, min(start + count, last))
    if not stored:
        frames = source.frames(row.video_id, "rgb", range(start, shown.stop + 1))
        return Look(row, frames[:-1], estimate(frames, flow_method))
    info = None if row.reader == "lmdb" else flow_info(row.flow_path)
    bound, unit = (info.bound, info.short_side or size) if info else (LMDB_BOUND, size)
    levels = source.frames(row.video_id, "flow", shown).numpy()
    flow = dequantise(levels, bound * min(short_side, size) / unit).transpose(0, 3, 1, 2)  # shrunk like the frames
    return Look(row, source.frames(row.video_id, "rgb", shown), torch.from_numpy(flow.copy()))


@styled
def flow_arrows(frame: Any, flow: Any) -> Figure:
    """A frame with arrows for its motion, its flow in colour, and the wheel that explains the colours.

    Args:
        frame: uint8 (H, W, 3).
        flow: float (2, H, W), pixels per frame; u to the right, v downwards.
    """
    frame, flow = np.asarray(frame), np.asarray(flow, dtype=np.float32)
    height, width = frame.shape[:2]
    panel = min(3.15, 4 * width / height)  # inches
    figure = new_figure(2 * panel + 1.6, panel * height / width + 0.5)
    left, middle, right = figure.subplots(1, 3, width_ratios=[panel, panel, 1.5])
    step = max(1, round(max(height, width) / 14))  # pixels between two arrows
    speed = np.hypot(*flow)
    usual = float(np.quantile(speed, 0.98))  # not the maximum: a few wrong pixels would make all arrows tiny
    times = float(f"{1.4 * step / usual:.2g}") if usual else 1
    show_image(left, frame, f"RGB; arrows {times:g} × the motion of one frame")
    y, x = np.mgrid[step // 2 : height : step, step // 2 : width : step]
    u, v = flow[:, y, x] * times
    moves = np.hypot(u, v) > 0.25 * step
    left.quiver(x[moves], y[moves], u[moves], v[moves], **ARROWS)
    show_image(middle, flow_colour(flow), "Flow")
    _draw_wheel(right, f"rim: {speed.max():.1f} pixels\nper frame")
    return figure


def looping_bytes(
    clip: Mapping[str, Any], fps: float = 12, height: int = 128, quality: int = 60, still: bool = False
) -> bytes:
    """A clip as an animated WebP in an endless loop, its views side by side; about 40 kB for 24 frames of two views.

    Args:
        clip: view -> uint8 (T, H, W, 3), or for "flow" float (T, 2, H, W) in pixels per frame; all of one H and W.
        height: of the picture, in pixels.
        quality: of WebP, 0..100.
        still: only the middle frame.
    """
    length = min(map(len, clip.values()))
    shown = slice(length // 2, length // 2 + 1) if still else slice(length)
    views = [(_colours(frames) if view == "flow" else np.asarray(frames))[shown] for view, frames in clip.items()]
    line = np.full_like(views[0][:, :, :4], 255)  # white, between views
    rows = np.concatenate([part for view in views for part in (line, view)][1:], axis=2)
    first, *rest = [Image.fromarray(row).resize((round(row.shape[1] * height / row.shape[0]), height)) for row in rows]
    file = io.BytesIO()
    first.save(file, "WEBP", quality=quality, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)
    return file.getvalue()


def looping_clip(clip: Mapping[str, Any], height: int = 128, name: str = "") -> str:
    """An animated clip as HTML, see `looping_bytes`; a still picture for readers who prefer reduced motion."""
    title, seen = html.escape(name), " beside ".join(map(view_label, clip))
    moving, still = (data_uri(looping_bytes(clip, height=height, still=still)) for still in (False, True))
    return (
        f'<figure style="margin:0"><picture><source media="(prefers-reduced-motion: reduce)" srcset="{still}">'
        f'<img src="{moving}" alt="{title}, moving in a loop: {seen}" style="max-width:100%"></picture>'
        f"<figcaption>{title}: {seen}</figcaption></figure>"
    )


def _colours(flow: Any) -> np.ndarray:
    """Colours of a clip of flow (T, 2, H, W); speeds are capped at the 99.5 % quantile, as outliers pale the rest."""
    flow = np.asarray(flow, dtype=np.float32)
    speed = np.hypot(flow[:, :1], flow[:, 1:])
    limit = np.quantile(speed, 0.995) or speed.max() or 1
    return flow_colour(flow * (limit / np.maximum(speed, limit)))


def _draw_wheel(axes: Axes, note: str) -> None:
    v, u = np.mgrid[-1:1:129j, -1:1:129j]
    inside = np.hypot(u, v) <= 1
    colours = flow_colour(np.stack([u, v]) * inside)
    axes.imshow(np.dstack([colours, 255 * inside.astype(np.uint8)]), extent=(-1, 1, 1, -1))  # y points down
    for words, (x, y, ha, va) in RIM.items():
        axes.text(1.1 * x, 1.1 * y, words, ha=ha, va=va, fontsize=8.5, linespacing=1.1)
    axes.text(0, 2.0, note, ha="center", va="top", fontsize=8.5)
    axes.set(xlim=(-2.1, 2.1), ylim=(2.6, -1.8), aspect="equal")
    axes.axis("off")
