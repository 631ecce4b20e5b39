"""Checkpoints: saved atomically, loaded without running code, refused when they do not fit.

``python -m cprlib.store.checkpoints export TRAINING OUT.pth.tar`` writes a network for the released CoCLR code.
"""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch

from cprlib.encoders import Encoder, ReleasedFlowInput, build_encoder
from cprlib.store.files import atomic_path, resolve
from cprlib.store.fingerprint import Fingerprint
from cprlib.store.folders import CHECKPOINT
from cprlib.store.released import export_released, load_released, load_safely

__all__ = ["export_released", "load_checkpoint", "load_encoder", "load_released", "save_checkpoint"]


def save_checkpoint(folder: str | Path, config: Any, state: Mapping[str, Any]) -> None:
    """Write ``checkpoint.pt`` of a training; a killed process leaves the one before.

    Args:
        folder: of the training.
        config: its dataclass of settings, or a mapping of such.
        state: tensors, numbers and text by name; "encoder" holds the weights of the network.
    """
    settings = asdict(config) if is_dataclass(config) else dict(config)
    fingerprint = Fingerprint.read(Path(folder))
    saved = {"config": settings, "fingerprint": fingerprint.hash if fingerprint else "", **state}
    with atomic_path(Path(folder) / CHECKPOINT) as tmp:
        torch.save(saved, tmp)


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> dict:
    """Read a checkpoint of this project.

    Args:
        path: a folder of a training or its ``checkpoint.pt``.
        device: where the tensors go.

    Returns:
        What :func:`save_checkpoint` wrote: "config", "fingerprint" and the state.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: not a checkpoint of this project, one that holds other Python objects, or one of another training.
    """
    path = resolve(path)
    path = path / CHECKPOINT if path.suffix != ".pt" else path
    state = load_safely(path, device)
    if not isinstance(state, dict) or "encoder" not in state or "config" not in state:
        raise ValueError(
            f"{path} is not a checkpoint of cprlib (it needs 'config' and 'encoder'); give a folder that fit() made"
        )
    fingerprint = Fingerprint.read(path.parent)
    if fingerprint and path.name == CHECKPOINT and state.get("fingerprint") not in fingerprint.history:
        raise ValueError(f"{path} belongs to another training than its folder; put its own back, or delete the folder")
    return state


def load_encoder(path: str | Path, view: str | None = None) -> Encoder:
    """Rebuild the trained network of a run.

    Args:
        path: folder of a training, or its ``checkpoint.pt``.
        view: the view that it must have been trained on.

    Returns:
        The encoder, on the CPU, in evaluation mode.

    Raises:
        ValueError: it was trained on another view, or its weights do not fit its backbone.
    """
    state = load_checkpoint(path)
    config = state["config"]
    if view is not None and view not in (config["view"], config.get("other_view")):
        raise ValueError(
            f"{path} is a {config['view']} network, but a {view} network is needed here; give the other run"
        )
    encoder = build_encoder(config["backbone"], config["dim"])
    if any(key.startswith("input.") for key in state["encoder"]):  # it descends from a released network of flow
        encoder.input = ReleasedFlowInput()
    try:
        encoder.load_state_dict(state["encoder"])
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit backbone {config['backbone']!r} ({error})") from error
    return encoder.eval()


def main(args: list[str] | None = None) -> None:
    """The command: ``export RUN_FOLDER OUT.pth.tar``."""
    parser = argparse.ArgumentParser(prog="python -m cprlib.store.checkpoints", description="checkpoints of other code")
    export = parser.add_subparsers(required=True).add_parser(
        "export", help="write a run's S3D for the released CoCLR code"
    )
    export.add_argument("run_folder", help="folder of a pretraining run, or its checkpoint.pt")
    export.add_argument("out", help="the .pth.tar file to write")
    options = parser.parse_args(args)
    try:
        run = load_checkpoint(options.run_folder)
        last_epoch = max(run.get("epoch", 1) - 1, 0)  # the run counts finished epochs
        encoder, view = load_encoder(options.run_folder), run["config"]["view"]
        print(export_released(encoder, options.out, last_epoch, view=view))
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
