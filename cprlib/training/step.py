"""One epoch and one step of contrastive training: encode, mine, pull and push, enqueue."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from cprlib.data.augmentation import PHOTOMETRIC_DRAWS, photometric, to_inputs
from cprlib.data.sampling import step_seed
from cprlib.encoders import Encoder, momentum_update
from cprlib.losses import LOSSES, contrastive_logits
from cprlib.memory import IDS, FeatureQueue
from cprlib.methods import METHODS
from cprlib.miners import Miner, label_positives, positives_mask
from cprlib.training import ranks
from cprlib.training.config import TrainingConfig
from cprlib.training.mining_log import log_table, mining_log
from cprlib.training.schedule import CHECKED, check_losses, decay
from cprlib.training.state import State


@dataclass
class TrainState(State):
    """The state of contrastive training.

    Attributes:
        encoder: the trained network.
        key_encoder: its momentum copy, which makes the keys.
        samplers: view -> frozen network; loaded from its own training, so not saved.
        queue: the memory.
        optimizer: of the encoder.
        epoch: finished epochs.
        parallel: the encoder wrapped for several processes, see :func:`cprlib.training.ranks.parallel`; None = itself.
        most_taken: upper bound on memory rows that are positive or ignored for one query.
    """

    encoder: Encoder
    key_encoder: Encoder
    samplers: dict[str, Encoder]
    queue: FeatureQueue
    optimizer: torch.optim.Optimizer
    epoch: int = 0
    parallel: nn.Module | None = None
    most_taken: float = math.inf

    @property
    def memory(self) -> FeatureQueue:
        """The memory that is mined: the queue."""
        return self.queue


def train_epoch(
    config: Any,
    state: State,
    loader: DataLoader,
    miner: Miner | None,
    step_of: Callable[..., tuple[Tensor | None, dict[str, Tensor] | None]] | None = None,
) -> tuple[dict, pd.DataFrame]:
    """One pass over the training videos.

    Args:
        config, state: of the training.
        loader: of batches of :class:`cprlib.data.sampling.ClipPairs`.
        miner: None without mining.
        step_of: the function of one step; None: :func:`train_step`.

    Returns:
        The epoch's metrics and its mining log, one row per mined row of every query.
    """
    lr = config.lr * decay(state.epoch % config.epochs, config.lr_milestones)
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    state.train()
    start, losses, logs, clips = time.monotonic(), [], [], 0
    for step, batch in enumerate(loader):  # losses stay on the device, so that the next step need not wait for them
        generator = torch.Generator().manual_seed(step_seed(config.seed, state.epoch, step, 0))  # for all processes
        loss, log = (step_of or train_step)(config, state, miner, batch, generator)
        clips += len(batch["video_id"]) * ranks.size()
        losses += [] if loss is None else [loss]
        logs.append(log)
        if step % CHECKED == CHECKED - 1:
            check_losses(losses[-CHECKED:], state.epoch)
    check_losses(losses, state.epoch)
    log, seconds = ranks.gathered_log(log_table(logs, state.epoch)), time.monotonic() - start
    return {
        "loss": float(ranks.gathered(torch.stack(losses).mean()[None]).mean()) if losses else None,
        "lr": lr,
        "pmr": float(log.groupby(["step", "query"])["correct"].mean().mean()) if len(log) else None,
        "mining_r1": float(log["correct"][log["rank"] == 0].mean()) if len(log) else None,
        "clips_per_s": round(clips / seconds, 2),
        "seconds": round(seconds, 2),
    }, log


def train_step(
    config: TrainingConfig, state: TrainState, miner: Miner | None, batch: dict, generator: torch.Generator
) -> tuple[Tensor | None, dict[str, Tensor] | None]:
    """One step: encode, mine, pull and push, enqueue.

    Args:
        config, state: of the training.
        miner: None without mining (InfoNCE, UberNCE).
        batch: of :class:`cprlib.data.sampling.ClipPairs`.
        generator: CPU generator of the step's random draws.

    Returns:
        The loss (scalar; None while a miner's queue is not full, or if no row is a negative) and the step's mining
        log (None if nothing was mined).
    """
    view, queue = config.view, state.queue
    device = queue.enqueued.device
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")

    def encode(side: str, encoders: Mapping[str, Encoder]) -> dict[str, Tensor]:
        """View -> (B, D) features of the query's or the key's clips."""
        inputs = network_inputs(batch[side], tuple(encoders), batch[f"strong_{side}"], generator, device)
        features = {}
        for name, encoder in encoders.items():
            shuffled = generator if encoder is state.key_encoder else None
            with autocast:
                features[name] = encode_in_groups(encoder, inputs[name], config.bn_groups, shuffled)
        return features

    with torch.no_grad():
        keys = encode("k", {**state.samplers, view: state.key_encoder})
    ids = ids_of(batch, device)
    loss = log = None
    # Mining a half-empty memory gives noise, so wait until it is full; InfoNCE only lacks some negatives until then.
    if queue.is_full or miner is None:
        q = encode("q", {view: state.parallel or state.encoder})[view]
        anchors = keys if config.anchor == "paper" else {**keys, view: q.detach()}
        positives, ignored, log = find_positives(config, queue, miner, anchors, ids, generator)
        if has_negatives(state, positives, ignored):  # without negatives there is nothing to learn
            logits = contrastive_logits(q, keys[view], queue.features[view], config.tau)
            logits[:, 1:] = logits[:, 1:].masked_fill(ignored, -float("inf"))
            loss = LOSSES[config.loss_form](logits, positives)
            optimise(state, loss)
            momentum_update(state.encoder, state.key_encoder, config.momentum)
    whole = {name: ranks.gathered(keys[name]) for name in queue.views}
    queue.enqueue(whole, **{name: ranks.gathered(values) for name, values in ids.items()})
    return (None if loss is None else loss.detach()), log


def network_inputs(
    clips: Mapping[str, Tensor],
    views: Sequence[str],
    strong: Tensor,
    generator: torch.Generator,
    device: torch.device,
    photometry: Callable[[Tensor, torch.Generator], Tensor] = photometric,
    draws: int = PHOTOMETRIC_DRAWS,
) -> dict[str, Tensor]:
    """The inputs of a batch, as of :func:`cprlib.data.augmentation.to_inputs`, on a device.

    Args:
        clips, views, strong, generator, photometry: as of `to_inputs`; every process has its part of the batch.
        device: of the networks.
        draws: random numbers that `photometry` takes per clip.
    """
    there = {source: x.to(device, non_blocking=True) for source, x in clips.items()}
    with ranks.own_draws(generator, strong, draws if "rgb" in there else 0):
        return to_inputs(there, views, strong, generator, photometry)


def ids_of(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The ids of a batch's videos, (B,) int64 each, on a device."""
    return {name: batch[name].to(device, non_blocking=True) for name in IDS}


def has_negatives(state: TrainState, positives: Tensor, ignored: Tensor) -> bool:
    """Whether any memory row is a negative of any query; the masks are read only if the row count leaves it open."""
    if min(state.queue.count, state.queue.size) > state.most_taken:
        return True
    return bool(ranks.gathered((~positives[:, 1:] & ~ignored).any(dim=1)).any())


def encode_in_groups(
    encoder: nn.Module, clips: Tensor, groups: int, generator: torch.Generator | None = None
) -> Tensor:
    """Encode a batch in groups with separate batch statistics, as if every group lay on its own GPU.

    MoCo groups the keys differently from the queries ("shuffling BN"): a network could recognise a key by the batch
    statistics it shares with its query, without learning anything about the video.

    Args:
        encoder: clips (B, 3, T, H, W) → (B, D).
        clips: (B, 3, T, H, W) float.
        groups: 1 = the whole batch together; at most B / 2, as one clip has no statistics.
        generator: shuffles the clips before grouping; the order is restored afterwards. None = no shuffle.

    Returns:
        (B, D) float, in the order of `clips`.
    """
    groups = min(groups, len(clips) // 2)
    if groups < 2 or not encoder.training:
        return encoder(clips)
    if generator is None:
        return torch.cat([encoder(part) for part in clips.chunk(groups)])
    order = torch.randperm(len(clips), generator=generator).to(clips.device, non_blocking=True)
    return torch.cat([encoder(part) for part in clips[order].chunk(groups)])[order.argsort()]


def find_positives(
    config: TrainingConfig,
    queue: FeatureQueue,
    miner: Miner | None,
    anchors: Mapping[str, Tensor],
    ids: Mapping[str, Tensor],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, dict[str, Tensor] | None]:
    """The positive set P of every query, and the rows that are neither positive nor negative.

    Returns:
        (B, 1 + K) bool, column 0 the query's own key; (B, K) bool; and the step's mining log, None without a miner.
    """
    siblings, own = queue.siblings(ids["source_id"]), queue.own_rows(ids["video_id"])
    rows, ignored, log = torch.zeros_like(own), (~queue.filled).expand_as(own), None
    if miner is not None:
        mined = miner(anchors, queue.features, siblings | own | ignored)
        log = mining_log(mined, queue, ids)
        rows = positives_mask(mined, queue.size)
        if config.siblings == "positive":
            rows = rows | siblings
        elif config.siblings == "ignore":
            ignored = ignored | siblings
    elif METHODS[config.method].needs_labels:
        rows = label_positives(ids["label"], queue.label)
    if config.own_rows == "ignore":
        ignored = ignored | (own & ~rows)
    key = torch.ones_like(own[:, :1])
    drops = miner is not None and torch.rand((), generator=generator) < config.drop_self_positive
    return torch.cat([~rows.any(dim=1, keepdim=True) if drops else key, rows], dim=1), ignored, log


def optimise(state: Any, loss: Tensor) -> None:
    """One optimiser step."""
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    state.optimizer.step()
