"""Videos for the tests of `cprlib.data`, not written with `cprlib`, and manifests of videos."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import torch

from cprlib.data.manifest import Manifest
from cprlib.data.video import probe


def gliding(num_frames: int, dx: int, dy: int, height: int = 64, width: int = 80, seed: int = 0) -> torch.Tensor:
    """A texture that moves dx to the right and dy down per frame."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width, 3)).astype(np.float32)
    texture = cv2.GaussianBlur(noise, (0, 0), 2.5)
    texture = (texture - texture.min()) / np.ptp(texture) * 255
    frames = [np.roll(texture, (t * dy, t * dx), (0, 1)) for t in range(num_frames)]
    return torch.from_numpy(np.stack(frames).astype(np.uint8))


def moving(num_frames: int = 60, height: int = 48, width: int = 64) -> torch.Tensor:
    """A texture that moves and becomes lighter, so that no two frames are alike."""
    frames = gliding(num_frames, 2, 1, height, width).float() * 200 / 255
    return (frames + torch.arange(num_frames).view(-1, 1, 1, 1) % 50).byte()


def described(*paths: Path, **columns) -> Manifest:
    """A manifest of existing videos of one class, each a recording of its own; `columns` replace those of the table."""
    rows = [{"path": str(path), "source_id": str(number), **probe(path)._asdict()} for number, path in enumerate(paths)]
    table = pd.DataFrame(rows).assign(label=0, class_name="c", split="train", flow_path="", video_id=range(len(paths)))
    return Manifest(table.assign(**columns)).validate()


def encoded(
    path: Path, frames: torch.Tensor, codec="libx264", stamps=None, pix_fmt="yuv420p", comment=None, **options: str
) -> Path:
    """A video in the container of the suffix; `stamps` in milliseconds, else 25 frames per second."""
    with av.open(str(path), "w") as container:
        if comment:
            container.metadata["comment"] = comment
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
        clock = Fraction(1, 1000)
        if stamps is not None:
            stream.codec_context.time_base = clock
        for number, frame in enumerate(frames.numpy()):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if stamps is not None:
                picture.pts, picture.time_base = stamps[number], clock
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def turned(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write another display matrix (a, b, c, d) into the track header of an mp4."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path
