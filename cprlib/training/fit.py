"""Contrastive pre-training: one configuration and a miner make InfoNCE, UberNCE, CoCLR or CPR."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils.data import DataLoader

from cprlib.data.content import trained_on, training_rows, view_contents
from cprlib.data.frames import open_frames
from cprlib.data.manifest import Manifest
from cprlib.data.sampling import ClipPairs, EpochSampler
from cprlib.encoders import build_encoder, momentum_copy
from cprlib.memory import FeatureQueue
from cprlib.methods import METHODS, VIEWS, build_miner, sources_of
from cprlib.miners import Miner
from cprlib.store.checkpoints import load_encoder
from cprlib.store.files import resolve
from cprlib.store.fingerprint import Fingerprint, hash_weights
from cprlib.training import ranks
from cprlib.training.config import TrainingConfig, training_settings
from cprlib.training.loop import fit_on_devices, run_epochs
from cprlib.training.schedule import check_precision, enough_memory, pick_device
from cprlib.training.step import TrainState, train_epoch


@enough_memory()
def fit(
    config: TrainingConfig, miner: Miner | None = None, redo: bool = False, continue_with: Sequence[str] = ()
) -> Path:
    """Train one network, or load it: a finished training is returned at once, an interrupted one is resumed.

    Args:
        config: what to train.
        miner: replaces the method's own miner; any ``(anchors, bank, exclude) -> Retrieval``.
        redo: train again if the folder holds a training made from something else; otherwise that is an error.
        continue_with: names of settings in which the interrupted training may differ, e.g. ``["lr"]``.

    Returns:
        The folder of the training: ``config.json``, ``environment.json``, ``fingerprint.json`` (what it is made from,
        see :mod:`cprlib.store.fingerprint`), ``videos.json`` (hashes of its training videos), ``metrics.jsonl`` (one
        line per epoch), ``mining.parquet`` (one part per epoch), ``memory/``, ``networks/`` if positives are mined
        (see :mod:`cprlib.training.snapshots`), ``tensorboard/``, ``checkpoint.pt`` and, once finished,
        ``metrics.json``.

    Raises:
        ValueError, FileNotFoundError: before training: what is wrong with the settings, the manifest, the cache or a
            checkpoint, or what the folder was made from instead.
        FloatingPointError: the loss is not finite.
    """
    if config.devices > ranks.size():
        return fit_on_devices("cprlib.training.fit:fit", config, miner, redo, continue_with)
    own_miner, miners = miner, phase_miners(config, config.K, miner)
    manifest = read_manifest(config)
    pairs = open_pairs(config, manifest)
    sampler = EpochSampler(len(pairs), config.batch_size, config.seed)
    config = replace(settle_siblings(config, miners[0], manifest), loss=config.loss_form)
    check_precision(config)
    clips = len(sampler) * sampler.batch_size  # of an epoch
    _check_queue_fills(config, miners[0], clips)
    state = new_state(config)
    state.most_taken = math.inf if own_miner else most_taken(config, manifest, clips)
    state.parallel = ranks.parallel(state.encoder, state.key_encoder)
    init = hash_weights(state.encoder.state_dict()) if config.init else None
    samplers = {view: hash_weights(sampler.state_dict()) for view, sampler in state.samplers.items()}
    fingerprint = training_fingerprint(config, manifest, own_miner, init=init, samplers=samplers)

    def one_epoch(phase: int, loader: DataLoader) -> tuple[dict, pd.DataFrame]:
        return train_epoch(config, state, loader, miners[phase])

    train = manifest.split("train")
    return run_epochs(config, state, (pairs, sampler), train, fingerprint, one_epoch, redo, continue_with)


def phase_miners(config: TrainingConfig, bank_size: int, miner: Miner | None = None) -> list[Miner | None]:
    """The miner of each phase of a training.

    Args:
        config: of the training.
        bank_size: K, rows of the memory.
        miner: the user's own, which decides how many rows it mines; None: the method's.

    Raises:
        ValueError: an impossible cascade, or phases together with the user's own miner.
    """
    if miner is not None and config.top_k_phases:
        raise ValueError(
            f"top_k_phases is {list(config.top_k_phases)}, but your own miner decides how many rows it mines; leave "
            "top_k_phases empty, or train one phase after the other"
        )
    cascade = config.num_stages, config.ratio
    return [
        miner or build_miner(config.method, config.views, bank_size, *cascade, top_k, config.keeps)
        for top_k in config.phases
    ]


def read_manifest(config: TrainingConfig) -> Manifest:
    """Read the manifest of a training and check that the files of its views exist.

    Raises:
        ValueError, FileNotFoundError: no manifest, no flow yet, or missing files.
    """
    return Manifest.read(resolve(config.manifest)).check_files(sources_of(config.views))


def open_pairs(
    config: Any, manifest: Manifest | None = None, views: tuple[Sequence[str], Sequence[str]] | None = None
) -> ClipPairs:
    """The training videos as pairs of clips, before photometric augmentation.

    Args:
        config: of a training.
        manifest: all videos; None: read it.
        views: of the query's clip and of the key's; no views: the clip is not read. None: the trained view, all views.

    Raises:
        ValueError, FileNotFoundError: no manifest, no flow yet, or no frame cache.
    """
    manifest = manifest or read_manifest(config)
    train = manifest.split("train")
    frames = open_frames(manifest, config.views, config.short_side, config.cache)
    shape = config.clip_len, config.clip_stride, config.clip_size
    return ClipPairs(train.table, train.source_codes, frames, *(views or ((config.view,), config.views)), *shape)


def new_state(config: TrainingConfig) -> TrainState:
    """Networks, queue and optimiser as they are before the first epoch."""
    device = pick_device(config.device)
    torch.manual_seed(config.seed)
    encoder = build_encoder(config.backbone, config.dim)
    if config.init:
        fresh, encoder = encoder, load_encoder(resolve(config.init), config.view).train()
        if [x.shape for x in encoder.parameters()] != [x.shape for x in fresh.parameters()]:
            raise ValueError(
                f"init: {config.init} is not a network with backbone {config.backbone!r} and dim {config.dim}; give "
                "the backbone and dim of its config.json"
            )
    encoder = encoder.to(device)
    samplers = {}
    for view, path in config.samplers.items():
        samplers[view] = load_encoder(resolve(path), view).to(device).requires_grad_(False)
    queue = FeatureQueue(config.K, config.dim, config.views).to(device)
    if config.channels_last:  # convolutions convert their inputs to the format of the weights
        for network in (encoder, *samplers.values()):
            network.to(memory_format=torch.channels_last_3d)
    key_encoder = momentum_copy(encoder)
    if config.compile:
        for network in (encoder, key_encoder, *samplers.values()):
            network.compile()
    optimizer = torch.optim.Adam(encoder.parameters(), config.lr, weight_decay=config.weight_decay, fused=True)
    return TrainState(encoder, key_encoder, samplers, queue, optimizer)


def training_fingerprint(config: Any, manifest: Manifest, miner: Callable | None = None, **weights: Any) -> Fingerprint:
    """What a training is made from: settings, training videos, flow, and the weights it starts from and mines with.

    Args:
        config: of the training.
        manifest: all videos.
        miner: the user's own, if there is one; identified by its name only.
        weights: their hashes, by what they are for.
    """
    order = list(weights.get("samplers", ()))  # the cascade's; that of VIEWS was not recorded in earlier versions
    return Fingerprint(
        {
            "settings": training_settings(config, miner is not None),
            "training videos": rows_of(config, manifest),
            "flow": view_contents(manifest.split("train"), sources_of(config.views)).get("flow"),
            "order of samplers": None if order == [v for v in VIEWS if v in order] else order,
            "miner": miner_name(miner) if miner else None,
            **weights,
        }
    )


def most_taken(config: TrainingConfig, manifest: Manifest, clips_per_epoch: int) -> int:
    """Upper bound on memory rows that are positive or ignored for one query: mined, or of its recording or class."""
    alike = "label" if METHODS[config.method].needs_labels else "source_id"
    visits = math.ceil(config.K / clips_per_epoch) + 1  # rows that one video can have in the memory
    return max(config.phases) + visits * int(manifest.split("train").table[alike].value_counts().max())


def rows_of(config: Any, manifest: Manifest) -> str:
    """The hash of the training videos; a training made before classes were known keeps its old hash."""
    found = Fingerprint.read(resolve(config.out))
    before = found.parts.get("training videos") if found and not METHODS[config.method].needs_labels else None
    return before if before and trained_on(before, manifest) else training_rows(manifest)


def miner_name(miner: Callable) -> str:
    """Module and name of a function, of an object's class, or of the function in a partial."""
    named = miner if hasattr(miner, "__qualname__") else getattr(miner, "func", type(miner))
    return f"{named.__module__}.{named.__qualname__}"


