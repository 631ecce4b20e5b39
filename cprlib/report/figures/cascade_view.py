"""A cascade to look at: what one query of a memory sees, stage by stage, as numbers and as a figure."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from cprlib.cascade import Retrieval, Stage, cascade_retrieve
from cprlib.report.figures.strips import draw_strip
from cprlib.report.figures.style import BAR, RC, WIDTH, new_figure, show_image
from cprlib.report.names import view_label, within_line
from cprlib.report.tables.text import percent
from cprlib.training.snapshots import Memory

SIMILARITIES = 2**19  # computed for the PMR of one view at most, to answer while a slider moves
TRUE_LOOK = {"color": "#009e73", "hatch": "///", **BAR}
ROWS_LOOK = {"color": "#d5d5d5"}


class Trace(NamedTuple):
    """What one query sees of a memory.

    Attributes:
        rows: (n,) int64 each: the rows that it may mine, then those left after each stage, most similar first.
        correct: for each of them whether it is a true positive, (n,) bool.
        pmr: mean over queries of true positives / mined rows, in [0, 1] (Eq. 3); NaN if nothing is mined.
        queries: how many queries this is the mean of.
    """

    rows: tuple[Tensor, ...]
    correct: tuple[Tensor, ...]
    pmr: float
    queries: int


def trace(memory: Memory, stages: Sequence[Stage], query: int) -> Trace:
    """Follow one row of a memory, taken as a query, through a cascade.

    The PMR is that of all K rows as queries, or of 2**19 / K evenly spaced ones of a large memory.
    """
    size = len(memory.label)
    measured = _measured(size)
    found, exclude, shares = _mine(memory, stages, torch.cat([torch.tensor([query]), measured]))
    rows = [torch.arange(size), *(kept[0] for kept in found.survivors)]
    rows = tuple(kept[~exclude[0, kept]] for kept in rows)
    correct = tuple(memory.label[kept] == memory.label[query] for kept in rows)
    return Trace(rows, correct, float(shares[1:].nanmean()), len(measured))


def typical_query(memory: Memory, stages: Sequence[Stage], seed: int = 0) -> int:
    """A row of the memory that mines the median share of true positives, drawn among such and not picked by hand."""
    queries = _measured(len(memory.label))
    shares = _mine(memory, stages, queries)[2]
    typical = queries[shares == shares.nanmedian()]
    if not len(typical):
        raise ValueError("no row of this memory may mine another one: all are of one recording")
    return int(np.random.default_rng(seed).choice(typical.numpy()))


def _measured(size: int) -> Tensor:
    return torch.linspace(0, size - 1, min(size, max(1, SIMILARITIES // size))).round().long()


def _mine(memory: Memory, stages: Sequence[Stage], queries: Tensor) -> tuple[Retrieval, Tensor, Tensor]:
    """What queries mine, what they must not (B, K), and each one's share of true positives, NaN if it mined nothing."""
    exclude = memory.source_id[queries][:, None] == memory.source_id[None, :]
    anchors = {view: features[queries] for view, features in memory.features.items()}
    found = cascade_retrieve(anchors, memory.features, stages, exclude, in_order=True)
    hits = (memory.label[found.indices] == memory.label[queries, None]) & found.valid
    return found, exclude, hits.sum(1) / found.valid.sum(1)


@rc_context(RC)
def cascade_figure(
    memory: Memory,
    stages: Sequence[Stage],
    query: int,
    names: Sequence[str],
    thumbnail: Callable[[int], np.ndarray],
    shown: int = 8,
) -> Figure:
    """The funnel of one query, what the cascade mined for it, and what one stage in the first view would have.

    Args:
        memory, stages: see :func:`cprlib.cascade.plan_stages`; their views are those of the memory.
        query: a row of the memory.
        names: class names, indexed by label.
        thumbnail: video_id -> uint8 (H, W, 3).
        shown: mined rows shown, at most.
    """
    one_stage = (Stage(stages[0].view, stages[-1].keep),)
    found, single = trace(memory, stages, query), trace(memory, one_stage, query)
    height = 5.65
    figure = new_figure(WIDTH, height, placed=True)

    def place(left: float, top: float, width: float, tall: float) -> Axes:  # inches
        return figure.add_axes((left / WIDTH, 1 - (top + tall) / height, width / WIDTH, tall / height))

    title = {"fontsize": 12, "weight": "bold", "va": "center"}
    pmr, one_pmr = (percent(one.pmr) + " %" * (one.pmr == one.pmr) for one in (found, single))
    figure.text(0.0125, 1 - 0.2 / height, f"Query: {names[int(memory.label[query])]}", **title)
    figure.text(0.9875, 1 - 0.2 / height, f"PMR of {found.queries} queries: {pmr}", ha="right", **title)
    plan = " → ".join(f"{view_label(stage.view)} {stage.keep}" for stage in stages)
    figure.text(0.0125, 1 - 0.45 / height, plan, fontsize=10, va="center")
    _draw_funnel(place(0.85, 0.85, 2.5, 1.75), place(3.5, 0.85, 2.65, 1.75), found, stages)
    picture = thumbnail(int(memory.video_id[query]))
    show_image(place(0.1, 3.17, 1.5, 0.9), picture, "Query")
    slots = max(5, min(shown, stages[-1].keep))
    single_name = f"One stage ({within_line(view_label(stages[0].view))})"
    strips = ((3.17, "Mined by this cascade", found, pmr), (4.5, single_name, single, one_pmr))
    for top, name, one, share in strips:
        rows, correct = one.rows[-1][:shown], one.correct[-1][:shown].tolist()
        images = [thumbnail(video) for video in memory.video_id[rows].tolist()]
        axes = place(1.8, top, 6.1, 0.8)
        draw_strip(axes, images, correct, [names[i] for i in memory.label[rows].tolist()], slots, picture.shape)
        true = f"{int(one.correct[-1].sum())} of {len(one.correct[-1])} true"
        axes.set_title(f"{name}: {true} ({one.queries} queries: {share})", fontsize=10, loc="left", pad=4)
    return figure


def _draw_funnel(funnel: Axes, shares: Axes, found: Trace, stages: Sequence[Stage]) -> None:
    """Rows left after each stage (bars as long as their logarithm), and how many of them are true positives."""
    counts = np.array([len(rows) for rows in found.rows])
    hits = np.array([int(correct.sum()) for correct in found.correct])
    percents = 100 * hits / counts.clip(min=1)
    y, lengths = np.arange(len(counts)), np.log2(counts + 1)
    funnel.barh(y, lengths, 0.8, left=-lengths / 2, **ROWS_LOOK)
    shares.barh(y, 100, 0.8, **ROWS_LOOK)
    shares.barh(y, percents, 0.8, **TRUE_LOOK)
    shares.axvline(percents[0], color="black", linestyle="--", linewidth=1)
    for i, (count, hit, share) in enumerate(zip(counts, hits, percents, strict=True)):
        funnel.text(0, i, str(count), ha="center", va="center", fontsize=9)
        words = f"{count} row{'s' if count != 1 else ''}, {hit} true: {share:.0f} %"
        shares.text(102, i, words, va="center", fontsize=9)
    funnel.set_yticks(y, ["Memory", *(f"{n} · {view_label(stage.view)}" for n, stage in enumerate(stages, 1))])
    shares.set(xlim=(0, 100), yticks=[])
    funnel.set_title("Rows left after each stage (log scale)", fontsize=10)
    shares.set_title("True positives among them (%)", fontsize=10)
    for axes in (funnel, shares):
        axes.set_ylim(len(counts) - 0.5, -0.5)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(left=False)
    funnel.set_xticks([])
