"""What is kept on disk: folders, fingerprints, atomic writes, checkpoints, released weights."""

from cprlib.store.released import load_released

__all__ = ["load_released"]
