"""The flow file: flow stored as small as the video itself, read back by frame number.

Flow is clipped to ±bound and scaled to the levels 0..255, as in the paper. u is stacked above v in
the brightness plane of an H.264 file; colour stays empty, so nothing is lost to colour conversion.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import torch

from cprlib.data.container import (
    VideoError,
    brightness,
    encode,
    grey_picture,
    in_places,
    open_video,
    stored_numbers,
)
from cprlib.data.files import remembered
from cprlib.data.seeking import frame_index, pictures_at

CRF = 26  # TV-L1 and DIS files come out about as large as a compact RGB video
GOP = 12  # key frames close enough for reading clips from the middle


class FlowInfo(NamedTuple):
    """How a flow file was made: method, bound in pixels per frame, size, frames, which video, in what unit.

    Flow is in pixels of a picture with this `short_side`; 0: in the video's own pixels.
    """

    method: str
    bound: float
    width: int
    height: int
    num_frames: int
    source: str
    short_side: int = 0


def quantise(flow: np.ndarray, bound: float) -> np.ndarray:
    """Pixels per frame → uint8 levels, clipped: round((f + bound) / (2 bound) 255)."""
    scaled = (np.asarray(flow, dtype=np.float32) + bound) * (255 / (2 * bound))
    return np.rint(scaled.clip(0, 255)).astype(np.uint8)


def dequantise(levels: np.ndarray, bound: float) -> np.ndarray:
    """uint8 levels → pixels per frame, float32: at most bound / 255 away from what was quantised."""
    return np.asarray(levels, dtype=np.float32) * np.float32(2 * bound / 255) - np.float32(bound)


def write_flow(
    path: str | Path,
    flow: Iterable,
    method: str,
    bound: float = 20.0,
    fps: float = 25.0,
    source: str = "",
    short_side: int = 0,
) -> None:
    """Write flow as an H.264 mp4, atomically.

    Args:
        path: file to write.
        flow: (T-1, 2, H, W) float in pixels per frame, or an iterable of (2, H, W).
        method: how it was estimated; recorded.
        bound: larger displacements are clipped, in pixels per frame; recorded.
        fps: frames per second of the video.
        source: `fingerprint` of the video; recorded.
        short_side: `flow` is in pixels of pictures with this short side, 0 = the video's own; recorded.

    Raises:
        ValueError: no flow frame, or a bound that is not positive.
    """
    if not 0 < bound < float("inf"):
        raise ValueError(f"bound is {bound}; expected a positive number of pixels per frame")
    frames = iter(flow)
    first = next(frames, None)
    if first is None:
        raise ValueError(f"{path}: no flow frame to write; a video needs at least two frames")
    height, width = first.shape[1:]
    about = dict(
        method=method, bound=bound, width=width, height=height, source=source, short_side=short_side, version=2
    )
    pictures = (grey_picture(_plane(quantise(f, bound))) for f in chain([first], frames))
    encode(path, pictures, fps, CRF, GOP, {"cprlib": "flow", **about}, full_range=True)


def read_flow_levels(path: str | Path, frame_indices: Sequence[int]) -> torch.Tensor:
    """Read some frames of a flow file as levels.

    Args:
        path: file made by `write_flow`.
        frame_indices: T frame numbers of the video, in any order, repeats allowed; its last frame
            has no flow of its own and gets that of the frame before.

    Returns:
        (T, H, W, 2) uint8: levels of u and v, not pixels.

    Raises:
        FileNotFoundError, IndexError, VideoError: as for `read_clip`.
    """
    info = flow_info(path)
    numbers = stored_numbers(path, frame_indices, info.num_frames, "flow")
    indices, places = np.unique(numbers, return_inverse=True)
    pictures = pictures_at(path, indices.tolist(), frame_index(path))
    levels = in_places((_levels(brightness(picture), info) for picture in pictures), places)
    if levels is None:
        raise VideoError(path, "flow frames are missing; delete the file and extract flow again")
    return torch.from_numpy(levels)


def read_flow(path: str | Path, frame_indices: Sequence[int]) -> torch.Tensor:
    """As `read_flow_levels`, but (T, 2, H, W) float32 in pixels per frame."""
    levels = read_flow_levels(path, frame_indices).numpy()
    return torch.from_numpy(dequantise(levels, flow_info(path).bound)).permute(0, 3, 1, 2)


def flow_info(path: str | Path) -> FlowInfo:
    """What a flow file records about itself.

    Raises:
        FileNotFoundError: no such file.
        VideoError: not a file of `write_flow`.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no flow at {path}; run notebook 01_flow_extraction again")
    return _flow_info(path)


@remembered
def _flow_info(path: str) -> FlowInfo:
    try:
        with open_video(path) as (container, stream):
            about = json.loads(container.metadata.get("comment", "{}"))
            if not isinstance(about, dict) or about.get("cprlib") != "flow":
                raise VideoError(path, "not a flow file; delete it and extract flow again")
            known = {name: about[name] for name in FlowInfo._fields if name in about}
            return FlowInfo(**{**known, "num_frames": stream.frames})
    except (av.FFmpegError, json.JSONDecodeError, TypeError) as error:
        raise VideoError(path, "not a flow file; delete it and extract flow again") from error


def _padded(height: int, width: int) -> tuple[int, int]:
    """Stored size of u and of v: whole macroblocks high, so that no block mixes the two."""
    return -(-height // 16) * 16, -(-width // 2) * 2


def _plane(levels: np.ndarray) -> np.ndarray:
    """(2, H, W) uint8 → u stacked above v, padded by repeating the edges."""
    height, width = levels.shape[1:]
    rows, columns = _padded(height, width)
    edges = [(0, 0), (0, rows - height), (0, columns - width)]
    return np.pad(levels, edges, "edge").reshape(2 * rows, columns)


def _levels(plane: np.ndarray, info: FlowInfo) -> np.ndarray:
    """The stored plane → (H, W, 2) uint8."""
    rows, columns = _padded(info.height, info.width)
    u, v = plane[: 2 * rows, :columns].reshape(2, rows, columns)[:, : info.height, : info.width]
    return cv2.merge([u, v])  # u and v side by side in memory, as later code needs them
