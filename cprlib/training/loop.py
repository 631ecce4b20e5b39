"""The training loop of every method: epochs in phases, what each epoch writes, and resuming."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from torch.utils.data import DataLoader, Dataset

from cprlib.data.content import contents
from cprlib.data.manifest import Manifest
from cprlib.data.parallel import clip_loader, short_sockets
from cprlib.data.sampling import EpochSampler
from cprlib.methods import METHODS
from cprlib.miners import Miner
from cprlib.store.checkpoints import resume, save_checkpoint
from cprlib.store.files import resolve
from cprlib.store.fingerprint import Fingerprint
from cprlib.store.folders import LINES, METRICS, VIDEOS, is_finished, open_training
from cprlib.store.progress import progress
from cprlib.store.sealed import keep_sealed, read_lines, restore_lines, write_lines, write_sealed
from cprlib.store.tables import write_table
from cprlib.training import ranks
from cprlib.training.launch import launch
from cprlib.training.scalars import scalar_writer
from cprlib.training.schedule import check_bf16
from cprlib.training.snapshots import SNAPSHOTS, is_network_kept, write_memory, write_network

TIMES = ("seconds", "clips_per_s")  # metrics that differ between equal trainings
TELLING = ("view", "method", "backbone", "dim", "K", "seed")  # settings that tell one training from another


def fit_on_devices(function: str, config: Any, miner: Miner | None, redo: bool, continue_with: Sequence[str]) -> Path:
    """Call `fit`, or another function with the same arguments, in one process per device.

    Raises:
        ValueError: the user's own miner, which cannot be sent to other processes.
    """
    if miner is not None:
        raise ValueError("devices: a miner of your own cannot be sent to other processes; set devices to 1")
    arguments = {"config": asdict(config), "redo": redo, "continue_with": list(continue_with)}
    launch(function, arguments, config.devices, config.device)
    return resolve(config.out)


def run_epochs(
    config: Any,
    state: Any,
    data: tuple[Dataset, EpochSampler],
    train: Manifest,
    fingerprint: Fingerprint,
    one_epoch: Callable[[int, DataLoader], tuple[dict, pd.DataFrame]],
    redo: bool = False,
    continue_with: Sequence[str] = (),
) -> Path:
    """Train, or load: a finished training is returned at once, an interrupted one is resumed.

    Args:
        config: settings with out, method, epochs (of a phase), all_epochs (of all phases) and workers.
        state: before the first epoch, with encoder, optimizer, memory and epoch; saved and loaded as a state dict.
        data: items, and the batches of an epoch.
        train: the training videos.
        fingerprint: what the training is made from.
        one_epoch: phase, loader → the epoch's metrics (with loss, pmr and clips_per_s) and its mining log.
        redo, continue_with: see :func:`cprlib.training.fit.fit`.

    Returns:
        The folder of the training.
    """
    with ranks.alone(resolve(config.out)):
        with ranks.first_alone():
            folder = resolve(config.out)
            if not ranks.rank():  # it empties a folder in which nothing is finished
                open_training(folder, fingerprint, config, redo, continue_with)
            keep_sealed(folder / VIDEOS, {"videos": contents(train)})
            metrics = _go_on(folder, config, state)
        if is_finished(folder) and state.epoch == config.all_epochs:
            return folder
        check_bf16(config, state.encoder)
        short_sockets()
        items, sampler = data
        batches = ranks.OwnPart(sampler)
        loader = clip_loader(items, config.workers, batch_sampler=batches, persistent_workers=config.workers > 0)
        with scalar_writer(folder, state.epoch) as write_scalars:
            for epoch in progress(range(state.epoch, config.all_epochs), folder.name, status=lambda: _status(metrics)):
                sampler.epoch = epoch
                phase, epoch_of_phase = divmod(epoch, config.epochs)
                if not epoch_of_phase:
                    state.optimizer.state.clear()  # a phase begins with a fresh optimiser
                row, log = one_epoch(phase, loader)
                if not train.is_labelled:
                    row |= {"pmr": None, "mining_r1": None}  # unknown without labels
                metrics.append({"epoch": epoch, **row})
                state.epoch = epoch + 1
                if ranks.rank():  # one process writes
                    continue
                _keep_epoch(folder, epoch, config, state, log)
                write_lines(folder / LINES, metrics)
                write_scalars(epoch, row)
                save_checkpoint(folder, config, {**state.state_dict(), "metrics": metrics})
        with ranks.first_alone():  # the others wait, as they read what it writes
            if not ranks.rank():
                start, end = ({k: v for k, v in metrics[n].items() if k not in TIMES} for n in (0, -1))
                _end(folder, {"epochs": config.all_epochs, "start": start, "end": end})
        return folder


def _go_on(folder: Path, config: Any, state: Any) -> list[dict]:
    """Restore the state from the checkpoint, if there is one; returns the ``metrics.jsonl`` lines of its epochs."""

    def take(saved: dict) -> list[dict]:
        other = [name for name in TELLING if saved["config"].get(name, was := getattr(config, name, None)) != was]
        if other:
            raise ValueError(f"it belongs to another training: {other[0]} is {saved['config'][other[0]]!r}")
        epoch = saved["epoch"]
        lines = saved["metrics"] if "metrics" in saved else read_lines(folder / LINES)[:epoch]
        if [line["epoch"] for line in lines] != list(range(epoch)) or not 0 < epoch <= config.all_epochs:
            raise ValueError(f"it says that {epoch} epochs are finished, but has metrics of {len(lines)}")
        state.load_state_dict(saved)
        return lines

    lines = resume(folder, take) or []
    restore_lines(folder / LINES, lines)
    if len(lines) < config.all_epochs:
        (folder / METRICS).unlink(missing_ok=True)
    return lines


def _end(folder: Path, metrics: dict) -> None:
    """Write ``metrics.json``, which says that this training, and no other one, has ended."""
    write_sealed(folder / METRICS, {"fingerprint": Fingerprint.read(folder).hash, **metrics})


def read_metrics(folder: str | Path) -> pd.DataFrame:
    """The metrics of a training, one row per epoch: epoch, loss, lr, pmr, mining_r1, clips_per_s and seconds.

    Raises:
        ValueError: ``metrics.jsonl`` is damaged, or lacks epochs.
    """
    path = resolve(folder) / LINES
    table = pd.DataFrame(lines := read_lines(path))
    if [line.get("epoch") for line in lines] != list(range(len(lines))):
        raise ValueError(f"{path} lacks epochs; run the training again, which restores them")
    return table.astype({name: float for name in ("loss", "pmr", "mining_r1") if name in table})


def _keep_epoch(folder: Path, epoch: int, config: Any, state: Any, log: pd.DataFrame) -> None:
    """Write the mining log of every epoch, and memory and network of some, for evaluation."""
    if epoch % math.ceil(config.all_epochs / SNAPSHOTS) == 0 or epoch == config.all_epochs - 1:
        write_memory(folder, epoch, state.memory)
    if len(log):
        write_table(folder / "mining.parquet" / f"epoch-{epoch:04d}.parquet", log)
    if METHODS[config.method].build_miner and is_network_kept(epoch, config.all_epochs):
        write_network(folder, epoch, config, state.encoder)


def _status(metrics: list[dict]) -> str:
    last = metrics[-1]
    parts = ["filling the queue" if last["loss"] is None else f"loss {last['loss']:.3f}"]
    parts += [] if last["pmr"] is None else [f"PMR {last['pmr']:.1%}"]
    return ", ".join([*parts, f"{last['clips_per_s']:.0f} clips/s"])
