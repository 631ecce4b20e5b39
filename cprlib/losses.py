"""The contrastive losses: one positive (InfoNCE), several (multi-instance InfoNCE, supervised), and plain NCE."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def contrastive_logits(q: Tensor, k: Tensor, negatives: Tensor, tau: float = 0.07) -> Tensor:
    """Similarities of each query to its own key and to the memory, divided by the temperature.

    Args:
        q: (B, D) float query features, L2-normalised.
        k: (B, D) float features of the augmented copies, L2-normalised.
        negatives: (K, D) float memory, L2-normalised.
        tau: temperature, > 0.

    Returns:
        (B, 1 + K) float logits; column 0 is the query's own key.
    """
    own = (q * k).sum(1, keepdim=True)
    return torch.cat([own, q @ negatives.T], dim=1) / tau


def info_nce(q: Tensor, k: Tensor, negatives: Tensor, tau: float = 0.07) -> Tensor:
    """InfoNCE (Eq. 1): the augmented copy is the only positive.

    Args:
        q: (B, D) float query features, L2-normalised.
        k: (B, D) float key features, L2-normalised.
        negatives: (K, D) float memory, L2-normalised.
        tau: temperature, > 0.

    Returns:
        Scalar, the mean loss.
    """
    logits = contrastive_logits(q, k, negatives, tau)
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))


def supervised_nce(logits: Tensor, positives: Tensor) -> Tensor:
    """The loss of the released UberNCE: the mean over the positives of their own cross-entropies.

    Each positive is pulled on its own, whereas in Eq. 2 one near positive is enough.

    Args, Returns, Raises:
        As :func:`multi_instance_nce`.
    """
    _check_positives(logits, positives)
    log_p = logits.log_softmax(dim=1).masked_fill(~positives, 0.0)
    return -(log_p.sum(dim=1) / positives.sum(dim=1)).mean()


def multi_instance_nce(logits: Tensor, positives: Tensor) -> Tensor:
    """Multi-instance InfoNCE (Eq. 2), as a difference of log-sum-exps, so that nothing underflows.

    Args:
        logits: (B, 1 + K) float, similarities already divided by tau; -inf for rows that do not count.
        positives: (B, 1 + K) bool, True for the positives; every row has at least one.

    Returns:
        Scalar, the mean loss.

    Raises:
        ValueError: shapes differ, or a query has no positive.
    """
    _check_positives(logits, positives)
    pulled = logits.masked_fill(~positives, -float("inf"))
    return (logits.logsumexp(dim=1) - pulled.logsumexp(dim=1)).mean()


def noise_contrastive(logits: Tensor, positives: Tensor, rows: int, tau: float, dim: int) -> Tensor:
    """Noise-contrastive estimation, the original form of instance discrimination: is a row data or noise?

    Row j has probability P(j) = exp(logit_j) / Z; against m rows drawn from all, it is data with probability
    P / (P + m / rows). The sum over positives replaces P of the one positive, as in Eq. 2. Z is fixed at its value
    for random features of length 1: rows · exp(1 / (2 · dim · tau²)).

    Args:
        logits: (B, C) float, similarities already divided by tau; -inf for rows that do not count.
        positives: (B, C) bool, True for the positives; every query has at least one.
        rows: rows of the bank that negatives are drawn from.
        tau: temperature, > 0.
        dim: D, length of a feature.

    Returns:
        Scalar, the mean loss.

    Raises:
        ValueError: shapes differ, or a query has no positive.
    """
    _check_positives(logits, positives)
    negatives = ~positives & (logits > -float("inf"))
    log_z = math.log(rows) + 1 / (2 * dim * tau**2)
    offset = log_z + negatives.sum(dim=1, keepdim=True).clamp(min=1).log() - math.log(rows)
    pulled = logits.masked_fill(~positives, -float("inf")).logsumexp(dim=1, keepdim=True) - offset
    pushed = F.logsigmoid(offset - logits).masked_fill(~negatives, 0.0)
    return -(F.logsigmoid(pulled).squeeze(1) + pushed.sum(dim=1)).mean()


def _check_positives(logits: Tensor, positives: Tensor) -> None:
    if logits.shape != positives.shape or positives.dtype != torch.bool:
        raise ValueError(
            f"positives is {positives.dtype} {tuple(positives.shape)}; "
            f"it must be bool {tuple(logits.shape)} like the logits"
        )
    if positives.device.type == "cpu" and not positives.any(dim=1).all():  # on a GPU this would wait
        raise ValueError("a query has no positive; keep its own key (column 0) as one")


LOSSES = {"multi_instance": multi_instance_nce, "supervised": supervised_nce}
