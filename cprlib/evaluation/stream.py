"""The windows of a video, decoded once from start to end; only one window is in memory."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import tee, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from torch import Tensor

from cprlib.data.container import ToRGB, VideoError, open_video, unreadable
from cprlib.data.flow import flow_frames, quantise
from cprlib.data.sampling import clip_indices
from cprlib.data.video import resize, resize_to, resized_size


class Window(NamedTuple):
    """A part of a video: times of its first and last frame in seconds, and source view -> uint8 (T, H, W, C)."""

    start: float
    end: float
    clips: dict[str, Tensor]


def timed_frames(path: str | Path) -> Iterator[tuple[float, np.ndarray]]:
    """All frames of a video in order: seconds since the first one, uint8 (H, W, 3) RGB.

    Raises:
        FileNotFoundError: no such file.
        VideoError: it cannot be decoded, or its frames change their size.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no video at {path}; correct the path")
    first, size, to_rgb = None, None, ToRGB()
    try:
        with open_video(path) as (container, stream):
            rate = float(stream.guessed_rate or 25)
            for number, picture in enumerate(container.decode(stream)):
                seconds = number / rate if picture.time is None else picture.time
                first = seconds if first is None else first
                frame = to_rgb(picture)
                size = size or frame.shape
                if frame.shape != size:
                    raise VideoError(path, "frame size changes")
                yield seconds - first, frame
    except av.FFmpegError as error:
        raise VideoError(path, f"cannot be read ({unreadable(path).reason})") from error
    if first is None:
        raise VideoError(path, "no frame can be read")


def stream_windows(
    frames: Iterable[tuple[float, np.ndarray]],
    sources: Sequence[str],
    clip_len: int,
    stride: int,
    short_side: int | None = None,
    flow: Mapping[str, Any] | None = None,
    overlap: float = 0.5,
) -> Iterator[Window]:
    """The windows of :func:`cprlib.data.sampling.window_starts`, each as soon as its last frame is decoded.

    Args:
        frames: in order, from :func:`timed_frames`.
        sources: "rgb", "flow" or both.
        clip_len, stride: T, and step between frames.
        short_side: of the clips, in pixels; None: no resizing.
        flow: method, bound and short_side, see :func:`cprlib.data.flow.extract_flow`; needed for "flow". Flow is
            quantised but not compressed, so nothing is written.
        overlap: share of a window that the next one repeats, in [0, 1).

    Raises:
        ValueError: flow of a single frame.
    """
    span, step = (clip_len - 1) * stride + 1, max(1, int(clip_len * stride * (1 - overlap)))
    kept, count, done = deque(maxlen=span), 0, -1
    for count, item in enumerate(_pictures(frames, sources, short_side, flow or {}), 1):
        kept.append(item)
        if count >= span and (count - span) % step == 0:
            done = count - span
            yield _window(list(kept)[::stride], kept[0][0], kept[-1][0])
    if count and done != max(0, count - span):  # the last window ends with the video; a short video is padded in front
        chosen = clip_indices(len(kept), 0, clip_len, stride)
        yield _window([kept[i] for i in chosen], kept[0][0], kept[-1][0])


def _window(items: list[tuple[float, dict]], start: float, end: float) -> Window:
    clips = {source: np.stack([pictures[source] for _, pictures in items]) for source in items[0][1]}
    return Window(start, end, {source: torch.from_numpy(clip) for source, clip in clips.items()})


def _pictures(frames, sources, short_side, flow) -> Iterator[tuple[float, dict[str, np.ndarray]]]:
    """Seconds, and source -> (H, W, C) uint8 of each frame; the last frame repeats the flow of the one before."""
    shown, seen = tee(frames)
    flows = flow_frames((frame for _, frame in seen), flow["method"], flow["short_side"]) if "flow" in sources else ()
    level = None
    for (seconds, frame), new in zip_longest(shown, flows):
        pictures = {"rgb": resize(frame[None], short_side)[0]} if "rgb" in sources else {}
        if "flow" in sources:
            level = level if new is None else quantise(new, flow["bound"]).transpose(1, 2, 0)
            if level is None:
                raise ValueError("a video of a single frame has no flow; give one of two frames or more")
            pictures["flow"] = resize_to(level[None], *resized_size(*frame.shape[:2], short_side))[0]
        yield seconds, pictures
