"""Video containers through PyAV: open, decode, seek where that is safe, and write H.264."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from cprlib.store.files import atomic_path

FULL_RANGE = av.video.reformatter.ColorRange.JPEG  # 0..255 where television has 16..235


class VideoError(ValueError):
    """A file that cannot be used as a video, with the `reason` in a few words."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(path, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.reason}"


def decode(path: str | Path) -> Iterator[np.ndarray]:
    """All frames of a video in order, (H, W, 3) uint8 RGB each."""
    with open_video(path) as (container, stream):
        for frame in container.decode(stream):
            yield rgb(frame)


@contextmanager
def open_video(path: str | Path) -> Iterator[tuple]:
    """Open a file for single-threaded decoding: (container, video stream)."""
    with av.open(str(path)) as container:
        covers = av.stream.Disposition.attached_pic  # the cover picture of a music file
        streams = [s for s in container.streams.video if not s.disposition & covers]
        if not streams:
            raise VideoError(path, "no video stream")
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
    """Write pictures of even size as H.264 mp4 without B-frames, `comment` as JSON in its tag."""
    # x264's mbtree makes a few files in a hundred differ from run to run
    options = {"crf": str(crf), "g": str(gop), "bf": "0", "threads": "1", "mbtree": "0"}
    with atomic_path(path) as tmp, av.open(str(tmp), "w", format="mp4") as container:
        container.metadata["comment"] = json.dumps(comment)
        rate = Fraction(fps).limit_denominator(1001)
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


def rgb(picture: av.VideoFrame) -> np.ndarray:
    """(H, W, 3) uint8, upright: phones store a turned picture and the angle."""
    frame = picture.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(frame, picture.rotation // 90))


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


def pictures_at(container, stream, indices: list[int]) -> Iterator[av.VideoFrame]:
    """The frames with sorted, distinct numbers `indices`, as far as they exist.

    Files that `encode` wrote have evenly spaced frames and can be entered at any key frame; any
    other file is decoded from its start, which is slow and never wrong.
    """
    if container.metadata.get("comment", "").startswith('{"cprlib"') and not stream.start_time:
        yield from _seeking(container, stream, indices)
        return
    wanted = set(indices)
    for number, picture in enumerate(container.decode(stream)):
        if number in wanted:
            yield picture
        if number == indices[-1]:
            return


def _seeking(container, stream, indices: list[int]) -> Iterator[av.VideoFrame]:
    """`pictures_at` for our own files."""
    frame_time = 1 / (stream.average_rate * stream.time_base)  # in the stream's clock
    position, pictures = -1, container.decode(stream)
    for index in indices:
        if index - position > 12:  # nearer ones are reached sooner by decoding on
            container.seek(round(index * frame_time), stream=stream)
            pictures = container.decode(stream)
        for picture in pictures:
            position = round(picture.pts / frame_time)
            if position >= index:
                yield picture
                break
