"""Checkpoints: saved atomically, loaded without running code, refused when they do not fit."""

import pickle
from pathlib import Path

import torch

from cprlib.encoders import Encoder, build_encoder
from cprlib.runs import atomic_path, resolve

CHECKPOINT = "checkpoint.pt"


def save_checkpoint(folder: str | Path, state: dict) -> None:
    """Write ``checkpoint.pt`` of a run folder; a killed process leaves the one before."""
    with atomic_path(Path(folder) / CHECKPOINT) as tmp:
        torch.save(state, tmp)


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> dict:
    """Read a checkpoint of this project.

    Args:
        path: a run folder or its ``checkpoint.pt``.
        device: where the tensors go.

    Returns:
        The dict that :func:`save_checkpoint` was given.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: not a checkpoint of this project.
    """
    path = resolve(path)
    path = path / CHECKPOINT if path.suffix != ".pt" else path
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint at {path}; train that network first, or correct the path")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is not a readable checkpoint ({reason}); train that network again") from error
    if not isinstance(state, dict) or "encoder" not in state or "config" not in state:
        raise ValueError(
            f"{path} is not a checkpoint of cprlib (it needs 'config' and 'encoder'); give a run folder of fit()"
        )
    return state


def load_encoder(path: str | Path, view: str | None = None) -> Encoder:
    """Rebuild the trained network of a run.

    Args:
        path: a run folder or its ``checkpoint.pt``.
        view: the view that it must have been trained on.

    Returns:
        The encoder, on the CPU, in evaluation mode.

    Raises:
        ValueError: it was trained on another view, or its weights do not fit its backbone.
    """
    state = load_checkpoint(path)
    config = state["config"]
    if view is not None and config["view"] != view:
        raise ValueError(
            f"{path} is a {config['view']} network, but a {view} network is needed here; give the other run"
        )
    encoder = build_encoder(config["backbone"], config["dim"])
    try:
        encoder.load_state_dict(state["encoder"])
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit backbone {config['backbone']!r} ({error})") from error
    return encoder.eval()
