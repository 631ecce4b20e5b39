"""Contrastive pre-training: one model and a miner make InfoNCE, UberNCE, CoCLR or CPR."""

import dataclasses
import math
from hashlib import sha1
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from cprlib.data.frames import open_frames
from cprlib.data.manifest import Manifest
from cprlib.data.sampling import ClipPairs, EpochSampler
from cprlib.encoders import build_encoder, momentum_copy
from cprlib.memory import FeatureQueue
from cprlib.methods import build_miner
from cprlib.store.checkpoints import CHECKPOINT, load_checkpoint, load_encoder, save_checkpoint
from cprlib.store.files import atomic_path, read_json, resolve, write_json
from cprlib.store.folders import is_finished, open_run
from cprlib.store.progress import progress
from cprlib.training.config import TrainingConfig
from cprlib.training.schedule import pick_device
from cprlib.training.snapshots import SNAPSHOTS, write_memory
from cprlib.training.step import State, train_epoch


def fit(config: TrainingConfig) -> Path:
    """Train one network, or load it: a finished run is returned at once, an interrupted one goes on where it was.

    Args:
        config: what to train.

    Returns:
        The run folder: ``config.json``, ``environment.json``, ``videos.json`` (a fingerprint of the training videos),
        ``metrics.jsonl`` (a line an epoch), ``mining.parquet`` (a part an epoch), ``memory/`` (see
        :mod:`cprlib.training.snapshots`), ``checkpoint.pt`` and, once finished, ``metrics.json``.

    Raises:
        ValueError, FileNotFoundError: what is wrong with the settings, the manifest or a checkpoint, before training.
        FloatingPointError: the loss is no longer a number.
    """
    build_miner(config.method, config.views, config.K, config.num_stages, config.ratio, config.top_k)
    pairs = open_pairs(config)
    sampler = EpochSampler(len(pairs), config.batch_size, config.seed)
    _check_queue_fills(config, len(sampler) * sampler.batch_size)
    state = new_state(config)
    folder = open_run(config.out, dataclasses.asdict(config))
    check_same_videos(folder, pairs.rows)
    if not any((folder / name).exists() for name in ("videos.json", CHECKPOINT)):
        write_json(folder / "videos.json", {"sha1": _fingerprint(pairs.rows)})
    if is_finished(folder):
        return folder
    if (folder / CHECKPOINT).exists():
        state.load_state_dict(load_checkpoint(folder, pick_device(config.device)))
    loader = DataLoader(pairs, batch_sampler=sampler, num_workers=config.workers, persistent_workers=config.workers > 0)
    metrics = read_metrics(folder).head(state.epoch).to_dict("records") if state.epoch else []
    epochs = range(state.epoch, config.epochs)
    for epoch in progress(epochs, folder.name, status=lambda: _status(metrics)):
        sampler.epoch = epoch
        row, log = train_epoch(config, state, loader)
        _write_mining(folder, epoch, log)
        if epoch % math.ceil(config.epochs / SNAPSHOTS) == 0 or epoch == config.epochs - 1:
            write_memory(folder, epoch, state.queue)
        metrics.append({"epoch": epoch, **row})
        with atomic_path(folder / "metrics.jsonl") as tmp:
            pd.DataFrame(metrics).to_json(tmp, orient="records", lines=True)
        state.epoch = epoch + 1
        save_checkpoint(folder, {"config": dataclasses.asdict(config), **state.state_dict()})
    write_json(folder / "metrics.json", {"epochs": config.epochs, "start": metrics[0], "end": metrics[-1]})
    return folder


def open_pairs(config: TrainingConfig) -> ClipPairs:
    """The training videos as pairs of clips, before photometric augmentation.

    Raises:
        ValueError, FileNotFoundError: no manifest, no flow yet, or no frame cache.
    """
    manifest = Manifest.read(resolve(config.manifest)).check_files(config.views)
    train, cache = manifest.split("train"), resolve(config.cache) if config.cache else None
    frames = open_frames(manifest, config.views, config.short_side or None, cache)
    shape = config.clip_len, config.clip_stride, config.clip_size
    return ClipPairs(train.table, train.source_codes, frames, (config.view,), config.views, *shape)


def read_metrics(folder: str | Path) -> pd.DataFrame:
    """The metrics of a run: a row an epoch with epoch, loss, lr, pmr, mining_r1, clips_per_s and seconds."""
    return pd.read_json(resolve(folder) / "metrics.jsonl", lines=True)


def new_state(config: TrainingConfig) -> State:
    """Networks, queue and optimiser as they are before the first epoch."""
    device = pick_device(config.device)
    torch.manual_seed(config.seed)
    encoder = build_encoder(config.backbone, config.dim)
    if config.init:
        encoder = load_encoder(resolve(config.init), config.view).train()
        if encoder.dim != config.dim:
            raise ValueError(f"init: {config.init} has dim {encoder.dim}, this run dim {config.dim}; they must agree")
    encoder = encoder.to(device)
    samplers = {}
    for view, path in config.samplers.items():
        samplers[view] = load_encoder(resolve(path), view).to(device).requires_grad_(False)
    queue = FeatureQueue(config.K, config.dim, config.views).to(device)
    optimizer = torch.optim.Adam(encoder.parameters(), config.lr, weight_decay=config.weight_decay, fused=True)
    return State(encoder, momentum_copy(encoder), samplers, queue, optimizer)


def check_same_videos(folder: str | Path, rows: np.ndarray) -> None:
    """A network is of the videos that it was trained on; of others it is neither loaded, trained on nor drawn.

    Args:
        folder: run folder of a network; one without ``videos.json`` passes.
        rows: the training videos now, see :func:`cprlib.data.sampling.video_rows`.

    Raises:
        ValueError: they are other ones.
    """
    path = resolve(folder) / "videos.json"
    if path.exists() and read_json(path)["sha1"] != _fingerprint(rows):
        raise ValueError(
            f"{path.parent} was trained on other videos than the manifest lists now; delete the folder to train again, "
            "or choose another run name"
        )


def _fingerprint(rows: np.ndarray) -> str:
    return sha1(rows.tobytes()).hexdigest()


def _check_queue_fills(config: TrainingConfig, clips_per_epoch: int) -> None:
    """A miner waits for a full queue: one that never fills would train nothing."""
    if config.method != "infonce" and config.K >= config.epochs * clips_per_epoch:
        raise ValueError(
            f"K: a queue of {config.K} rows never fills in {config.epochs} epochs of {clips_per_epoch} clips, so "
            "nothing would be trained; use a smaller K (at most the number of training videos) or more epochs"
        )


def _write_mining(folder: Path, epoch: int, log: pd.DataFrame) -> None:
    if len(log):
        with atomic_path(folder / "mining.parquet" / f"epoch-{epoch:04d}.parquet") as tmp:
            log.to_parquet(tmp, index=False)


def _status(metrics: list[dict]) -> str:
    last = metrics[-1]
    parts = [f"loss {last['loss']:.3f}" if pd.notna(last["loss"]) else "filling the queue"]
    parts += [f"PMR {last['pmr']:.1%}"] if pd.notna(last["pmr"]) else []
    return ", ".join([*parts, f"{last['clips_per_s']:.0f} clips/s"])
