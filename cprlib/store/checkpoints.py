"""Checkpoints: saved atomically, loaded without running code, refused when they do not fit.

``python -m cprlib.store.checkpoints export TRAINING OUT.pth.tar`` writes a network for the released CoCLR code.
"""

import argparse
import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from cprlib.encoders import Encoder, ReleasedFlowInput, build_encoder
from cprlib.store.errors import one_line
from cprlib.store.files import link, resolve
from cprlib.store.fingerprint import Fingerprint
from cprlib.store.folders import BEFORE, CHECKPOINT, METRICS
from cprlib.store.released import export_released, load_released
from cprlib.store.tensors import load_safely, save_tensors

__all__ = ["export_released", "load_checkpoint", "load_encoder", "load_released", "resume", "save_checkpoint"]

DAMAGED = "checkpoint-damaged.pt"
SHAPE = ("view", "method", "backbone", "dim", "clip_len", "clip_stride", "clip_size")  # needed to use a network
T = TypeVar("T")


def save_checkpoint(folder: str | Path, config: Any, state: Mapping[str, Any]) -> None:
    """Write ``checkpoint.pt`` of a training; the previous one is kept as ``checkpoint-before.pt``.

    Args:
        folder: of the training.
        config: its settings, a dataclass or a mapping.
        state: tensors, numbers and text by name; "encoder" holds the weights of the network.

    Raises:
        FloatingPointError: a tensor of it is not finite; existing checkpoints are left as they are.
    """
    settings = asdict(config) if is_dataclass(config) else dict(config)
    fingerprint = Fingerprint.read(Path(folder))
    saved = {"config": settings, "fingerprint": fingerprint.hash if fingerprint else "", **_on_cpu(state)}
    path = Path(folder) / CHECKPOINT
    if broken := _not_finite(saved):
        raise FloatingPointError(
            f"{path} not written: {broken} is no longer finite; the previous checkpoint is kept: go on from it with a "
            "lower lr (continue_with: [lr]), or with precision fp32"
        )
    if path.exists():
        link(path, path.with_name(BEFORE))
    save_tensors(path, saved)


def resume(folder: str | Path, take: Callable[[dict], T]) -> T | None:
    """Resume a training from its newest checkpoint that is whole; a damaged one is put aside, with a warning.

    Args:
        folder: of the training.
        take: restores the state from a checkpoint; raises a ValueError, KeyError, TypeError or RuntimeError if that
            does not fit.

    Returns:
        What `take` returned, None if there is no checkpoint.

    Raises:
        ValueError: no checkpoint is whole and of this training.
    """
    newest, before = (resolve(folder) / name for name in (CHECKPOINT, BEFORE))
    told = []
    for path in (newest, before):
        if not path.exists():
            continue
        try:
            taken = take(load_checkpoint(path))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            lacks = f"{path} lacks {error}" if isinstance(error, KeyError) else str(error)
            told.append(lacks if str(path) in lacks else f"{path} does not fit: {lacks}")
            continue
        if path == before:
            (newest.parent / METRICS).unlink(missing_ok=True)  # without its last epoch it is not finished
            if newest.exists():
                print(f"{told[0]}. Put aside as {DAMAGED}; going on from the previous checkpoint", flush=True)
                newest.replace(newest.with_name(DAMAGED))
            link(before, newest)
        return taken
    if told:
        raise ValueError(f"{told[0]}; no other checkpoint is whole: delete the folder to train again")
    return None


def _on_cpu(state: Any) -> Any:
    """The same with its tensors on the CPU, where they are checked and written."""
    if isinstance(state, dict):
        there = copy.copy(state)  # keeps torch's metadata of a state dict
        there.update({key: _on_cpu(value) for key, value in state.items()})
        return there
    if isinstance(state, list):
        return [_on_cpu(value) for value in state]
    return state.cpu() if isinstance(state, torch.Tensor) else state


def _not_finite(state: Any, name: str = "") -> str | None:
    """The name of a tensor in nested mappings and lists that holds NaN or infinity, None if there is none."""
    if isinstance(state, torch.Tensor):
        return name if state.is_floating_point() and not state.isfinite().all() else None
    items = state.items() if isinstance(state, Mapping) else enumerate(state) if isinstance(state, list) else ()
    return next(filter(None, (_not_finite(value, f"{name} {key}".strip()) for key, value in items)), None)


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
    if not path.exists() and (path.parent / METRICS).exists():
        raise FileNotFoundError(
            f"{path} was deleted; delete the rest of {path.parent}, too, and run the pipeline again, which trains it"
        )
    state = load_safely(path, device)
    if not isinstance(state, dict) or not all(isinstance(state.get(part), dict) for part in ("encoder", "config")):
        raise ValueError(
            f"{path} is not a checkpoint of cprlib (it needs 'config' and 'encoder'); give a folder that fit() made"
        )
    if other := [name for name, weight in state["encoder"].items() if not isinstance(weight, torch.Tensor)]:
        raise ValueError(f"{path}: {other[0]} of its encoder is not a tensor; train that network again")
    if broken := _not_finite(state):
        raise ValueError(f"{path}: {broken} holds numbers that are not finite; train that network again")
    fingerprint = Fingerprint.read(path.parent)
    if fingerprint and path.name in (CHECKPOINT, BEFORE) and state.get("fingerprint") not in fingerprint.history:
        raise ValueError(f"{path} belongs to another training than its folder; put its own back, or delete the folder")
    settings = fingerprint.parts.get("settings", {}) if fingerprint and "continued" not in fingerprint.parts else {}
    if other := [n for n in SHAPE if n in settings and state["config"].get(n) != settings[n]]:
        name, found = other[0], state["config"].get(other[0])
        raise ValueError(f"{path}: its {name} is {found!r}, that of its training {settings[name]!r}; train it again")
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
    if view is not None and view not in (config.get("view"), config.get("other_view")):
        raise ValueError(
            f"{path} is a {config.get('view')} network, but a {view} network is needed here; give the other run"
        )
    try:
        encoder = build_encoder(config["backbone"], config["dim"])
        if any(key.startswith("input.") for key in state["encoder"]):  # it descends from a released network of flow
            encoder.input = ReleasedFlowInput()
        encoder.load_state_dict(state["encoder"])
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: the weights do not fit backbone {config.get('backbone')!r} ({error})") from error
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
    with one_line():
        run = load_checkpoint(options.run_folder)
        last_epoch = max(run.get("epoch", 1) - 1, 0)  # the run counts finished epochs
        encoder, view = load_encoder(options.run_folder), run["config"]["view"]
        print(export_released(encoder, options.out, last_epoch, view=view))


if __name__ == "__main__":
    main()
