"""Reading and writing video files.

The reference is decoding with PyAV from the first frame on. `probe` compares it with reading single frames through
`cprlib.data.seeking` and records in the manifest which reader a video needs; both convert pictures with the same
function, so training, cache and flow see the same pixels. decord is optional: see docs/readers.md.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from cprlib.data.container import ToRGB, VideoError, decode, encode, in_places, is_upright, open_video
from cprlib.data.files import fingerprint, remembered
from cprlib.data.probing import VideoInfo, probe
from cprlib.data.seeking import frame_index, pictures_at

__all__ = ["VideoError", "VideoInfo", "decode", "fingerprint", "probe", "read_clip", "resize", "write_video"]
READERS = ("auto", "seek", "pyav", "decord")


def read_clip(
    path: str | Path,
    frame_indices: Sequence[int],
    short_side: int | None = None,
    reader: str = "auto",
) -> torch.Tensor:
    """Read some frames of a video.

    Args:
        path: video file.
        frame_indices: T frame numbers from 0 on, in any order, repeats allowed.
        short_side: resize to this height or width, whichever is the smaller, in pixels.
        reader: "seek" (from the nearest key frame on; `probe` says where that is right), "pyav" (from the start on:
            slow, never wrong), "auto" ("seek" in containers that store when each frame is shown, else "pyav"), or
            "decord" ("auto" where decord is not installed, cannot read the file or would give other pixels).

    Returns:
        (T, H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError: no such file.
        IndexError: a frame number outside the video.
        VideoError: the file cannot be decoded.
    """
    if reader not in READERS:
        raise ValueError(f"reader is {reader!r}; expected one of {', '.join(READERS)}")
    if len(frame_indices) == 0:
        raise ValueError(f"{path}: no frame requested")
    if not Path(path).is_file():
        raise FileNotFoundError(f"no video at {path}; restore it or make the manifest again")
    # each frame is decoded once, in order
    indices, places = np.unique(np.asarray(frame_indices, dtype=np.int64), return_inverse=True)
    try:
        frames = _read_decord(path, indices.tolist()) if reader == "decord" and _decord() and _suits(path) else None
        if frames is None:
            frames = _read(path, indices.tolist(), reader)
        clip = in_places((resize(frame[None], short_side)[0] for frame in frames), places)
    except av.FFmpegError as error:
        raise VideoError(path, f"cannot be read ({error}); make the manifest again") from error
    if clip is None:
        _check_range(path, indices, _count(path))
        raise VideoError(path, "cannot be read (frames are missing); make the manifest again")
    return torch.from_numpy(clip)


def write_video(
    path: str | Path,
    frames: torch.Tensor,
    fps: float = 25.0,
    crf: int = 18,
    gop: int = 12,
    about: dict | None = None,
) -> None:
    """Write an H.264 mp4 without B-frames, atomically.

    Args:
        path: file to write.
        frames: (T, H, W, 3) uint8 RGB; odd sizes are padded by repeating the edge.
        fps: frames per second.
        crf: x264's quality, 0 lossless to 51 worst.
        gop: distance of key frames: reading from the middle decodes at most this many extra frames.
        about: recorded in the file's comment.
    """
    pixels = np.asarray(frames)
    if pixels.ndim != 4 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8 or not len(pixels):
        raise ValueError(f"{path}: frames are {pixels.dtype} {pixels.shape}; expected uint8 (T, H, W, 3)")
    odd = [(0, side % 2) for side in pixels.shape[1:3]]
    pixels = np.pad(pixels, [(0, 0), *odd, (0, 0)], "edge")
    pictures = (av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in pixels)
    encode(path, pictures, fps, crf, gop, {"cprlib": "rgb", **(about or {})})


def resized_size(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """(height, width) after resizing to `short_side`; unchanged for None."""
    scale = 1 if short_side is None else short_side / min(height, width)
    return round(height * scale), round(width * scale)


def resize(frames: np.ndarray, short_side: int | None) -> np.ndarray:
    """Resize (T, H, W, C) uint8 frames to a short side in pixels."""
    return resize_to(frames, *resized_size(*frames.shape[1:3], short_side))


def resize_to(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize (T, H, W, C) uint8 frames to a size in pixels."""
    if (height, width) == frames.shape[1:3]:
        return frames
    method = cv2.INTER_AREA if height < frames.shape[1] else cv2.INTER_LINEAR
    return np.stack([cv2.resize(f, (width, height), interpolation=method) for f in frames])


@cache
def _decord():
    """The decord module, imported in the process that reads, or None."""
    try:
        import decord
    except (ImportError, OSError):
        return None
    return decord


def _read_decord(path: str | Path, indices: list[int]) -> np.ndarray | None:
    """(T, H, W, 3) uint8; None if it fails. The reader is not kept: it survives neither pickle nor fork."""
    decord = _decord()
    try:
        video = decord.VideoReader(str(path), num_threads=1)
        _check_range(path, indices, len(video))
        return video.get_batch(indices).asnumpy()
    except (decord.DECORDError, RuntimeError):
        return None


@remembered
def _suits(path: str) -> bool:
    """Whether decord gives the same pixels: it differs for 10 bits and for turned pictures."""
    with open_video(path) as (container, stream):
        first = next(container.decode(stream), None)
    return first is not None and first.format.name == "yuv420p" and is_upright(first)


def _read(path: str | Path, indices: list[int], reader: str) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 each, of sorted, distinct frame numbers, as far as they exist."""
    index = None if reader == "pyav" else frame_index(path, any_container=reader == "seek")
    if index is not None or indices[0] < 0:
        _check_range(path, indices, _count(path) if index is None else len(index.stamps))
    return map(ToRGB(), pictures_at(path, indices, index))


def _count(path: str | Path) -> int:
    """Frames of a video, decoded one by one."""
    with open_video(path) as (container, stream):
        return sum(1 for _ in container.decode(stream))


def _check_range(path: str | Path, indices: list[int], num_frames: int) -> None:
    for index in (indices[0], indices[-1]):
        if not 0 <= index < num_frames:
            raise IndexError(f"{path}: frame {index} requested, but it has {num_frames} frames")
