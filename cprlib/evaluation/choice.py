"""Choose a cascade without labels: rank plans by how well all views agree on the rows they mine.

A memory shows what every plan would mine. Mined rows are similar in the view of the last stage; whether they are
similar in *every* view shows how far the plan can be trusted. No label is read, so this works on any videos.
"""

from collections.abc import Mapping, Sequence
from itertools import permutations

import pandas as pd
import torch
from torch import Tensor

from cprlib.cascade import Retrieval, Stage, cascade_retrieve, plan_stages
from cprlib.training.snapshots import Memory

MOST = 512  # queries, evenly spaced rows of the memory


def agreement(memory: Memory, stages: Sequence[Stage]) -> float:
    """How similar mined rows are in every view: standard deviations above the other rows, mean over views and queries.

    Queries are the rows of the memory, or :data:`MOST` evenly spaced ones; they mine rows of other recordings.

    Args:
        memory: of a training, see :func:`cprlib.training.snapshots.read_memory`; its labels are not read.
        stages: of a cascade over its views.

    Returns:
        0 for random rows; the larger, the more the views agree. Compare only plans of equal top_k: fewer rows agree
        more.
    """
    return _agreement(memory, stages, *_standardised(memory))


def rank_plans(
    memory: Memory,
    num_stages: Sequence[int] = (1, 2, 3, 4, 5, 7),
    ratios: Sequence[float] = (0.3, 0.5, 0.7, 0.85),
    top_ks: Sequence[int] = (5,),
) -> pd.DataFrame:
    """All plans of a grid that are possible in a memory, by decreasing agreement of the views.

    Args:
        memory: of a training.
        num_stages, ratios, top_ks: the grid; every order of the memory's views is tried, and each single view once.

    Returns:
        Columns order (views, joined by " → "), num_stages, ratio (NaN for one stage), top_k, agreement.
    """
    queries, scores = _standardised(memory)
    rows = []
    for top_k in top_ks:
        for order, count, ratio in _grid(tuple(memory.features), num_stages, ratios):
            try:
                stages = plan_stages(len(memory.label), order, count, ratio or 0.5, top_k)
            except ValueError:  # impossible in a memory of this size
                continue
            rows.append((" → ".join(order), count, ratio, top_k, _agreement(memory, stages, queries, scores)))
    table = pd.DataFrame(rows, columns=["order", "num_stages", "ratio", "top_k", "agreement"])
    return table.sort_values("agreement", ascending=False, ignore_index=True)


def stages_of(plan: Mapping, bank_size: int) -> tuple[Stage, ...]:
    """The stages of a row of :func:`rank_plans`."""
    ratio = 0.5 if pd.isna(plan["ratio"]) else plan["ratio"]
    return plan_stages(bank_size, plan["order"].split(" → "), int(plan["num_stages"]), ratio, int(plan["top_k"]))


def true_share(memory: Memory, stages: Sequence[Stage]) -> float:
    """PMR of the same queries, in [0, 1], to check how well agreement predicts it; this function reads labels."""
    return float(mine_memory(memory, stages, spaced_rows(len(memory.label)))[2].nanmean())


def mine_memory(
    memory: Memory, stages: Sequence[Stage], queries: Tensor, in_order: bool = False
) -> tuple[Retrieval, Tensor, Tensor]:
    """Mine a memory with some of its own rows; none mines rows of its own recording.

    Args:
        memory: of a training.
        stages: of a cascade over its views.
        queries: (Q,) int64, rows of the memory.
        in_order: see :func:`cprlib.cascade.cascade_retrieve`.

    Returns:
        What they mine; (Q, K) bool, the rows that they must not; and (Q,) float in [0, 1], the share of true positives
        of each (Eq. 3), NaN if it mines nothing.
    """
    exclude = memory.source_id[queries][:, None] == memory.source_id[None, :]
    anchors = {view: rows[queries] for view, rows in memory.features.items()}
    found = cascade_retrieve(anchors, memory.features, stages, exclude, in_order)
    right = (memory.label[found.indices] == memory.label[queries][:, None]) & found.valid
    return found, exclude, right.sum(1) / found.valid.sum(1)


def _grid(views: tuple[str, ...], num_stages: Sequence[int], ratios: Sequence[float]) -> list[tuple]:
    alone = [((view,), 1, None) for view in views] if 1 in num_stages else []
    orders = [order for order in permutations(views) if len(views) > 1]
    return alone + [(order, count, ratio) for order in orders for count in num_stages if count > 1 for ratio in ratios]


def spaced_rows(size: int, most: int = MOST) -> Tensor:
    """All rows of a memory, or `most` evenly spaced ones: int64."""
    return torch.linspace(0, size - 1, min(size, most)).round().long()


def _standardised(memory: Memory) -> tuple[Tensor, Tensor]:
    """Queries (Q,), and similarities (Q, K), standardised over the rows of other recordings, mean over views."""
    queries, scores = spaced_rows(len(memory.label)), []
    forbidden = memory.source_id[queries][:, None] == memory.source_id[None, :]
    for rows in memory.features.values():
        similar = rows[queries] @ rows.T
        others = similar.masked_fill(forbidden, float("nan"))
        mean = others.nanmean(1, keepdim=True)
        scores.append((similar - mean) / (others - mean).square().nanmean(1, keepdim=True).sqrt().clamp(min=1e-6))
    return queries, torch.stack(scores).mean(0)


def _agreement(memory: Memory, stages: Sequence[Stage], queries: Tensor, scores: Tensor) -> float:
    found = mine_memory(memory, stages, queries)[0]
    return float(scores.gather(1, found.indices)[found.valid].mean())
