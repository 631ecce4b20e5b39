"""The networks of a run: where they lie, and how they come about besides :func:`cprlib.training.fit` alone."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from cprlib.store.checkpoints import CHECKPOINT, load_released, save_checkpoint
from cprlib.store.files import write_json
from cprlib.store.folders import is_finished, network_folder, open_run
from cprlib.training.config import TrainingConfig
from cprlib.training.fit import fit, new_state


def untrained(config: TrainingConfig) -> Path:
    """A run folder that holds the random weights of a configuration: the lower end of every table."""
    folder = open_run(config.out, asdict(config))
    if not is_finished(folder):
        save_checkpoint(folder, {"config": asdict(config), **new_state(config).state_dict()})
        write_json(folder / "metrics.json", {"epochs": 0})
    return folder


def from_released(config: TrainingConfig, path: str | Path, part: str = "encoder_q") -> Path:
    """A run folder that holds weights which CoCLR or CPR released, so that everything can start from them.

    Args:
        config: of the run; backbone and dim must be those of the file.
        path: a ``.pth.tar`` file.
        part: see :func:`cprlib.store.checkpoints.load_released`.

    Raises:
        ValueError, FileNotFoundError: the file cannot be read, or does not fit.
    """
    encoder = load_released(path, config.backbone, part, config.view)
    if encoder.dim != config.dim:
        raise ValueError(f"{path}: its features have length {encoder.dim}; set dim to {encoder.dim}, not {config.dim}")
    folder = open_run(config.out, {**asdict(config), "released": str(path)})
    if not (folder / CHECKPOINT).exists():
        save_checkpoint(folder, {"config": asdict(config), "encoder": encoder.state_dict()})
    write_json(folder / "metrics.json", {"epochs": 0, "released": str(path)})
    return folder


def cotrain(config: TrainingConfig, cycles: int, inits: Mapping[str, str]) -> dict[str, Path]:
    """Co-train the networks of all views in turns: each mines with the newest networks of the others, frozen.

    Args:
        config: method and settings; `view`, `samplers` and `init` are set here; `out` is the folder of the runs.
        cycles: how often every network is trained.
        inits: view -> run folder of its InfoNCE network, in training order, e.g. rgb then flow.

    Returns:
        View -> folder of its last run, see :func:`network_folder`.
    """
    newest = {view: str(path) for view, path in inits.items()}
    for cycle in range(1, cycles + 1):
        for view in inits:
            others = {other: path for other, path in newest.items() if other != view}
            out = network_folder(config.out, config.method, view, cycle)
            newest[view] = str(fit(replace(config, view=view, samplers=others, init=newest[view], out=out)))
    return {view: Path(path) for view, path in newest.items()}
