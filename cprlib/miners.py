"""Miners turn anchors and memory into positives: how InfoNCE, UberNCE, CoCLR and CPR differ.

A miner is a function ``(anchors, bank, exclude) -> Retrieval``. It sees features and which rows are excluded, never a
label; so UberNCE, the supervised upper bound, uses :func:`label_positives` instead of a miner. :mod:`cprlib.methods`
names the methods; their builders here take (bank_size, views, num_stages, ratio, top_k, keeps).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from cprlib.cascade import Retrieval, Stage, cascade_retrieve, plan_stages

if TYPE_CHECKING:
    from torch import Tensor

Miner = Callable[..., Retrieval]  # (anchors, bank, exclude)


def coclr(
    bank_size: int, views: Sequence[str], num_stages: int, ratio: float, top_k: int, keeps: Sequence[float] = ()
) -> Miner:
    """CoCLR: a cascade of one stage, in the first view (the frozen network's)."""
    return cascade(plan_stages(bank_size, views, 1, ratio, top_k))


def cpr(
    bank_size: int, views: Sequence[str], num_stages: int, ratio: float, top_k: int, keeps: Sequence[float] = ()
) -> Miner:
    """CPR: a cascade of `num_stages` stages, or as `keeps` says, with alternating views (section 3.2)."""
    return cascade(plan_stages(bank_size, views, num_stages, ratio, top_k, keeps))


def cascade(stages: Sequence[Stage]) -> Miner:
    """The miner that follows a plan of stages."""

    def mine(anchors: Mapping[str, Tensor], bank: Mapping[str, Tensor], exclude: Tensor) -> Retrieval:
        return cascade_retrieve(anchors, bank, stages, exclude)

    return mine


def fusion(top_k: int) -> Miner:
    """Mine the rows with the largest sum of similarities over all views, in place of a cascade.

    Not a method of the papers. Use it as ``fit(config, miner=fusion(5))``; docs/results.md says what it mines and what
    that is worth.
    """

    def mine(anchors: Mapping[str, Tensor], bank: Mapping[str, Tensor], exclude: Tensor) -> Retrieval:
        similar = sum(anchors[view] @ bank[view].T for view in bank)
        best, rows = similar.masked_fill(exclude, -float("inf")).topk(top_k, dim=1)
        return Retrieval(rows, best > -float("inf"), (rows,))

    return mine


def positives_mask(retrieval: Retrieval, bank_size: int) -> Tensor:
    """Mark the mined rows: (B, K) bool."""
    mask = retrieval.valid.new_zeros(len(retrieval.indices), bank_size)
    return mask.scatter_(1, retrieval.indices, retrieval.valid)


def label_positives(label: Tensor, bank_label: Tensor) -> Tensor:
    """UberNCE's positives: the rows of the same class. (B,) int and (K,) int → (B, K) bool."""
    return label[:, None] == bank_label[None, :]
