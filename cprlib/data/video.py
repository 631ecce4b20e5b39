"""Reading and writing video files: decord where it is right, PyAV everywhere else.

PyAV decoding from the first frame on is the truth here. decord is several times faster for a clip
in the middle, but seeks to wrong frames in some files, so `probe` compares the two and the
manifest records which one reads a video.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import torch

from cprlib.data.container import VideoError, decode, encode, open_video, pictures_at, rgb

SEEK_CHECKS = 10  # frames that probe compares; a file that decord misreads fails most of them
FILE_HEADS = (b"RIFF", b"\x1aE\xdf\xa3")  # AVI; Matroska and WebM


class VideoInfo(NamedTuple):
    """What a manifest holds of a video: frames, size in pixels, frames per second, reader."""

    num_frames: int
    width: int
    height: int
    fps: float
    reader: str


def read_clip(
    path: str | Path,
    frame_indices: Sequence[int],
    short_side: int | None = None,
    reader: str = "decord",
) -> torch.Tensor:
    """Read some frames of a video.

    Args:
        path: video file.
        frame_indices: T frame numbers from 0 on, in any order, repeats allowed.
        short_side: resize to this height or width, whichever is the smaller, in pixels.
        reader: "decord" (PyAV is used where decord is not installed) or "pyav".

    Returns:
        (T, H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError: no such file.
        IndexError: a frame number outside the video.
        VideoError: the file cannot be decoded.
    """
    if reader not in ("decord", "pyav"):
        raise ValueError(f"reader is {reader!r}; expected 'decord' or 'pyav'")
    if len(frame_indices) == 0:
        raise ValueError(f"{path}: no frame asked for")
    if not Path(path).is_file():
        raise FileNotFoundError(f"no video at {path}; restore it or make the manifest again")
    # each frame is decoded once, in order
    indices, places = np.unique(np.asarray(frame_indices, dtype=np.int64), return_inverse=True)
    use_decord = reader == "decord" and _decord() is not None
    frames = (_read_decord if use_decord else _read_pyav)(path, indices.tolist())
    return torch.from_numpy(resize(frames, short_side)[places])


def write_video(path: str | Path, frames: torch.Tensor, fps: float = 25.0, crf: int = 18, gop: int = 12) -> None:
    """Write an H.264 mp4 without B-frames, atomically.

    Args:
        path: file to write.
        frames: (T, H, W, 3) uint8 RGB; odd sizes are padded by repeating the edge.
        fps: frames per second.
        crf: x264's quality, 0 lossless to 51 worst.
        gop: distance of key frames: reading from the middle decodes at most this many extra frames.
    """
    array = np.asarray(frames)
    if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8 or not len(array):
        raise ValueError(f"{path}: frames are {array.dtype} {array.shape}; expected uint8 (T, H, W, 3)")
    odd = [(0, side % 2) for side in array.shape[1:3]]
    array = np.pad(array, [(0, 0), *odd, (0, 0)], "edge")
    pictures = (av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in array)
    encode(path, pictures, fps, crf, gop, {"cprlib": "rgb"})


def probe(path: str | Path, min_frames: int = 2) -> VideoInfo:
    """Decode a whole video once and find out how it is read reliably.

    Args:
        path: video file.
        min_frames: fewer make the video too short.

    Returns:
        Counted, not declared, properties; `reader` is "decord" if it finds the same frames as a
        sequential decode, also after seeking back and forth.

    Raises:
        FileNotFoundError: no such file.
        VideoError: empty, truncated, no video stream, too short, or not a video.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no video at {path}")
    if path.stat().st_size == 0:
        raise VideoError(path, "empty")
    try:
        with open_video(path) as (container, stream):
            marks, (height, width) = _scan(path, container, stream)
            fps = float(stream.average_rate or stream.guessed_rate or 25)
    except av.FFmpegError as error:
        with path.open("rb") as file:
            head = file.read(8)
        known = head[4:] == b"ftyp" or head[:4] in FILE_HEADS
        raise VideoError(path, "truncated" if known else "not a video") from error
    if len(marks) < min_frames:
        raise VideoError(path, f"too short ({len(marks)} frames)")
    reader = "decord" if _decord_agrees(path, np.stack(marks), (height, width)) else "pyav"
    return VideoInfo(len(marks), width, height, fps, reader)


def fingerprint(path: str | Path) -> str:
    """Hash of a file's size, first and last 64 KiB: tells whether a video is still the same."""
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        head = file.read(65536)
        file.seek(max(0, size - 65536))
        return hashlib.sha1(b"%d" % size + head + file.read()).hexdigest()


def resized_size(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """(height, width) after resizing to `short_side`; unchanged for None."""
    scale = 1 if short_side is None else short_side / min(height, width)
    return round(height * scale), round(width * scale)


def resize(frames: np.ndarray, short_side: int | None) -> np.ndarray:
    """Resize (T, H, W, C) uint8 frames to a short side in pixels."""
    height, width = resized_size(*frames.shape[1:3], short_side)
    if (height, width) == frames.shape[1:3]:
        return frames
    method = cv2.INTER_AREA if height < frames.shape[1] else cv2.INTER_LINEAR
    return np.stack([cv2.resize(f, (width, height), interpolation=method) for f in frames])


@cache
def _decord():
    """The decord module, imported by the process that reads, or None."""
    try:
        import decord
    except (ImportError, OSError):
        return None
    return decord


def _read_decord(path: str | Path, indices: list[int]) -> np.ndarray:
    """(T, H, W, 3) uint8; the reader lives only here: it survives neither pickle nor fork."""
    decord = _decord()
    try:
        video = decord.VideoReader(str(path), num_threads=1)
        _check_range(path, indices, len(video))
        return video.get_batch(indices).asnumpy()
    except (decord.DECORDError, RuntimeError) as error:
        text = str(error).strip().splitlines()[-1]
        raise VideoError(path, f"cannot be read ({text}); make the manifest again") from error


def _read_pyav(path: str | Path, indices: list[int]) -> np.ndarray:
    """(T, H, W, 3) uint8 of sorted, distinct frame numbers."""
    try:
        with open_video(path) as (container, stream):
            frames = [rgb(picture) for picture in pictures_at(container, stream, indices)]
    except av.FFmpegError as error:
        raise VideoError(path, f"cannot be read ({error}); make the manifest again") from error
    if indices[0] < 0 or len(frames) < len(indices):
        _check_range(path, indices, sum(1 for _ in decode(path)))
    return np.stack(frames)


def _check_range(path: str | Path, indices: list[int], num_frames: int) -> None:
    for index in (indices[0], indices[-1]):
        if not 0 <= index < num_frames:
            raise IndexError(f"{path}: frame {index} asked for, it has {num_frames} frames")


def _scan(path: Path, container, stream) -> tuple[list[np.ndarray], tuple[int, int]]:
    """Decode everything: about 24 x 24 pixels of each frame to know it by, and the frame size."""
    marks, size, complete = [], None, True
    try:
        for packet in container.demux(stream):
            complete &= not packet.is_corrupt
            for picture in packet.decode():
                frame = rgb(picture)
                size = size or frame.shape[:2]
                if frame.shape[:2] != size:
                    raise VideoError(path, "frame size changes")
                marks.append(frame[:: max(1, size[0] // 24), :: max(1, size[1] // 24)].copy())
    except av.FFmpegError:
        complete = False
    if not complete or len(marks) + 1 < 0.95 * _declared_frames(container, stream):
        raise VideoError(path, f"truncated ({len(marks)} frames readable)")
    return marks, size or (0, 0)


def _declared_frames(container, stream) -> float:
    """Frames that the header promises, 0 if it does not say; counts are often wrong, times not."""
    rate = stream.average_rate or 0
    if stream.duration is not None:
        return float(stream.duration * stream.time_base * rate)
    alone = len(container.streams) == 1 and container.duration is not None
    return float(container.duration / av.time_base * rate) if alone else 0.0


def _decord_agrees(path: Path, marks: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether decord finds the frames known by `marks` when it seeks back and forth."""
    if _decord() is None:
        return False
    order = np.random.default_rng(0).permutation(len(marks))[:SEEK_CHECKS].tolist()
    try:
        video = _decord().VideoReader(str(path), num_threads=1)
        frames = video.get_batch([*order, len(marks) - 1]).asnumpy()
    except (_decord().DECORDError, RuntimeError):
        return False
    if len(video) != len(marks) or frames.shape[1:3] != size:
        return False
    found = frames[:, :: max(1, size[0] // 24), :: max(1, size[1] // 24)].astype(np.int16)
    for index, frame in zip([*order, len(marks) - 1], found, strict=True):
        distance = np.abs(marks - frame).mean((1, 2, 3))
        if distance[index] > distance.min() + 0.25:  # still scenes repeat frames; that is fine
            return False
    return True
