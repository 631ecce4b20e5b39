"""Learning rates, devices and precisions."""

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

PRECISIONS = ("fp32", "bf16")
CHECKED = 50  # steps between checks that losses are finite: each check makes the GPU wait


def pick_device(name: str) -> torch.device:
    """The device of a name; "auto" takes a GPU if there is one.

    Raises:
        ValueError: torch knows no such device, or this machine has none.
    """
    gpus, kinds = torch.cuda.device_count(), ("cpu", "cuda", *(["mps"] if torch.backends.mps.is_available() else []))
    try:
        device = torch.device(("cuda" if gpus else "cpu") if name == "auto" else name)
    except RuntimeError as error:
        raise ValueError(f"device: {name!r} is not a device; give auto, cpu, cuda or cuda:0") from error
    if device.type not in kinds or (device.type == "cuda" and (device.index or 0) >= gpus):
        raise ValueError(f"device: {name!r} is not available, torch sees {gpus} GPUs; give auto or cpu")
    return device


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turn out-of-memory errors, of the machine or its GPU, into a one-line ValueError.

    Raises:
        ValueError: too little memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("memory|alloc|overflow", str(error)):
            raise
        said = str(error).partition("\n")[0][:120]
        raise ValueError(
            f"too little memory ({said}); choose a smaller batch_size, K, dim, clip_len "
            "or clip_size, or more devices; what was finished is kept"
        ) from error


def decay(epoch: int, milestones: Sequence[int]) -> float:
    """Factor of the learning rate in an epoch: divided by ten at each milestone."""
    return 0.1 ** sum(epoch >= milestone for milestone in milestones)


def check_losses(losses: Sequence[torch.Tensor], epoch: int) -> None:
    """Raise a FloatingPointError if a loss of an epoch is not finite."""
    if losses and not (values := torch.stack(list(losses))).isfinite().all():
        raise FloatingPointError(
            f"the loss became {values[~values.isfinite()][0].item()} in epoch {epoch}; the checkpoint of the "
            "previous epoch is kept: resume with a lower lr (continue_with: [lr]), or with precision fp32"
        )


def check_precision(config: Any) -> None:
    """Refuse bf16 on a CPU, where torch's weight gradients of some 3-D convolutions are not finite.

    Args:
        config: settings with `device` and `precision`.

    Raises:
        ValueError: bf16 on a CPU, or a device that does not exist; before anything starts.
    """
    device = pick_device(config.device)
    if config.precision == "bf16" and device.type == "cpu":
        raise ValueError("precision: bf16 needs a GPU, its 3-D convolutions are wrong on a CPU; set precision to fp32")


def check_shares(config: Any) -> None:
    """Raise a ValueError if the devices of some settings cannot share a batch equally."""
    if config.batch_size % config.devices:
        raise ValueError(
            f"devices: {config.devices} share a batch equally; batch_size {config.batch_size} is not a multiple"
        )


def check_bf16(config: Any, network: nn.Module) -> None:
    """If bf16 is set, compare its gradients with those of fp32 on one random batch.

    Args:
        config: settings with `precision`, `clip_len` and `clip_size`.
        network: clips (B, 3, T, H, W) float → (B, D); not changed.

    Raises:
        FloatingPointError: bf16 gradients are not finite, or differ in direction (cosine below 0.9).
    """
    if config.precision != "bf16":
        return
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(0)
    clips = torch.randn(4, 3, config.clip_len, config.clip_size, config.clip_size, generator=generator).to(device)
    gradients = {}
    for bf16 in (False, True):
        model = copy.deepcopy(network).eval()  # batch statistics of a few clips would magnify any rounding
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            out = model(clips)
        (out.float() * torch.linspace(-1, 1, out.numel(), device=device).view_as(out)).sum().backward()
        gradients[bf16] = torch.cat([p.grad.float().flatten() for p in model.parameters() if p.grad is not None])
    agreement = torch.cosine_similarity(gradients[False], gradients[True], dim=0).item()
    if not agreement > 0.9:  # also catches NaN
        raise FloatingPointError(
            f"precision: bf16 gradients do not agree with fp32 (cosine {agreement:.3f}) for clips of "
            f"{config.clip_len} x {config.clip_size} x {config.clip_size} (torch {torch.__version__}); "
            "set precision to fp32"
        )
