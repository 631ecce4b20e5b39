"""Frames by number, without decoding a video from its start: exact, or not at all.

One pass over a file's packets, without decoding, gives the stamp (time) of every frame and the key frames, where a
decoder may begin. To read a frame, seek to the last key frame before it and decode until its stamp comes. A file that
does not behave as its packets said is decoded from its start, which is slow and never wrong.
"""

from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from cprlib.data.container import open_video
from cprlib.data.files import file_stamp

STAMPED = {"mp4", "matroska", "webm", "flv"}  # containers that store when each frame is shown
REMEMBERED = 8_000_000  # frames whose stamps a process keeps, 8 bytes each
_kept: "OrderedDict[tuple, tuple[bool, FrameIndex | None]]" = OrderedDict()  # most recently used last
_frames = 0  # total in _kept


class FrameIndex(NamedTuple):
    """Stamps of all frames in the order in which they are shown, and of the key frames; (N,) and (K,) int64."""

    stamps: np.ndarray
    keys: np.ndarray


class Lost(Exception):
    """Seeking did not lead where the index says."""


def frame_index(path: str | Path, any_container: bool = True) -> FrameIndex | None:
    """The index of a file, from its packets alone.

    Args:
        path: video file.
        any_container: also for containers that do not store when a frame is shown, such as AVI: only if a comparison
            with a sequential decode has shown that the index is right.

    Returns:
        The index, or None if packets lack stamps or share them.
    """
    global _frames
    key = (str(path), *file_stamp(path))
    found = _kept.pop(key, None)
    if found is None:
        found = _index_of(path)
        _frames += _length(found)
    _kept[key] = found
    while _frames > REMEMBERED and len(_kept) > 1:
        _frames -= _length(_kept.popitem(last=False)[1])
    stores, index = found
    return index if stores or any_container else None


def _length(found: tuple[bool, FrameIndex | None]) -> int:
    return 100 + (0 if found[1] is None else len(found[1].stamps))


def _index_of(path: str | Path) -> tuple[bool, FrameIndex | None]:
    """Whether the container stores when frames are shown, and the index."""
    index = IndexMaker()
    with open_video(path) as (container, stream):
        stores = not STAMPED.isdisjoint(container.format.name.split(","))
        for packet in container.demux(stream):
            index.add(packet)
    return stores, index.made()


class IndexMaker:
    """Builds the index from the packets of a stream, one after the other."""

    def __init__(self):
        self.stamps, self.keys, self.known = array("q"), array("q"), True

    def add(self, packet: av.Packet) -> None:
        """Note a packet, except those that an edit list cuts off: they are decoded for others and never shown."""
        if not packet.size or packet.is_discard:
            return
        if packet.pts is None:
            self.known = False
            return
        self.stamps.append(packet.pts)
        if packet.is_keyframe:
            self.keys.append(packet.pts)

    def made(self) -> FrameIndex | None:
        """The index, or None if some packet has no stamp or that of another."""
        stamps, keys = (np.sort(np.frombuffer(a, np.int64)) if a else np.empty(0) for a in (self.stamps, self.keys))
        if not self.known or not len(keys) or (np.diff(stamps) == 0).any() or keys[0] > stamps[0]:
            return None
        return FrameIndex(stamps, keys)


def pictures_at(path: str | Path, indices: Sequence[int], index: FrameIndex | None) -> Iterator[av.VideoFrame]:
    """The frames with sorted, distinct numbers `indices`, as far as they exist.

    Args:
        path: video file.
        indices: frame numbers from 0 on.
        index: see `frame_index`; None: decode from the start.
    """
    done = 0
    if index is not None:
        known = [number for number in indices if number < len(index.stamps)]
        try:
            with open_video(path) as (container, stream):
                for picture in _seeking(container, stream, index, index.stamps[known].tolist()):
                    yield picture
                    done += 1
            return
        except Lost:
            pass
    wanted = set(indices[done:])
    with open_video(path) as (container, stream):
        for number, picture in enumerate(container.decode(stream)):
            if number in wanted:
                yield picture
            if number >= indices[-1]:
                return


def _seeking(container, stream, index: FrameIndex, stamps: list[int]) -> Iterator[av.VideoFrame]:
    """The pictures with these stamps, in order."""
    place, packets = -1, container.demux(stream)  # number of the last key frame passed
    pictures = _decoded(packets)
    for stamp in stamps:
        key = int(np.searchsorted(index.keys, stamp, "right")) - 1
        if key > max(place, 0):
            _read_out(container, stream, packets, index)
            packets, place = _from_key(container, stream, index.keys, key, stamp), key
            pictures = _decoded(packets)
        for picture in pictures:
            if picture.pts is None or picture.pts >= stamp:
                break
        else:
            raise Lost
        if picture.pts != stamp:
            raise Lost
        yield picture
    _read_out(container, stream, packets, index)


def _decoded(packets: Iterator[av.Packet]) -> Iterator[av.VideoFrame]:
    for packet in packets:
        yield from packet.decode()


def _read_out(container, stream, packets: Iterator[av.Packet], index: FrameIndex) -> None:
    """Read the packets to their end, from the last key frame on: left before their end, PyAV leaks memory."""
    with suppress(av.FFmpegError):
        container.seek(int(index.keys[-1]), stream=stream)
        for _ in packets:
            pass


def _from_key(container, stream, keys: np.ndarray, key: int, stamp: int) -> Iterator[av.Packet]:
    """The packets from a key frame on, or from one before it where the container leads no nearer."""
    for target in dict.fromkeys((key, max(0, key - 1), 0)):
        container.seek(int(keys[target]), stream=stream)
        packets = container.demux(stream)
        first = next((packet for packet in packets if packet.size), None)
        if first is not None and first.is_keyframe and first.pts is not None and first.pts <= stamp:
            return chain([first], packets)
    raise Lost
