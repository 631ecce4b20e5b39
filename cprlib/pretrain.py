"""Contrastive pre-training: one model and a miner make InfoNCE, UberNCE, CoCLR or CPR."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from cprlib.cascade import plan_stages
from cprlib.checkpoints import CHECKPOINT, load_checkpoint, load_encoder, save_checkpoint
from cprlib.data.clips import ClipPairs, EpochSampler
from cprlib.data.manifest import Manifest
from cprlib.data.store import open_frames
from cprlib.encoders import build_encoder, momentum_copy
from cprlib.memory import FeatureQueue
from cprlib.miners import METHODS, build_miner
from cprlib.parameters import check_types
from cprlib.runs import atomic_path, is_finished, open_run, progress, read_json, resolve, write_json
from cprlib.snapshots import SNAPSHOTS, write_memory
from cprlib.training import PRECISIONS, State, pick_device, train_epoch


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides the result of one training run. Defaults: the CPR paper on UCF101.

    Attributes:
        manifest: path of the manifest, with flow where a flow view is used.
        out: run folder.
        view: the view that is trained, "rgb" or "flow".
        method: "infonce", "ubernce", "coclr" or "cpr".
        samplers: frozen networks to mine with: view -> run folder.
        init: run folder whose network training starts from; None = random weights.
        backbone, dim: see :func:`cprlib.encoders.build_encoder`.
        clip_len, clip_stride, clip_size: T frames, step between them, side of the crop in pixels.
        short_side: short side in pixels that videos are read at; 0 = as they are.
        cache: decode all videos once into this folder at `short_side`; None = decode at every visit.
        batch_size, epochs, lr, weight_decay: Adam.
        lr_milestones: epochs at which the rate falls to a tenth.
        K, tau, momentum: queue size, temperature, momentum of the key encoder (MoCo).
        num_stages, ratio, top_k: the cascade; CoCLR uses top_k alone.
        anchor: what looks for positives; "paper": the key in every view; "released": the query in the trained view.
        drop_self_positive: probability that the own key leaves the positives of a step when there are others.
        seed, device: of all draws; "auto" takes a GPU if there is one.
        precision, workers: "fp32" or "bf16"; loader processes.
    """

    manifest: str
    out: str
    view: str = "rgb"
    method: str = "infonce"
    samplers: Mapping[str, str] = field(default_factory=dict)
    init: str | None = None
    backbone: str = "s3d"
    dim: int = 128
    clip_len: int = 32
    clip_stride: int = 1
    clip_size: int = 128
    short_side: int = 128
    cache: str | None = None
    batch_size: int = 32
    epochs: int = 100
    lr: float = 1e-3
    weight_decay: float = 1e-5
    lr_milestones: tuple[int, ...] = (80,)
    K: int = 2048
    tau: float = 0.07
    momentum: float = 0.999
    num_stages: int = 7
    ratio: float = 0.5
    top_k: int = 5
    anchor: str = "paper"
    drop_self_positive: float = 0.9
    seed: int = 0
    device: str = "auto"
    precision: str = "fp32"
    workers: int = 0

    def __post_init__(self):
        check_types(self)
        choices = {
            "view": ("rgb", "flow"),
            "method": METHODS,
            "anchor": ("paper", "released"),
            "precision": PRECISIONS,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: {getattr(self, name)!r} is not one of {', '.join(allowed)}")
        for name in (
            "dim",
            "clip_len",
            "clip_stride",
            "clip_size",
            "batch_size",
            "epochs",
            "lr",
            "K",
            "tau",
            "top_k",
            "num_stages",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: {getattr(self, name)} must be greater than 0")
        for name in ("momentum", "drop_self_positive"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: {getattr(self, name)} must lie between 0 and 1")
        if self.view in self.samplers:
            raise ValueError(
                f"samplers: {self.view!r} is the view that is trained; name frozen networks of other views"
            )
        if self.method in ("coclr", "cpr"):  # an impossible cascade ends here
            plan_stages(self.K, self.views, self.num_stages if self.method == "cpr" else 1, self.ratio, self.top_k)

    @property
    def views(self) -> tuple[str, ...]:
        """The order in which a cascade looks: the frozen networks' views first, the trained one last."""
        return (*self.samplers, self.view)


def fit(config: PretrainConfig) -> Path:
    """Train one network, or load it: a finished run is returned at once, an interrupted one goes on where it was.

    Args:
        config: what to train.

    Returns:
        The run folder: ``config.json``, ``environment.json``, ``videos.json`` (a fingerprint of the training videos),
        ``metrics.jsonl`` (a line an epoch), ``mining.parquet`` (a part an epoch), ``memory/`` (see
        :mod:`cprlib.snapshots`), ``checkpoint.pt`` and, once finished, ``metrics.json``.

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


def open_pairs(config: PretrainConfig) -> ClipPairs:
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


def new_state(config: PretrainConfig) -> State:
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
    optimizer = torch.optim.Adam(encoder.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    return State(encoder, momentum_copy(encoder), samplers, queue, optimizer)


def check_same_videos(folder: str | Path, rows: np.ndarray) -> None:
    """A network is of the videos that it was trained on; of others it is neither loaded, trained on nor drawn.

    Args:
        folder: run folder of a network; one without ``videos.json`` passes.
        rows: the training videos now, see :func:`cprlib.data.clips.video_rows`.

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


def _check_queue_fills(config: PretrainConfig, clips_per_epoch: int) -> None:
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
