"""Cascade Positive Retrieval: keep the rows nearest in one view, of these the rows nearest in the other, and so on.

One stage in the other view is CoCLR's mining; with more stages, two views must agree before a row counts as a
positive. Pure functions on tensors: nothing here knows of networks, queues or labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # planning a cascade does not need torch
    from torch import Tensor


class Stage(NamedTuple):
    """One step of a cascade: keep the `keep` rows that are most similar in `view`."""

    view: str
    keep: int


class Retrieval(NamedTuple):
    """What a cascade found.

    Attributes:
        indices: (B, k) int64, rows of the memory, best first.
        valid: (B, k) bool, False where fewer than k rows were allowed (these come last; do not use their index).
        survivors: for each stage the (B, keep) int64 rows that it kept; best first in the last stage, in no order in
            earlier stages unless `in_order` was set.
    """

    indices: Tensor
    valid: Tensor
    survivors: tuple[Tensor, ...]


def plan_stages(
    bank_size: int,
    views: Sequence[str] = ("flow", "rgb"),
    num_stages: int = 3,
    ratio: float = 0.5,
    top_k: int = 5,
    keeps: Sequence[float] = (),
) -> tuple[Stage, ...]:
    """Lay out a cascade: stage s keeps ``int(bank_size * ratio**s)`` rows, the last one `top_k`.

    Args:
        bank_size: K, rows of the memory.
        views: of the stages, in this order, repeated as needed; any number, and a view may occur twice.
        num_stages: number of stages; 1 is CoCLR's mining in ``views[0]``.
        ratio: share of the rows that a stage keeps, in (0, 1).
        top_k: positives per query.
        keeps: what each stage but the last keeps, in place of `num_stages` and `ratio`: a number of rows (1 or more)
            or a share of the memory (below 1), e.g. ``(1000, 100)`` or ``(0.5, 0.1)``.

    Returns:
        The stages, first to last.

    Raises:
        ValueError: an argument out of range, or a plan in which a stage before the last keeps fewer than `top_k`.

    >>> [stage.keep for stage in plan_stages(2048, num_stages=7)]
    [1024, 512, 256, 128, 64, 32, 5]
    >>> plan_stages(9537, ("residual", "rgb"), top_k=3, keeps=(1000,))
    (Stage(view='residual', keep=1000), Stage(view='rgb', keep=3))
    """
    if not views:
        raise ValueError("views is empty; name at least one view, e.g. ('flow', 'rgb')")
    if num_stages < 1:
        raise ValueError(f"num_stages is {num_stages}; it must be at least 1")
    if not 0 < ratio < 1:
        raise ValueError(f"ratio is {ratio}; it must lie between 0 and 1")
    if not 1 <= top_k <= bank_size:
        raise ValueError(f"top_k is {top_k}; it must lie between 1 and the {bank_size} rows of the memory")
    if keeps:
        return tuple(
            Stage(views[s % len(views)], keep) for s, keep in enumerate([*_rows(keeps, bank_size, top_k), top_k])
        )
    keeps = [int(bank_size * ratio**s) for s in range(1, num_stages)]
    possible = 1 + sum(keep >= top_k for keep in keeps)
    if possible < num_stages:
        raise ValueError(
            f"num_stages is {num_stages}, but with {bank_size} rows and ratio {ratio} stage {possible} keeps "
            f"{keeps[possible - 1]} rows, fewer than top_k = {top_k}; use at most {possible} stages, a larger ratio, "
            "or a smaller top_k"
        )
    return tuple(Stage(views[s % len(views)], keep) for s, keep in enumerate([*keeps, top_k]))


def _rows(keeps: Sequence[float], bank_size: int, top_k: int) -> list[int]:
    """`keeps` as numbers of rows; raise a ValueError if a stage keeps more rows than the one before."""
    rows = [int(keep if keep >= 1 else keep * bank_size) for keep in keeps]
    limits = zip([bank_size, *rows], rows, [*rows[1:], top_k], strict=False)
    if not all(before >= keep >= after for before, keep, after in limits):
        raise ValueError(
            f"keeps is {tuple(keeps)}, that is {rows} of {bank_size} rows, then top_k = {top_k}; no stage may keep "
            "more rows than the one before"
        )
    return rows


def cascade_retrieve(
    queries: Mapping[str, Tensor],
    bank: Mapping[str, Tensor],
    stages: Sequence[Stage],
    exclude: Tensor | None = None,
    in_order: bool = False,
) -> Retrieval:
    """Retrieve positives for every query from a memory of several views (section 3.2 of the CPR paper).

    Each view's (B, K) similarities are computed once; stages pass on row numbers and similarities only. Two views and
    a ratio of 0.5 take 4 B K floats of memory.

    Args:
        queries: view -> (B, D) float anchors, L2-normalised.
        bank: view -> (K, D) float memory, L2-normalised; row j of every view is the same clip.
        stages: from :func:`plan_stages`, or your own; `keep` never grows.
        exclude: (B, K) bool, True for rows that must not be mined (siblings, empty rows).
        in_order: sort the survivors of every stage, most similar in its view first, to show them; twice as slow.

    Returns:
        The mined rows; see :class:`Retrieval`.

    Raises:
        ValueError: a view is missing, shapes do not fit, or a stage keeps more rows than it gets.
    """
    _check(queries, bank, stages, exclude)
    left = {view: queries[view] @ bank[view].T for view in {stage.view for stage in stages}}  # (B, K) each
    if exclude is not None:
        for similarity in left.values():
            similarity.masked_fill_(exclude, -float("inf"))
    survivors = []
    for number, (view, keep) in enumerate(stages, 1):
        in_order |= number == len(stages)
        scores, best = left[view].topk(keep, dim=1, sorted=in_order)  # (B, keep) each
        left[view] = scores
        left |= {other: s.gather(1, best) for other, s in left.items() if other != view}
        survivors.append(survivors[-1].gather(1, best) if survivors else best)
    return Retrieval(survivors[-1], scores > -float("inf"), tuple(survivors))


def _check(
    queries: Mapping[str, Tensor], bank: Mapping[str, Tensor], stages: Sequence[Stage], exclude: Tensor | None
) -> None:
    """Raise a ValueError that names what does not fit."""
    if not stages:
        raise ValueError("stages is empty; make them with plan_stages")
    for stage in stages:
        for name, side in (("queries", queries), ("bank", bank)):
            if stage.view not in side:
                raise ValueError(f"stage view {stage.view!r} is not among the {name}: {sorted(side)}")
    sizes = {(len(queries[s.view]), len(bank[s.view])) for s in stages}
    if len(sizes) > 1:
        raise ValueError(f"the views differ in size, (B, K) is {sorted(sizes)}; row j must be the same clip in each")
    size = sizes.pop()
    if exclude is not None and tuple(exclude.shape) != size:
        raise ValueError(f"exclude has shape {tuple(exclude.shape)}; it must be (B, K) = {size}")
    left = size[1]
    for number, stage in enumerate(stages, 1):
        if not 1 <= stage.keep <= left:
            raise ValueError(f"stage {number} ({stage.view}) keeps {stage.keep} of {left} rows; keep must be 1..{left}")
        left = stage.keep
