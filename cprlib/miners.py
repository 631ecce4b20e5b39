"""Miners: anchors and memory in, positives out. What tells InfoNCE, UberNCE, CoCLR and CPR apart.

A miner is a function ``(anchors, bank, exclude) -> Retrieval``. It sees features and which rows are forbidden, never a
label; UberNCE, the supervised upper bound, is therefore no miner but :func:`label_positives`.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from cprlib.cascade import Retrieval, cascade_retrieve, plan_stages

Miner = Callable[[Mapping[str, Tensor], Mapping[str, Tensor], Tensor], Retrieval]
METHODS = ("infonce", "ubernce", "coclr", "cpr")


def build_miner(
    method: str, views: Sequence[str], bank_size: int, num_stages: int = 7, ratio: float = 0.5, top_k: int = 5
) -> Miner | None:
    """The miner of a method.

    Args:
        method: one of :data:`METHODS`.
        views: those of the stages in turn: the frozen networks' views, then the trained one's.
        bank_size: K, rows of the memory.
        num_stages: of CPR; CoCLR always takes one, in ``views[0]``.
        ratio: share of the rows that a stage of CPR keeps.
        top_k: positives per query.

    Returns:
        The miner, or None for the methods that mine nothing (InfoNCE, UberNCE).

    Raises:
        ValueError: unknown method, too few views, or an impossible cascade.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; choose one of {METHODS}")
    if method in ("infonce", "ubernce"):
        return None
    if len(views) < 2:
        raise ValueError(
            f"{method} mines in another view, but the only view is {list(views)}; give it a frozen sampler"
        )
    stages = plan_stages(bank_size, views, num_stages if method == "cpr" else 1, ratio, top_k)

    def mine(anchors: Mapping[str, Tensor], bank: Mapping[str, Tensor], exclude: Tensor) -> Retrieval:
        return cascade_retrieve(anchors, bank, stages, exclude)

    return mine


def positives_mask(retrieval: Retrieval, bank_size: int) -> Tensor:
    """Mark the mined rows: (B, K) bool."""
    mask = torch.zeros(len(retrieval.indices), bank_size, dtype=torch.bool, device=retrieval.indices.device)
    return mask.scatter_(1, retrieval.indices, retrieval.valid)


def label_positives(label: Tensor, bank_label: Tensor) -> Tensor:
    """UberNCE's positives: the rows of the same class. (B,) int and (K,) int → (B, K) bool."""
    return label[:, None] == bank_label[None, :]
