"""The loop of a training, whatever it trains: epochs in phases, what is kept of them, stopping and going on."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch.utils.data import DataLoader, Dataset

from cprlib.data.content import video_contents
from cprlib.data.manifest import Manifest
from cprlib.data.parallel import short_sockets
from cprlib.data.sampling import EpochSampler
from cprlib.methods import METHODS
from cprlib.store.checkpoints import load_checkpoint, save_checkpoint
from cprlib.store.files import atomic_path, resolve, write_json
from cprlib.store.fingerprint import Fingerprint
from cprlib.store.folders import CHECKPOINT, METRICS, VIDEOS, is_finished, open_training
from cprlib.store.progress import progress
from cprlib.training.scalars import scalar_writer
from cprlib.training.schedule import check_bf16
from cprlib.training.snapshots import SNAPSHOTS, is_network_kept, write_memory, write_network


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
    """Train, or load: a finished training is returned at once, an interrupted one goes on where it was.

    Args:
        config: settings with out, method, epochs (of a phase), all_epochs (of all phases) and workers.
        state: before the first epoch, with encoder, optimizer, memory and epoch; saved and read as a state dict.
        data: items, and the batches of an epoch.
        train: the training videos.
        fingerprint: what the training is made from.
        one_epoch: phase, loader → the epoch's metrics (with loss, pmr and clips_per_s) and its mining log.
        redo, continue_with: see :func:`cprlib.training.fit.fit`.

    Returns:
        The folder of the training.
    """
    folder = open_training(config.out, fingerprint, config, redo, continue_with)
    if is_finished(folder):
        return folder
    if not (folder / VIDEOS).exists():
        write_json(folder / VIDEOS, video_contents(train))
    if (folder / CHECKPOINT).exists():
        state.load_state_dict(load_checkpoint(folder))
    metrics = _metrics_lines(folder)[: state.epoch]
    check_bf16(config, state.encoder)
    short_sockets()
    items, sampler = data
    loader = DataLoader(items, batch_sampler=sampler, num_workers=config.workers, persistent_workers=config.workers > 0)
    with scalar_writer(folder, state.epoch) as write_scalars:
        for epoch in progress(range(state.epoch, config.all_epochs), folder.name, status=lambda: _status(metrics)):
            sampler.epoch = epoch
            phase, epoch_of_phase = divmod(epoch, config.epochs)
            if not epoch_of_phase:
                state.optimizer.state.clear()  # a phase begins with a fresh optimiser
            row, log = one_epoch(phase, loader)
            _keep_epoch(folder, epoch, config, state, log)
            metrics.append({"epoch": epoch, **row})
            with atomic_path(folder / "metrics.jsonl") as tmp:
                tmp.write_text("".join(json.dumps(line) + "\n" for line in metrics))
            write_scalars(epoch, row)
            state.epoch = epoch + 1
            save_checkpoint(folder, config, state.state_dict())
    write_json(folder / METRICS, {"epochs": config.all_epochs, "start": metrics[0], "end": metrics[-1]})
    return folder


def read_metrics(folder: str | Path) -> pd.DataFrame:
    """The metrics of a training: a row an epoch with epoch, loss, lr, pmr, mining_r1, clips_per_s and seconds."""
    table = pd.DataFrame(_metrics_lines(resolve(folder)))
    return table.astype({name: float for name in ("loss", "pmr", "mining_r1") if name in table})


def _metrics_lines(folder: Path) -> list[dict]:
    """The lines of ``metrics.jsonl`` as they were written, to the last digit; [] before the first epoch."""
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _keep_epoch(folder: Path, epoch: int, config: Any, state: Any, log: pd.DataFrame) -> None:
    """What is kept to be looked at: the mining log of every epoch, memory and network of some."""
    if epoch % math.ceil(config.all_epochs / SNAPSHOTS) == 0 or epoch == config.all_epochs - 1:
        write_memory(folder, epoch, state.memory)
    if len(log):
        with atomic_path(folder / "mining.parquet" / f"epoch-{epoch:04d}.parquet") as tmp:
            log.to_parquet(tmp, index=False)
    if METHODS[config.method].build_miner and is_network_kept(epoch, config.all_epochs):
        write_network(folder, epoch, config, state.encoder)


def _status(metrics: list[dict]) -> str:
    last = metrics[-1]
    parts = ["filling the queue" if last["loss"] is None else f"loss {last['loss']:.3f}"]
    parts += [] if last["pmr"] is None else [f"PMR {last['pmr']:.1%}"]
    return ", ".join([*parts, f"{last['clips_per_s']:.0f} clips/s"])
