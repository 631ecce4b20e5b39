"""Learning rates and devices."""

from collections.abc import Sequence

import torch

PRECISIONS = ("fp32", "bf16")


def pick_device(name: str) -> torch.device:
    """ "auto" takes a GPU if there is one; any other name is taken as it is."""
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(automatic if name == "auto" else name)


def decay(epoch: int, milestones: Sequence[int]) -> float:
    """Factor of the learning rate in an epoch: a tenth of what it was, from each milestone on."""
    return 0.1 ** sum(epoch >= milestone for milestone in milestones)
