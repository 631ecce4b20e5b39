"""One epoch and one step of contrastive training: encode, mine, pull and push, enqueue."""

import time
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from cprlib.cascade import Retrieval
from cprlib.data.augmentation import to_input
from cprlib.data.sampling import step_seed
from cprlib.encoders import Encoder, momentum_update
from cprlib.losses import contrastive_logits, multi_instance_nce
from cprlib.memory import FeatureQueue
from cprlib.methods import build_miner
from cprlib.miners import Miner, label_positives, positives_mask
from cprlib.training.config import TrainingConfig
from cprlib.training.schedule import decay

SAVED = ("encoder", "key_encoder", "queue", "optimizer")


@dataclass
class State:
    """All that changes during training."""

    encoder: Encoder
    key_encoder: Encoder
    samplers: dict[str, Encoder]
    queue: FeatureQueue
    optimizer: torch.optim.Optimizer
    epoch: int = 0

    def state_dict(self) -> dict:
        """What a checkpoint must hold; the frozen samplers are read again from their own runs."""
        return {"epoch": self.epoch, **{name: getattr(self, name).state_dict() for name in SAVED}}

    def load_state_dict(self, saved: dict) -> None:
        """Take back what :meth:`state_dict` gave."""
        for name in SAVED:
            getattr(self, name).load_state_dict(saved[name])
        self.epoch = saved["epoch"]


def train_epoch(config: TrainingConfig, state: State, loader: DataLoader) -> tuple[dict, pd.DataFrame]:
    """One pass over the training videos.

    Returns:
        The epoch's metrics and its mining log: a row for every mined row of every query.
    """
    lr = config.lr * decay(state.epoch, config.lr_milestones)
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    miner = build_miner(config.method, config.views, config.K, config.num_stages, config.ratio, config.top_k)
    state.encoder.train()
    state.key_encoder.train()
    start, losses, logs, clips = time.monotonic(), [], [], 0
    for step, batch in enumerate(loader):
        generator = torch.Generator().manual_seed(step_seed(config.seed, state.epoch, step))
        loss, log = train_step(config, state, miner, batch, generator)
        clips += len(batch["video_id"])
        if loss is not None:
            losses.append(loss)
        if log is not None:
            logs.append(log.assign(epoch=state.epoch, step=step))
    seconds = time.monotonic() - start
    log = pd.concat(logs) if logs else pd.DataFrame()
    return {
        "loss": float(torch.stack(losses).mean()) if losses else None,
        "lr": lr,
        "pmr": float(log.groupby(["step", "query"])["correct"].mean().mean()) if logs else None,
        "mining_r1": float(log["correct"][log["rank"] == 0].mean()) if logs else None,
        "clips_per_s": round(clips / seconds, 2),
        "seconds": round(seconds, 2),
    }, log


def train_step(
    config: TrainingConfig, state: State, miner: Miner | None, batch: dict, generator: torch.Generator
) -> tuple[Tensor | None, pd.DataFrame | None]:
    """One step: encode, mine, pull and push, enqueue.

    Returns:
        The loss (scalar, None while a miner's queue is not full yet) and the mining log's rows (None if none).
    """
    view, queue = config.view, state.queue
    device = queue.enqueued.device
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")
    strong = {"q": batch["strong_q"], "k": batch["strong_k"]}

    def encode(encoder: Encoder, side: str, side_view: str) -> Tensor:
        clips = to_input(batch[side][side_view].to(device, non_blocking=True), side_view, strong[side], generator)
        with autocast:
            return encoder(clips)

    with torch.no_grad():
        keys = {other: encode(sampler, "k", other) for other, sampler in state.samplers.items()}
        keys[view] = encode(state.key_encoder, "k", view)
    ids = {name: batch[name].to(device) for name in ("video_id", "source_id", "label")}
    loss = log = None
    # A half-empty memory mines noise, so nothing is learned before it is full; InfoNCE only lacks negatives then.
    if queue.is_full or config.method == "infonce":
        q = encode(state.encoder, "q", view)
        anchors = keys if config.anchor == "paper" else {**keys, view: q.detach()}
        positives, log = find_positives(config, queue, miner, anchors, ids, generator)
        logits = contrastive_logits(q, keys[view], queue.features[view], config.tau)
        logits[:, 1:] = logits[:, 1:].masked_fill(~queue.filled, -float("inf"))
        loss = multi_instance_nce(logits, positives)
        _optimise(state, loss)
        momentum_update(state.encoder, state.key_encoder, config.momentum)
    queue.enqueue({name: keys[name] for name in queue.views}, **ids)
    return (None if loss is None else loss.detach()), log


def find_positives(
    config: TrainingConfig,
    queue: FeatureQueue,
    miner: Miner | None,
    anchors: dict,
    ids: dict,
    generator: torch.Generator,
) -> tuple[Tensor, pd.DataFrame | None]:
    """The positive set P of every query.

    Returns:
        (B, 1 + K) bool, column 0 the own key; and the mining log's rows, None without a miner.
    """
    own = torch.ones(len(ids["label"]), 1, dtype=torch.bool, device=ids["label"].device)
    if config.method == "infonce":
        return torch.cat([own, own.new_zeros(len(own), queue.size)], dim=1), None
    rows, log = queue.siblings(ids["source_id"]), None
    if miner is None:
        rows = rows | label_positives(ids["label"], queue.label)
    else:
        mined = miner(anchors, queue.features, rows | ~queue.filled)
        log = mining_log(mined, queue, ids)
        rows = rows | positives_mask(mined, queue.size)
    if torch.rand((), generator=generator) < config.drop_self_positive:
        own = ~rows.any(dim=1, keepdim=True)
    return torch.cat([own, rows], dim=1), log


def mining_log(mined: Retrieval, queue: FeatureQueue, ids: dict[str, Tensor]) -> pd.DataFrame:
    """One row for each mined row: who asked, its rank, which video was found, whether it is of the same class."""
    query, rank = mined.valid.nonzero(as_tuple=True)
    rows = mined.indices[query, rank]
    columns = {
        "query": ids["video_id"][query],
        "rank": rank,
        "mined": queue.video_id[rows],
        "query_label": ids["label"][query],
        "mined_label": queue.label[rows],
        "query_source": ids["source_id"][query],
        "mined_source": queue.source_id[rows],
    }
    columns["correct"] = columns["query_label"] == columns["mined_label"]
    return pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()})


def _optimise(state: State, loss: Tensor) -> None:
    if not torch.isfinite(loss):
        raise FloatingPointError(
            f"the loss became {loss.item()} in epoch {state.epoch}; lower lr, or use precision fp32; "
            "the checkpoint of the epoch before is kept"
        )
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    state.optimizer.step()
