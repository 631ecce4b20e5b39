"""TV-L1 in torch, meant for a GPU, against OpenCV's, used on a CPU, one pair of frames at a time."""

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor

from bench.pair import Pair
from cprlib.data.estimators import estimator
from cprlib.data.flow import quantise
from cprlib.data.tvl1 import tvl1
from cprlib.data.video import read_clip
from cprlib.store.files import resolve

FRAMES, SIDE = 5, 120


def pairs(device: torch.device) -> Iterator[Pair]:
    """Frames of a real video, or moving noise without one."""
    frames = _frames(FRAMES if device.type == "cpu" else 33)
    grey = torch.from_numpy(np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]))
    count = len(frames) - 1

    def opencv(method: str) -> Tensor:
        return torch.from_numpy(np.stack([*estimator(method)(frames)]))

    def ours() -> Tensor:
        return tvl1(grey[:-1].to(device), grey[1:].to(device)).cpu()

    size = "x".join(map(str, frames.shape[1:3]))
    name = f"TV-L1 of {count} pairs of {size}, torch for OpenCV"
    yield Pair(name, lambda: opencv("tvl1"), ours, _near, None, (count, "frames"), 3, device)
    yield Pair(
        f"flow of {count} pairs of {size}, DIS for TV-L1 in OpenCV",
        lambda: opencv("tvl1"),
        lambda: opencv("dis"),
        items=(count, "frames"),
        repeats=3,
    )


def _frames(count: int) -> np.ndarray:
    place = resolve("${CPR_DATA:-../shared}/videos/ucf101-original")
    for path in sorted(place.glob("*/*")):
        return read_clip(path, range(20, 20 + count), short_side=SIDE).numpy()
    noise = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, (SIDE, 160, 3)), (0, 0), 3).astype(np.uint8)
    return np.stack([np.roll(noise, (i, -i), (0, 1)) for i in range(count)])


def _near(a: Tensor, b: Tensor) -> str:
    error = float((a - b).norm(dim=1).median())
    levels = np.abs(quantise(a.numpy(), 20.0).astype(int) - quantise(b.numpy(), 20.0)).mean()
    assert error < 0.05 and levels < 1
    return f"median end point error {error:.3f} pixels, mean difference {levels:.2f} levels"
