"""What a cascade mines for one query, stage by stage, as numbers and as figures."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from cprlib.cascade import Stage
from cprlib.evaluation.choice import mine_memory, spaced_rows
from cprlib.report.figures.strips import GAP, Strip, Thumbnail, strips_figure
from cprlib.report.figures.style import BAR, WIDTH, show_image, styled
from cprlib.report.names import view_label, within_line
from cprlib.report.tables.text import percent
from cprlib.training.snapshots import Memory

SIMILARITIES = 2**19  # at most, for PMR in a view: fast enough for a slider
SHOWN = 8  # mined rows drawn below a funnel
KEPT, REMOVED = 4, 3  # rows drawn of a stage
MOST = 7  # stages drawn; if there are more, some in the middle are left out
FADED = 0.4  # opacity of a removed row


class Trace(NamedTuple):
    """What a cascade does for one query.

    Attributes:
        rows: (n,) int64 each: the rows that the query may mine, then those left after each stage, most similar first.
        correct: (n,) bool each, whether they are true positives.
        pmr: mean over queries of true positives / mined rows, in [0, 1] (Eq. 3); NaN if nothing is mined.
        queries: number of queries in this mean.
    """

    rows: tuple[Tensor, ...]
    correct: tuple[Tensor, ...]
    pmr: float
    queries: int


def trace(memory: Memory, stages: Sequence[Stage], query: int) -> Trace:
    """Mine with one row of a memory as query.

    PMR is over all K rows as queries, or 2**19 / K evenly spaced ones if the memory is large.
    """
    size = len(memory.label)
    measured = _measured(size)
    found, exclude, shares = mine_memory(memory, stages, torch.cat([torch.tensor([query]), measured]), in_order=True)
    rows = [torch.arange(size), *(kept[0] for kept in found.survivors)]
    rows = tuple(kept[~exclude[0, kept]] for kept in rows)
    correct = tuple(memory.label[kept] == memory.label[query] for kept in rows)
    return Trace(rows, correct, float(shares[1:].nanmean()), len(measured))


def typical_query(memory: Memory, stages: Sequence[Stage], seed: int = 0) -> int:
    """A row drawn among those that mine the median share of true positives."""
    queries = _measured(len(memory.label))
    shares = mine_memory(memory, stages, queries)[2]
    typical = queries[shares == shares.nanmedian()]
    if not len(typical):
        raise ValueError("no row of this memory may mine another one: all are of one recording")
    return int(np.random.default_rng(seed).choice(typical.numpy()))


def _measured(size: int) -> Tensor:
    return spaced_rows(size, max(1, SIMILARITIES // size))


@styled
def cascade_figure(
    memory: Memory, stages: Sequence[Stage], query: int, names: Sequence[str], thumbnail: Thumbnail
) -> Figure:
    """The rows left after each stage for one query, what the cascade mines, and what a stage in its first view would.

    Args:
        memory, stages: the stages' views are those of the memory.
        query: a row of the memory.
        names: class names, indexed by label.
    """
    one_stage = (Stage(stages[0].view, stages[-1].keep),)
    found, single = trace(memory, stages, query), trace(memory, one_stage, query)
    strips = []
    for name, one in (("This cascade", found), (f"One stage,\n{within_line(view_label(stages[0].view))}", single)):
        rows, correct = one.rows[-1][:SHOWN], one.correct[-1]
        images = [thumbnail(video) for video in memory.video_id[rows].tolist()]
        captions = [names[label] for label in memory.label[rows].tolist()]
        words = f"{name}\n{int(correct.sum())} of {len(correct)} true\nPMR {_percent(one.pmr)}"
        strips.append(Strip(words, images, correct[:SHOWN].tolist(), captions))
    picture = thumbnail(int(memory.video_id[query]))
    above = max(1.85, 1.0 + 0.29 * len(found.rows))  # inches: the query's picture ends at 1.75
    figure = strips_figure(strips, picture.shape, above)
    height = figure.get_figheight()
    funnel = figure.add_axes((0.95 / WIDTH, 1 - (above - 0.15) / height, 4.7 / WIDTH, (above - 1.0) / height))
    _draw_funnel(funnel, found, stages)
    asked = figure.add_axes((6.2 / WIDTH, 1 - 1.75 / height, 1.7 / WIDTH, 1.1 / height))
    show_image(asked, picture, f"Query: {names[int(memory.label[query])]}")
    title = {"fontsize": 12, "weight": "bold", "va": "center"}
    figure.text(0.0125, 1 - 0.2 / height, f"PMR of {found.queries} queries: {_percent(found.pmr)}", **title)
    plan = " → ".join(f"{view_label(stage.view)} {stage.keep}" for stage in stages)
    figure.text(0.0125, 1 - 0.45 / height, plan, fontsize=10, va="center")
    return figure


def _draw_funnel(axes: Axes, found: Trace, stages: Sequence[Stage]) -> None:
    counts = np.array([len(rows) for rows in found.rows])
    hits = np.array([int(correct.sum()) for correct in found.correct])
    shares, lengths, y = hits / counts.clip(min=1), np.log2(counts + 1), np.arange(len(counts))
    axes.barh(y, lengths, 0.8, color="#d5d5d5")
    axes.barh(y, shares * lengths, 0.8, color="#009e73", hatch="///", **BAR)
    for place, (length, correct) in enumerate(zip(lengths, found.correct, strict=True)):
        axes.text(length + 0.1, place, _counted(correct), va="center", fontsize=9)
    axes.set_yticks(y, ["Memory", *(f"{n} · {view_label(stage.view)}" for n, stage in enumerate(stages, 1))])
    axes.set(xlim=(0, 1.45 * lengths[0] + 1), ylim=(len(counts) - 0.5, -0.5), xticks=[])
    axes.set_title("Rows left after each stage (log scale); hatched: true positives", fontsize=10, loc="left")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(left=False)


def _percent(share: float) -> str:
    return percent(share) + " %" * (share == share)


def _counted(correct: Tensor) -> str:
    rows, true = len(correct), int(correct.sum())
    return f"{rows} row{'s' if rows != 1 else ''}, {true} true: {100 * true / max(rows, 1):.0f} %"


@styled
def cascade_diagram(
    memory: Memory, stages: Sequence[Stage], query: int, names: Sequence[str], rgb: Thumbnail, flow: Thumbnail
) -> Figure:
    """What each stage of a cascade keeps and removes, and what is mined in the end: the paper's figure 1.

    For each stage it shows some of the rows that are kept, evenly spaced from the most similar on, and faded those
    removed rows that the other view finds most similar. No strip shows a video twice. Arguments as for
    :func:`cascade_figure`, with thumbnails of RGB (also for other views) and of flow.
    """
    found, same = trace(memory, stages, query), memory.label == memory.label[query]

    def picture(row: int, view: str, left: float = 1.0) -> np.ndarray:
        image = (flow if view == "flow" else rgb)(int(memory.video_id[row]))
        return (255 - left * (255.0 - image)).astype(np.uint8)

    views = sorted({stage.view for stage in stages}, reverse=True)  # rgb before flow
    asked = [picture(query, view) for view in views]
    strips = [Strip(f"Query\n{names[int(memory.label[query])]}", asked)]
    count = len(stages)
    for stage in range(count) if count <= MOST else [*range(4), *range(count - 3, count)]:
        view, kept = stages[stage].view, _distinct(memory, found.rows[stage + 1])
        kept = [kept[i] for i in np.linspace(0, len(kept) - 1, min(KEPT, len(kept))).astype(int)]
        free = KEPT + 1 - len(kept)
        removed = _distinct(memory, _removed(memory, stages, found, query, stage))[:REMOVED]
        images = [picture(row, view) for row in kept] + [None] * free + [picture(row, view, FADED) for row in removed]
        name = f"{stage + 1} · {view_label(view)}\n{_counted(found.correct[stage + 1])}"
        strips.append(Strip(name, images, same[[*kept, *[query] * free, *removed]].tolist()))
    mined = found.rows[-1][: KEPT + 1 + REMOVED].tolist()
    name = f"Mined\n{_counted(found.correct[-1])}"
    strips.append(Strip(name, [picture(row, "rgb") for row in mined], same[mined].tolist()))
    figure = strips_figure(strips, asked[0].shape)
    words = "Faded: removed by this\nstage, though the most\nalike in the other view"
    figure.axes[0].text((KEPT + 1) * (1 + GAP), figure.axes[0].get_ylim()[0], words, va="bottom", fontsize=9)
    return figure


def _removed(memory: Memory, stages: Sequence[Stage], found: Trace, query: int, stage: int) -> Tensor:
    """Rows that a stage removed, most similar first in the view of the stage before (for the first: after) it."""
    before, after = found.rows[stage], found.rows[stage + 1]
    removed = before[~torch.isin(before, after)]
    features = memory.features[stages[stage - 1 if stage else min(1, len(stages) - 1)].view]
    return removed[(features[removed] @ features[query]).argsort(descending=True)]


def _distinct(memory: Memory, rows: Tensor) -> list[int]:
    """The first row of each video; a memory may hold several clips of a video."""
    return rows[~pd.Series(memory.video_id[rows].numpy()).duplicated().to_numpy()].tolist()
