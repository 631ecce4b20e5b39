"""Self-supervised training: configuration, step, fit, co-training, snapshots."""

from cprlib.training.config import TrainingConfig
from cprlib.training.fit import fit

__all__ = ["TrainingConfig", "fit"]
