"""What is kept on disk: folders, fingerprints, atomic writes, checkpoints, released weights."""

__all__ = ["load_released"]


def __getattr__(name: str):
    """`load_released` once it is asked for: it needs torchvision, for which every step of the pipeline would wait."""
    if name != "load_released":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cprlib.store.released import load_released

    return load_released
