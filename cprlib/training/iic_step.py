"""One step of IIC: encode both views and a disordered clip, compare with the banks, update their rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from cprlib.data.disorder import DISORDERS
from cprlib.encoders import Encoder
from cprlib.losses import multi_instance_nce, noise_contrastive
from cprlib.memory import InstanceBank
from cprlib.miners import Miner, positives_mask
from cprlib.training import ranks
from cprlib.training.mining_log import mining_log
from cprlib.training.state import State
from cprlib.training.step import ids_of, network_inputs, optimise


@dataclass
class IICState(State):
    """The state of a training with banks.

    Attributes:
        encoder: the network of both views.
        memory: one row per training video in each view.
        disordered: the same for the intra-negatives, as the view "intra".
        optimizer: of the encoder.
        epoch: finished epochs.
        parallel: makes the features in training, see :func:`cprlib.training.ranks.parallel`.
    """

    encoder: Encoder
    memory: InstanceBank
    disordered: InstanceBank
    optimizer: torch.optim.Optimizer
    epoch: int = 0
    parallel: nn.Module | None = None


class Embedding(nn.Module):
    """L2-normalised features (B, D) of clips (B, 3, T, H, W) of one view.

    Args:
        encoder: of both views.
        standardise: give every dimension mean 0 and variance 1 over the batch before normalising.
    """

    def __init__(self, encoder: Encoder, standardise: bool):
        super().__init__()
        self.encoder = encoder
        norm = nn.BatchNorm1d(encoder.dim, affine=False, track_running_stats=False)
        self.over_batch = norm if standardise else nn.Identity()

    def forward(self, clips: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) float → (B, D) float."""
        return normalize(self.over_batch(self.encoder.head(self.encoder.features(clips)).float()), dim=1)


def train_step(
    config: Any, state: IICState, miner: Miner | None, batch: dict, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor] | None]:
    """One step.

    Args:
        config: :class:`cprlib.training.iic.IICConfig`.
        state: of the training.
        miner: None without mining (IIC).
        batch: of :func:`cprlib.training.iic.open_clips`.
        generator: CPU generator of the step's random draws.

    Returns:
        The loss (scalar), the sum over both views, and the step's mining log (None if nothing was mined).
    """
    device = state.memory.video_id.device
    inputs = network_inputs(batch["q"], config.views, batch["strong_q"], generator, device)
    if config.intra != "none":
        inputs["intra"] = DISORDERS[config.intra](inputs[config.view], generator, ranks.size(), ranks.rank())
    with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        features = {view: state.parallel(x) for view, x in inputs.items()}
    ids = ids_of(batch, device)
    positives, counted, log = choose_rows(config, state, miner, ids, generator)
    crosswise = config.views, config.views[::-1]
    loss = sum(_loss(config, state, features[a], b, positives, counted) for a, b in crosswise)
    optimise(state, loss)
    rows = state.memory.rows_of(ranks.gathered(ids["video_id"]))
    whole = {view: ranks.gathered(x).detach() for view, x in features.items()}
    state.memory.update({view: whole[view] for view in config.views}, rows, config.bank_momentum)
    if "intra" in whole:
        state.disordered.update({"intra": whole["intra"]}, rows, config.bank_momentum)
    return loss.detach(), log


def choose_rows(
    config: Any, state: IICState, miner: Miner | None, ids: Mapping[str, Tensor], generator: torch.Generator
) -> tuple[Tensor, Tensor, dict[str, Tensor] | None]:
    """The rows that every query is compared with: those of the video bank, then those of the disordered clips.

    The anchor of a query is its own bank row, a mean of the video's earlier features. The first epoch only fills the
    banks; queries without a filled row mine nothing, and unfilled rows are never mined.

    Returns:
        (B, 2N) bool positives; (B, 2N) bool positives and negatives; and the step's mining log, None without mining.
    """
    bank = state.memory
    own, siblings = bank.own_rows(ids["video_id"]), bank.siblings(ids["source_id"])
    drawn, log, positives = _draw(own, config.negatives, generator), None, own
    disordered = (own | drawn) & (config.intra != "none")
    if miner is not None and state.epoch:
        rows = bank.rows_of(ids["video_id"])
        anchors = {view: features[rows] for view, features in bank.features.items()}
        mined = miner(anchors, bank.features, siblings | own | ~bank.filled | ~bank.filled[rows][:, None])
        log, positives = mining_log(mined, bank, ids), own | positives_mask(mined, bank.size)
        if config.siblings == "positive":
            positives = positives | siblings
        elif config.siblings == "ignore":
            drawn = drawn & ~siblings
    none = torch.zeros_like(own)
    return torch.cat([positives, none], dim=1), torch.cat([positives | drawn, disordered], dim=1), log


def _draw(own: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Draw `number` rows for each query, never its own: (B, N) bool."""
    chances = ranks.own_part(torch.rand(len(own) * ranks.size(), own.shape[1], generator=generator))
    chances = chances.to(own.device, non_blocking=True).masked_fill(own, -1.0)
    drawn = chances.topk(min(number, own.shape[1] - 1), dim=1).indices
    return torch.zeros_like(own).scatter_(1, drawn, True)


def _loss(config: Any, state: IICState, q: Tensor, view: str, positives: Tensor, counted: Tensor) -> Tensor:
    """Loss of features (B, D) of one view against the banks of the other, `view`, and of the disordered clips."""
    bank = torch.cat([state.memory.features[view], state.disordered.features["intra"]])
    logits = (q @ bank.T / config.tau).masked_fill(~counted, -float("inf"))
    if config.loss == "nce":
        return noise_contrastive(logits, positives, state.memory.size, config.tau, config.dim)
    return multi_instance_nce(logits, positives)
