"""Estimators of optical flow: each turns a sequence of frames into the flow between neighbours."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cprlib.data.tvl1 import tvl1

Estimator = Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]  # (H, W, 3) uint8 frames → (2, H, W) float32 each
METHODS = ("tvl1", "dis", "raft_small", "raft_large")
BATCH = 32  # pairs of frames at once on a GPU
RAFT_SIDE = 128  # smallest side that RAFT takes; sides are multiples of 8


def estimator(method: str, device: str | None = None, weights: str | Path | None = None) -> Estimator:
    """The estimator of a method on a device.

    Args:
        method: a name of :data:`METHODS`.
        device: None or "cpu"; for TV-L1 and RAFT also a GPU.
        weights: file of a state dict of torchvision's RAFT; None: torchvision's own, which it downloads once.

    Raises:
        ValueError: unknown method or device, or weights that do not fit.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}")
    on_gpu = device not in (None, "cpu")
    if on_gpu and method == "dis":
        raise ValueError(f"device is {device!r}; dis flow is estimated on the 'cpu'")
    if on_gpu and torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r}, but torch sees no such GPU here; leave it out to use the CPU")
    if method.startswith("raft"):
        return partial(_batched, function=partial(raft, load_raft(method, weights).to(device or "cpu")))
    if weights is not None:
        raise ValueError(f"weights are for RAFT; {method} has none")
    if on_gpu:
        return partial(_batched, function=lambda frames: tvl1(frames[:-1], frames[1:]), picture=_grey, device=device)
    return partial(_pair_by_pair, method=method)


def load_raft(method: str, weights: str | Path | None = None) -> nn.Module:
    """Torchvision's RAFT, in evaluation mode.

    Raises:
        ValueError: the weights cannot be read, do not fit, or cannot be downloaded.
    """
    from torchvision.models import optical_flow  # slow to import, seldom needed

    if weights is None:
        try:
            return getattr(optical_flow, method)(weights="DEFAULT").eval()
        except OSError as error:
            raise ValueError(f"{method}: its weights cannot be downloaded ({error}); give a file as weights") from error
    network = getattr(optical_flow, method)(weights=None).eval()
    try:
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as error:  # a damaged file may raise anything
        raise ValueError(f"{weights}: not weights of torchvision's {method} ({type(error).__name__})") from error
    return network


@torch.no_grad()
def raft(network: nn.Module, frames: Tensor) -> Tensor:
    """Flow by RAFT of neighbouring frames, (N + 1, H, W, 3) uint8 → (N, 2, H, W) float32 on the network's device."""
    x = frames.to(next(network.parameters()).device).permute(0, 3, 1, 2) / 127.5 - 1
    height, width = x.shape[2:]
    more = [max(RAFT_SIDE, -(-side // 8) * 8) - side for side in (height, width)]
    x = F.pad(x, (0, more[1], 0, more[0]), mode="replicate")
    return network(x[:-1], x[1:])[-1][:, :, :height, :width]


def _grey(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def _pair_by_pair(frames: Iterable[np.ndarray], method: str) -> Iterator[np.ndarray]:
    """OpenCV, on the CPU."""
    if method == "tvl1":
        matcher = cv2.optflow.DualTVL1OpticalFlow_create()
    else:
        matcher = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    for previous, frame in pairwise(map(_grey, frames)):
        try:
            flow = matcher.calc(previous, frame, None)
        except cv2.error as error:
            height, width = frame.shape
            raise ValueError(f"{method} flow cannot be estimated for frames of {width} x {height} pixels") from error
        yield flow.transpose(2, 0, 1)


def _batched(
    frames: Iterable[np.ndarray],
    function: Callable[[Tensor], Tensor],
    picture: Callable[[np.ndarray], np.ndarray] = np.asarray,
    device: str = "cpu",
) -> Iterator[np.ndarray]:
    """`function` of N + 1 neighbouring frames gives N flows; the last frame is the first one of the next batch."""
    pictures = map(picture, frames)
    part = list(islice(pictures, 1))
    while more := list(islice(pictures, BATCH)):
        yield from function(torch.from_numpy(np.stack(part + more)).to(device)).cpu().numpy()
        part = more[-1:]
