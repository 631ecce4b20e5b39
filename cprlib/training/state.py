"""The state of a training of any kind: what a checkpoint must hold."""

from collections.abc import Mapping

import torch
from torch import nn


class State:
    """Everything a training holds in memory; attributes with a state dict are saved under their names."""

    epoch: int

    @property
    def saved(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """The parts that change during training, by name; without `parallel`, which wraps the encoder."""
        return {name: part for name, part in vars(self).items() if name != "parallel" and hasattr(part, "state_dict")}

    def state_dict(self) -> dict:
        """What a checkpoint must hold."""
        return {"epoch": self.epoch, **{name: part.state_dict() for name, part in self.saved.items()}}

    def load_state_dict(self, saved: Mapping) -> None:
        """Restore what :meth:`state_dict` returned."""
        for name, part in self.saved.items():
            part.load_state_dict(saved[name])
        self.epoch = saved["epoch"]

    def train(self) -> None:
        """Put the saved networks into training mode."""
        for part in self.saved.values():
            if isinstance(part, nn.Module):
                part.train()
