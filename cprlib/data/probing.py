"""Look through a video once: is it whole, what is in it, and how can it be read?"""

import struct
from array import array
from itertools import chain
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import av
import numpy as np

from cprlib.data.container import ToRGB, VideoError, open_video, unreadable
from cprlib.data.seeking import FrameIndex, IndexMaker, pictures_at

SEEK_CHECKS = 8  # frames read singly as a test, each behind another key frame
MARK = 24  # a frame is recognised by about so many pixels in height and in width
DECLARING = {"matroska", "webm", "avi", "flv"}  # containers whose header says how long they are
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # this block holds the file's size, …


class VideoInfo(NamedTuple):
    """What a manifest records of a video: frames, size in pixels, frames per second, reader."""

    num_frames: int
    width: int
    height: int
    fps: float
    reader: str


def probe(path: str | Path, min_frames: int = 2) -> VideoInfo:
    """Decode a whole video once and find out which reader is reliable; 12 bytes of memory per frame.

    Args:
        path: video file.
        min_frames: a video with fewer is too short.

    Returns:
        Counted, not declared, properties of the upright picture; `fps` is the mean rate; `reader` is "seek" if frames
        read singly equal those of a sequential decode, else "pyav".

    Raises:
        FileNotFoundError: no such file.
        VideoError: empty, truncated, no video stream, too short, or not a video.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no video at {path}")
    try:
        with open_video(path) as (container, stream):
            found = _scan(path, container, stream)
            fps = _rate(stream, found.stamps)
    except av.FFmpegError as error:
        raise unreadable(path) from error
    if len(found.marks) < min_frames:
        raise VideoError(path, f"too short ({len(found.marks)} frames)")
    height, width = found.size
    return VideoInfo(len(found.marks), width, height, fps, "seek" if _seek_agrees(path, found) else "pyav")


class _Found(NamedTuple):
    """What a sequential decode found: a mark and a stamp for every frame, the size, and what the packets say."""

    marks: array
    stamps: array | None
    size: tuple[int, int]
    index: FrameIndex | None


def _scan(path: Path, container, stream) -> _Found:
    """Decode everything, one frame in memory at a time."""
    marks, stamps, known, size, complete, end = array("I"), array("q"), True, (0, 0), True, 0.0
    index, to_rgb = IndexMaker(), ToRGB()
    try:
        for packet in container.demux():
            end = max(end, _end(packet))
            if packet.stream_index != stream.index:
                continue
            complete &= not packet.is_corrupt
            index.add(packet)
            for picture in packet.decode():
                frame = to_rgb(picture)
                size = size if marks else frame.shape[:2]
                if frame.shape[:2] != size:
                    raise VideoError(path, "frame size changes")
                marks.append(_mark(frame))
                stamps.append(picture.pts or 0)
                known &= picture.pts is not None
    except av.FFmpegError:
        complete = False
    stamps = stamps if known else None
    if not complete or _ends_early(path, container, stream, stamps, end):
        raise VideoError(path, f"truncated ({len(marks)} frames readable)")
    return _Found(marks, stamps, size, index.made())


def _mark(frame: np.ndarray) -> int:
    """A checksum of about 24 x 24 pixels of a frame, to recognise it."""
    rows, columns = (max(1, side // MARK) for side in frame.shape[:2])
    return crc32(np.ascontiguousarray(frame[::rows, ::columns]))


def _end(packet: av.Packet) -> float:
    """When a packet's content ends, in seconds."""
    start = packet.dts if packet.pts is None else packet.pts
    return 0.0 if start is None else float((start + (packet.duration or 0)) * packet.time_base)


def _ends_early(path: Path, container, stream, stamps: array | None, end: float) -> bool:
    """Whether a file ends earlier than its header says: in bytes for mp4 and wmv, else in time, as rates may vary."""
    kinds, size = set(container.format.name.split(",")), path.stat().st_size
    entries = [s.index_entries for s in container.streams if getattr(s, "index_entries", None) is not None]
    if "mp4" in kinds and entries:
        return max((e.pos + e.size for e in chain.from_iterable(entries)), default=0) > size
    if "asf" in kinds:
        return _asf_size(path) > size
    if not kinds & (DECLARING | {"mp4"}):
        return False  # other lengths are guesses from the present file
    counts = (s.frames if "avi" in kinds else s.duration for s in container.streams)  # a cut AVI has a cut duration
    lengths = [float(count * s.time_base) for s, count in zip(container.streams, counts, strict=True) if count]
    length = max([*lengths, (container.duration or 0) / av.time_base])
    gap = float((stamps[-1] - stamps[-2]) * stream.time_base) if stamps and len(stamps) > 1 else 0.0
    return end + max(gap, 1 / float(stream.guessed_rate or 25)) < 0.95 * length


def _asf_size(path: Path) -> int:
    """How large a wmv file says it is; 0 for a broadcast, which could not know."""
    with path.open("rb") as file:
        head = file.read(2**16)
    place = head.find(ASF_PROPERTIES)
    if place < 0 or struct.unpack_from("<I", head, place + 88)[0] & 1:
        return 0
    return struct.unpack_from("<Q", head, place + 40)[0]


def _rate(stream, stamps: array | None) -> float:
    """Mean frames per second: the declared rate if it agrees with the stamps, else that of the stamps."""
    declared = float(stream.average_rate or stream.guessed_rate or 25)
    if not stamps or stamps[-1] <= stamps[0]:
        return declared
    seen = (len(stamps) - 1) / float((stamps[-1] - stamps[0]) * stream.time_base)
    return declared if abs(declared / seen - 1) < 0.02 else seen


def _seek_agrees(path: Path, found: _Found) -> bool:
    """Whether the packets give the stamps of all frames, and frames behind some key frames are read correctly."""
    index = found.index
    if index is None or found.stamps is None or not np.array_equal(index.stamps, found.stamps):
        return False
    draw = np.random.default_rng(0)
    starts = np.searchsorted(index.stamps, index.keys)
    numbers = starts[draw.permutation(len(starts))[:SEEK_CHECKS]]
    numbers = np.minimum(numbers + draw.integers(0, 12, len(numbers)), len(index.stamps) - 1)
    for number in [*numbers.tolist(), len(index.stamps) - 1]:
        if [_mark(frame) for frame in map(ToRGB(), pictures_at(path, [number], index))] != [found.marks[number]]:
            return False
    return True
