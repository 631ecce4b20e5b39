"""The tables of the project: methods, views and measures, one line each.

A new miner is one function in :mod:`cprlib.miners` and one line in :data:`METHODS`; notebooks, pipeline, tables and
figures get all they need from here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cprlib import miners

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Method:
    """How a method finds positives, and how it looks in figures.

    Attributes:
        label: its name in tables and figures.
        colour, line, marker, hatch: its look; colour-blind-safe colours (Okabe and Ito) of different lightness.
        build_miner: ``(bank_size, views, num_stages, ratio, top_k, keeps) -> Miner``, None if nothing is mined. A
            method that mines is co-trained, from InfoNCE networks, with the other views' networks as samplers, unless
            it trains one network for all its `views`.
        needs_labels: its positives come from labels: an upper bound, not a self-supervised method.
        views: those that its one network sees; () if each view has its own network.
    """

    label: str
    colour: str
    line: str | tuple = "-"
    marker: str = "P"
    hatch: str = ""
    build_miner: Callable[..., miners.Miner] | None = None
    needs_labels: bool = False
    views: tuple[str, ...] = ()


METHODS = {
    "random": Method("Random weights", "#cccccc", ":", "v"),
    "infonce": Method("InfoNCE", "#56b4e9", "-.", "^", "..."),
    "coclr": Method("CoCLR", "#0072b2", "--", "s", "///", miners.coclr),
    "cpr": Method("CPR", "#e69f00", "-", "o", "", miners.cpr),
    "iic": Method("IIC", "#cc79a7", (0, (5, 1)), "<", "|||", views=("rgb", "residual")),
    "iic_cpr": Method("IIC + CPR", "#d55e00", (0, (3, 1, 1, 1)), ">", "++", miners.cpr, views=("rgb", "residual")),
    "ubernce": Method("UberNCE", "#444444", (0, (1, 1)), "D", "xxx", needs_labels=True),
}
COTRAINED = tuple(name for name, method in METHODS.items() if method.build_miner and not method.views)


def views_of(method: str, views: Collection[str]) -> tuple[str, ...]:
    """The views in which a method is evaluated: its own, or those of the run."""
    return METHODS[method].views or tuple(views)


class View(NamedTuple):
    """What a network sees of a clip.

    Attributes:
        label: its name in titles.
        channels: of its stored frames.
        source: the view whose frames are read; the view itself if it has its own files.
        derive: makes this view's clips, (B, 3, T, H, W) in -1..1, from augmented clips of the source, same shape in
            0..1; so views of one clip share geometry and photometry. None if the view has its own files.
    """

    label: str
    channels: int
    source: str
    derive: Callable[[Tensor], Tensor] | None = None


def frame_difference(clips: Tensor) -> Tensor:
    """The residual of IIC: each frame minus the one before; the first difference is repeated to keep T.

    Args:
        clips: (B, 3, T, H, W) float in 0..1.

    Returns:
        The same shape, in -1..1; 0 where nothing changes.
    """
    difference = clips.diff(dim=2)
    return difference[:, :, [0, *range(difference.shape[2])]] if clips.shape[2] > 1 else clips * 0


VIEWS = {
    "rgb": View("RGB", 3, "rgb"),
    "flow": View("Flow", 2, "flow"),
    "residual": View("Residual", 3, "rgb", frame_difference),
}


def sources_of(views: Collection[str]) -> tuple[str, ...]:
    """The views whose frames these views are made from.

    Raises:
        ValueError: an unknown view.
    """
    for view in views:
        if view not in VIEWS:
            raise ValueError(f"view is {view!r}; expected one of {', '.join(VIEWS)}")
    return tuple(dict.fromkeys(VIEWS[view].source for view in views))


ALL_VIEWS = "both"  # all views of a method together, in tables and file names


class Measure(NamedTuple):
    """A measure: a share in [0, 1], shown in percent."""

    label: str
    kind: str  # "mining", "retrieval" or "classification"


MEASURES = {
    "pmr_start": Measure("PMR, first epoch", "mining"),
    "pmr_end": Measure("PMR", "mining"),
    "mining_r1": Measure("Mining R@1", "mining"),
    "cmr_source": Measure("Median CMR", "mining"),
    "cmr_video": Measure("CMR by video", "mining"),
    "r1": Measure("R@1", "retrieval"),
    "r5": Measure("R@5", "retrieval"),
    "r10": Measure("R@10", "retrieval"),
    "probe": Measure("Linear probe", "classification"),
    "frozen": Measure("Frozen backbone", "classification"),
    "finetune": Measure("Fine-tuned", "classification"),
}


def build_miner(
    method: str,
    views: tuple[str, ...],
    bank_size: int,
    num_stages: int = 7,
    ratio: float = 0.5,
    top_k: int = 5,
    keeps: Sequence[float] = (),
) -> miners.Miner | None:
    """The miner of a method.

    Args:
        method: a name of :data:`METHODS`.
        views: of the stages in turn: the frozen networks' views, then the trained one's.
        bank_size: K, rows of the memory.
        num_stages, ratio, keeps: of a cascade, see :func:`cprlib.cascade.plan_stages`.
        top_k: positives per query.

    Returns:
        The miner, or None for methods that mine nothing (InfoNCE, UberNCE).

    Raises:
        ValueError: unknown method, too few views, or an impossible cascade.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; choose one of {', '.join(METHODS)}")
    builder = METHODS[method].build_miner
    if builder is None:
        return None
    if len(views) < 2:
        raise ValueError(
            f"{method} mines in another view, but the only view is {list(views)}; give it a frozen sampler"
        )
    return builder(bank_size, views, num_stages, ratio, top_k, keeps)
