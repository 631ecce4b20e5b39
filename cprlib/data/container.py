"""Video containers through PyAV: open, decode, and write H.264."""

import json
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from cprlib.store.files import atomic_path

RATES = (Fraction(1, 36000), Fraction(1000))  # frames per second that an mp4 can hold; the first is one in ten hours
FILE_HEADS = (b"RIFF", b"\x1aE\xdf\xa3")  # AVI; Matroska and WebM
_own = threading.local()  # what a thread keeps for its next frame
FULL_RANGE = av.video.reformatter.ColorRange.JPEG  # 0..255 where television has 16..235


class VideoError(ValueError):
    """A file that cannot be used as a video, with the `reason` in a few words."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(path, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.reason}"


def unreadable(path: str | Path) -> VideoError:
    """The error for a file that cannot be decoded: truncated, empty, or not a video."""
    with Path(path).open("rb") as file:
        head = file.read(8)
    known = head[4:] == b"ftyp" or head[:4] in FILE_HEADS
    return VideoError(path, "truncated" if known else "not a video" if head else "empty")


def decode(path: str | Path) -> Iterator[np.ndarray]:
    """All frames of a video in order, (H, W, 3) uint8 RGB each."""
    with open_video(path) as (container, stream):
        yield from map(ToRGB(), container.decode(stream))


@contextmanager
def open_video(path: str | Path) -> Iterator[tuple]:
    """Open a file for single-threaded decoding: (container, video stream)."""
    with av.open(str(path), metadata_errors="replace") as container:  # titles may be in any encoding
        covers = av.stream.Disposition.attached_pic  # the cover picture of a music file
        streams = [s for s in container.streams.video if not s.disposition & covers]
        if not streams:
            raise VideoError(path, "no video stream")
        if streams[0].codec_context is None:
            raise VideoError(path, "no decoder for its video stream")
        streams[0].codec_context.thread_count = 1
        yield container, streams[0]


def encode(
    path: str | Path,
    pictures: Iterable[av.VideoFrame],
    fps: float,
    crf: int,
    gop: int,
    comment: dict,
    full_range: bool = False,
) -> None:
    """Write pictures of even size as H.264 mp4 without B-frames, with `comment` as JSON in the comment tag."""
    # x264's mbtree makes a few files in a hundred differ from run to run
    options = {"crf": str(crf), "g": str(gop), "bf": "0", "threads": "1", "mbtree": "0"}
    with atomic_path(path) as tmp, av.open(str(tmp), "w", format="mp4") as container:
        container.metadata["comment"] = json.dumps(comment)
        rate = Fraction(fps).limit_denominator(1001 if fps >= 1 else 10**6)
        rate = min(max(rate, RATES[0]), RATES[1])
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.pix_fmt = "yuv420p"
        if full_range:
            stream.codec_context.color_range = FULL_RANGE
        for number, picture in enumerate(pictures):
            if number == 0:
                stream.width, stream.height = picture.width, picture.height
            picture.pts, picture.time_base = number, 1 / rate
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


class ToRGB:
    """Turns the pictures of one file into frames (H, W, 3) uint8, upright: phones store them turned or mirrored.

    A picture that was asked for its matrix stays in memory until Python collects garbage, so only the first is asked.
    """

    matrix: tuple[int, int, int, int] | None = None

    def __call__(self, picture: av.VideoFrame) -> np.ndarray:
        self.matrix = self.matrix or display_matrix(picture)
        if not hasattr(_own, "reformatter"):
            _own.reformatter = VideoReformatter()  # one for all frames: making its tables takes 3 ms
        # no threads: a forked worker does not inherit this process's and would wait for them for ever
        frame = _own.reformatter.reformat(picture, format="rgb24", threads=1).to_ndarray()
        return upright(frame, self.matrix)


def in_places(frames: Iterable[np.ndarray], places: np.ndarray) -> np.ndarray | None:
    """Put frame n wherever `places` (T,) is n → (T, H, W, C) uint8; None if frames are missing."""
    clip, number = None, -1
    for number, frame in enumerate(frames):  # each is written while it is still in the CPU's cache
        if clip is None:
            clip = np.empty((len(places), *frame.shape), np.uint8)
        clip[places == number] = frame
    return clip if number == places.max() else None


def stored_numbers(name: str | Path, frame_indices: Sequence[int], stored: int, view: str) -> np.ndarray:
    """Frame numbers (T,) int64 of a video as they are stored: its last frame has the flow of the one before.

    Args:
        name: of the video, for the error.
        frame_indices: T frame numbers, in any order, repeats allowed.
        stored: frames of this view that are stored.
        view: "rgb" or "flow".

    Raises:
        IndexError: no frame number, or one outside the video.
    """
    asked, last = np.asarray(frame_indices, dtype=np.int64), stored - 1 + (view == "flow")
    if asked.size == 0 or asked.min() < 0 or asked.max() > last:
        raise IndexError(f"{name}: frames {asked.tolist()} requested, but valid are 0..{last}")
    return asked.clip(max=stored - 1)


def display_matrix(picture: av.VideoFrame) -> tuple[int, int, int, int]:
    """(a, b, c, d): a stored pixel (x, y) is shown at (a x + c y, b x + d y), up to shift and scale."""
    data = picture.side_data.get("DISPLAYMATRIX")
    a, b, _, c, d = struct.unpack("<5i", bytes(data)[:20]) if data else (1, 0, 0, 0, 1)
    return a, b, c, d


def is_upright(picture: av.VideoFrame) -> bool:
    """Whether a picture is shown as it is stored."""
    a, b, c, d = display_matrix(picture)
    return abs(b) + abs(c) <= abs(a) + abs(d) and a >= 0 and d >= 0


def upright(frame: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Turn and mirror a (H, W, C) frame as its display matrix says, to the nearest quarter of a turn."""
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        frame, a, d = frame.transpose(1, 0, 2), c, b  # rows become columns; only mirroring is left
    return np.ascontiguousarray(frame[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def grey_picture(plane: np.ndarray) -> av.VideoFrame:
    """A picture of even size with the bytes of `plane` (H, W) uint8 as brightness and no colour."""
    colour = np.full((plane.shape[0] // 2, plane.shape[1]), 128, np.uint8)
    picture = av.VideoFrame.from_ndarray(np.concatenate([plane, colour]), format="yuv420p")
    picture.color_range = FULL_RANGE
    return picture


def brightness(picture: av.VideoFrame) -> np.ndarray:
    """The bytes of the brightness plane, (H, W) uint8, unconverted."""
    plane = picture.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:, : picture.width]
