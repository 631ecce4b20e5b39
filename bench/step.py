"""A training step with the `tiny` encoder against one with its straightforward predecessor, alternately.

The reference is the first version of `tiny`: every layer a pair of spatial and temporal convolutions, wide from the
start. It spends its time in convolutions of 3 to 48 channels at 1/2 and 1/4 resolution, which are slow on a CPU.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from unittest.mock import patch

import torch
from torch import Tensor, nn

from bench.pair import Pair
from cprlib import encoders
from cprlib.training.config import TrainingConfig
from cprlib.training.fit import new_state
from cprlib.training.step import TrainState, train_step

BATCH, FRAMES, SIZE = 32, 8, 40
LAST, HALF = {"channels_last": True}, {"precision": "bf16"}
SWITCHES = {"channels last": LAST}  # on a CPU
GPU_SWITCHES = {
    "s3d, bf16": HALF,
    "s3d, bf16, channels last": HALF | LAST,
    "s3d, bf16, channels last, compiled": HALF | LAST | {"compile": True},
}


def wide_tiny() -> tuple[nn.Module, int]:
    """The reference backbone, and its width."""

    def block(c_in: int, c_out: int, stride: tuple[int, int, int]) -> list[nn.Module]:
        space = nn.Conv3d(c_in, c_out, (1, 3, 3), (1, *stride[1:]), (0, 1, 1), bias=False)
        time = nn.Conv3d(c_out, c_out, (3, 1, 1), (stride[0], 1, 1), (1, 0, 0), bias=False)
        return [space, nn.BatchNorm3d(c_out), nn.ReLU(), time, nn.BatchNorm3d(c_out), nn.ReLU()]

    strides = ((3, 24, (1, 2, 2)), (24, 48, (2, 2, 2)), (48, 96, (2, 2, 2)), (96, 128, (1, 2, 2)))
    return nn.Sequential(*(layer for stride in strides for layer in block(*stride))), 128


def pairs(device: torch.device) -> Iterator[Pair]:
    """InfoNCE on clips of noise: augmentation, key, query, loss, backward, update.

    Yields:
        `tiny` against its predecessor; then a step with changed settings against the plain one in fp32.
    """
    for view, channels in (("rgb", 3), ("flow", 2)):
        config = TrainingConfig("", "", view=view, backbone="tiny", dim=64, K=256, momentum=0.99, device=str(device))
        state, batch = new_state(config), clips_of_noise(view, channels)
        with patch.dict(encoders.BACKBONES, tiny=wide_tiny):
            reference = new_state(config)
        name = f"training step, {view}, {BATCH} pairs of clips of {FRAMES} x {SIZE} x {SIZE}"
        yield Pair(
            f"{name}, `tiny` for a wide network",
            one_step(config, reference, batch),
            one_step(config, state, batch),
            items=(BATCH, "pairs of clips"),
            device=device,
        )
    if device.type == "cuda":
        yield from switched(device, "s3d", (32, 32, 128), GPU_SWITCHES)
    else:
        yield from switched(device, "tiny", (BATCH, FRAMES, SIZE), SWITCHES)


def switched(
    device: torch.device, backbone: str, size: tuple[int, int, int], switches: dict[str, dict]
) -> Iterator[Pair]:
    """A step with each of the settings against the plain one; `size` is (B, T, side)."""
    plain = TrainingConfig("", "", backbone=backbone, dim=64, K=256, momentum=0.99, device=str(device))
    batch = clips_of_noise("rgb", 3, size)
    for label, values in switches.items():
        sides = [one_step(c, new_state(c), batch) for c in (plain, replace(plain, **values))]
        name = f"training step, rgb, {size[0]} pairs of clips of {size[1]} x {size[2]} x {size[2]}, {label}"
        yield Pair(name, *sides, items=(size[0], "pairs of clips"), device=device)


def one_step(config: TrainingConfig, state: TrainState, batch: dict[str, Tensor]) -> Callable[[], None]:
    """A function that does one step."""
    return lambda: train_step(config, state, None, batch, torch.Generator().manual_seed(0))


def clips_of_noise(view: str, channels: int, size: tuple[int, int, int] = (BATCH, FRAMES, SIZE)) -> dict:
    """A batch of noise; `size` is (B, T, side)."""
    g = torch.Generator().manual_seed(0)
    batch, frames, side = size
    shape = batch, frames, side, side, channels
    clips = {side: {view: torch.randint(256, shape, dtype=torch.uint8, generator=g)} for side in "qk"}
    strong = {f"strong_{side}": torch.rand(batch, generator=g) < 0.4 for side in "qk"}
    return {**clips, **strong, **{name: torch.arange(batch) for name in ("video_id", "source_id", "label")}}
