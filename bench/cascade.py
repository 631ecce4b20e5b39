"""The cascade against one that gathers and stacks the surviving features, sample by sample."""

from collections.abc import Iterator
from itertools import cycle

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bench.pair import Pair
from cprlib.cascade import Stage, cascade_retrieve, plan_stages

DIM = 128
Views = dict[str, Tensor]


def gathering_cascade(queries: Views, bank: Views, stages: tuple[Stage, ...], exclude: Tensor) -> Tensor:
    """The reference: every query keeps its own copy of the memory in all views, gathered again after each stage."""
    batch, size = exclude.shape
    left = {view: features.expand(batch, -1, -1) for view, features in bank.items()}
    rows, forbidden = torch.arange(size, device=exclude.device).expand(batch, -1), exclude
    for view, keep in stages:
        similarity = torch.stack([left[view][b] @ queries[view][b] for b in range(batch)])
        best = similarity.masked_fill(forbidden, -float("inf")).topk(keep, dim=1).indices
        left = {name: torch.stack([x[b][best[b]] for b in range(batch)]) for name, x in left.items()}
        rows, forbidden = (torch.stack([x[b][best[b]] for b in range(batch)]) for x in (rows, forbidden))
    return rows


def example(batch: int, size: int, seed: int = 0, device: torch.device | None = None) -> tuple[Views, Views, Tensor]:
    """Random anchors, memory, and forbidden rows."""
    g = torch.Generator().manual_seed(seed)
    queries, bank = (
        {view: normalize(torch.randn(n, DIM, generator=g), dim=1).to(device) for view in ("flow", "rgb")}
        for n in (batch, size)
    )
    return queries, bank, (torch.rand(batch, size, generator=g) < 0.01).to(device)


def pairs(device: torch.device) -> Iterator[Pair]:
    """The paper's size, and the papers' largest memory with a large batch."""
    for batch, size, repeats in ((16, 2048, 15), (256, 16384, 3)):
        stages = plan_stages(size, num_stages=7)
        bank = example(1, size, 0, device)[1]
        # new queries at each call, or the processor's branch prediction learns the selection
        asked = [example(batch, size, 1 + seed, device)[::2] for seed in range(8)]
        turns = {name: cycle(asked) for name in ("reference", "ours", "floor")}

        def reference(turns=turns, bank=bank, stages=stages) -> Tensor:
            queries, exclude = next(turns["reference"])
            return gathering_cascade(queries, bank, stages, exclude)

        def ours(turns=turns, bank=bank, stages=stages) -> Tensor:
            queries, exclude = next(turns["ours"])
            return cascade_retrieve(queries, bank, stages, exclude).indices

        def floor(turns=turns, bank=bank, stages=stages) -> Tensor:
            queries, _ = next(turns["floor"])
            similarity = [queries[view] @ bank[view].T for view in queries]
            return similarity[0].topk(stages[0].keep, dim=1, sorted=False)

        name = f"cascade, B {batch}, K {size}, 7 stages"
        yield Pair(name, reference, ours, _same, floor, (batch, "queries"), repeats, device)


def _same(a: Tensor, b: Tensor) -> str:
    assert torch.equal(a, b)
    return "same rows in the same order"
