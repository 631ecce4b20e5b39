"""Networks that one call of :func:`cprlib.training.fit.fit` does not make: random, released, co-trained."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from cprlib.encoders import build_encoder
from cprlib.miners import Miner
from cprlib.store.checkpoints import load_checkpoint, load_encoder, load_released, save_checkpoint
from cprlib.store.files import locked, resolve
from cprlib.store.fingerprint import Fingerprint, hash_weights
from cprlib.store.folders import METRICS, is_finished, open_training, training_folder
from cprlib.store.sealed import write_sealed
from cprlib.training.config import TrainingConfig, training_settings
from cprlib.training.fit import fit


def untrained(config: TrainingConfig, redo: bool = False) -> Path:
    """Write a training folder with random weights: the baseline of every table.

    Args:
        config: of the training that would start from them.
        redo: see :func:`cprlib.training.fit.fit`.
    """
    torch.manual_seed(config.seed)
    encoder = build_encoder(config.backbone, config.dim).state_dict()
    return _write_network(config, {"settings": training_settings(config)}, encoder, {"epochs": 0}, redo)


def from_released(config: TrainingConfig, path: str | Path, part: str = "encoder_q", redo: bool = False) -> Path:
    """Write a training folder with weights of CoCLR's or CPR's release, or of another training, to start from.

    Args:
        config: of the training that they replace; backbone and dim must match the weights.
        path: a ``.pth.tar`` file, or the folder of a training.
        part: see :func:`cprlib.store.load_released`.
        redo: see :func:`cprlib.training.fit.fit`.

    Raises:
        ValueError, FileNotFoundError: the file cannot be read, or does not match.
    """
    if resolve(path).is_dir():
        encoder = load_encoder(path, config.view)
    else:
        encoder = load_released(path, config.backbone, part, config.view)
    if encoder.dim != config.dim:
        raise ValueError(f"{path}: its features have length {encoder.dim}; set dim to {encoder.dim}, not {config.dim}")
    weights = encoder.state_dict()
    parts = {"settings": training_settings(config), "released": hash_weights(weights)}
    return _write_network(config, parts, weights, {"epochs": 0, "released": str(path)}, redo)


def _write_network(config: TrainingConfig, parts: dict, weights: Mapping, metrics: dict, redo: bool) -> Path:
    """A finished training that holds these weights."""
    with locked(resolve(config.out)):
        folder = open_training(config.out, Fingerprint(parts), config, redo)
        if not (is_finished(folder) and _is_whole(folder)):
            save_checkpoint(folder, config, {"encoder": weights})
            write_sealed(folder / METRICS, metrics)
    return folder


def _is_whole(folder: Path) -> bool:
    try:
        return bool(load_checkpoint(folder))
    except ValueError as error:
        print(f"{error}; written again", flush=True)
        return False


def cotrain(
    config: TrainingConfig,
    cycles: int,
    inits: Mapping[str, str],
    miner: Miner | None = None,
    redo: bool = False,
    continue_with: Sequence[str] = (),
) -> dict[str, Path]:
    """Train the networks of all views in turns; each mines with the newest networks of the other views, frozen.

    Args:
        config: method and settings; `view`, `samplers` and `init` are set here; `out` is the folder of the run.
        cycles: how often each network is trained.
        inits: view -> folder of its InfoNCE network, in training order, e.g. rgb then flow.
        miner, redo, continue_with: see :func:`cprlib.training.fit.fit`.

    Returns:
        View -> folder of its last training, see :func:`cprlib.store.folders.training_folder`.
    """
    newest = {view: str(path) for view, path in inits.items()}
    for cycle in range(1, cycles + 1):
        for view in inits:
            others = {other: path for other, path in newest.items() if other != view}
            out = training_folder(config.out, config.method, view, cycle)
            wanted = replace(config, view=view, samplers=others, init=newest[view], out=out)
            newest[view] = str(fit(wanted, miner, redo, continue_with))
    return {view: Path(path) for view, path in newest.items()}
