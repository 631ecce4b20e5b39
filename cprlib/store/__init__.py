"""What is kept on disk: folders, fingerprints, atomic writes, checkpoints, released weights."""

__all__ = ["load_released"]


def __getattr__(name: str):
    """Import `load_released` on first use only: it needs torchvision, for which every pipeline step would wait."""
    if name != "load_released":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cprlib.store.released import load_released

    return load_released
