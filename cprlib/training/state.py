"""The state of a training, whatever it trains: what a checkpoint must hold."""

from collections.abc import Mapping

import torch
from torch import nn


class State:
    """All that a training holds in memory; what has a state is saved under the name that it has here."""

    epoch: int

    @property
    def saved(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What changes during training, by name; not the encoder once more, as several processes share it."""
        return {name: part for name, part in vars(self).items() if name != "parallel" and hasattr(part, "state_dict")}

    def state_dict(self) -> dict:
        """What a checkpoint must hold."""
        return {"epoch": self.epoch, **{name: part.state_dict() for name, part in self.saved.items()}}

    def load_state_dict(self, saved: Mapping) -> None:
        """Take back what :meth:`state_dict` gave."""
        for name, part in self.saved.items():
            part.load_state_dict(saved[name])
        self.epoch = saved["epoch"]

    def train(self) -> None:
        """Put what is trained into training mode."""
        for part in self.saved.values():
            if isinstance(part, nn.Module):
                part.train()