def check_same_videos(folder: str | Path, manifest: Manifest) -> None:
    """Raise if the training videos changed since a training: the video_ids in its logs then mean other videos.

    Args:
        folder: of a training; one without training videos (random, released) passes.
        manifest: all videos as they are now.

    Raises:
        ValueError: the training videos changed.
    """
    fingerprint = Fingerprint.read(resolve(folder))
    trained = fingerprint and fingerprint.parts.get("training videos")
    if trained and not trained_on(trained, manifest):
        raise ValueError(
            f"{resolve(folder)} was trained on other videos than the manifest lists now; run the pipeline, which "
            "trains again, or give the manifest that it was trained on"
        )


def settle_siblings(config: TrainingConfig, miner: Miner | None, manifest: Manifest) -> TrainingConfig:
    """Replace siblings "auto": by "ignore" if a recording spans several classes, else by "positive"."""
    if config.siblings != "auto" or miner is None:
        return config
    train = manifest.split("train").table
    spanning = int((train.groupby("source_id").label.nunique() > 1).sum())
    if spanning:
        print(
            f"{spanning} of {train.source_id.nunique()} recordings show several classes, so videos of one recording "
            "are left out of the loss (siblings: ignore)",
            flush=True,
        )
    return replace(config, siblings="ignore" if spanning else "positive")


def _check_queue_fills(config: TrainingConfig, miner: Miner | None, clips_per_epoch: int) -> None:
    """Raise if the queue never fills: nothing is mined, or trained, before it is full."""
    if miner is not None and config.K >= config.all_epochs * clips_per_epoch:
        raise ValueError(
            f"K: a queue of {config.K} rows never fills in {config.all_epochs} epochs of {clips_per_epoch} clips, so "
            "nothing would be trained; use a smaller K (at most the number of training videos) or more epochs"
        )
