"""The diagram of a cascade, drawn from a real query: the paper's figure 1."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from cprlib.cascade import Stage
from cprlib.report.figures.cascade_view import Trace, trace
from cprlib.report.figures.strips import draw_marks, fit_captions, fitted
from cprlib.report.figures.style import RC, WIDTH, new_figure
from cprlib.report.names import view_label
from cprlib.training.snapshots import Memory

KEPT, REMOVED = 3, 2  # rows drawn of a stage
MOST = 7  # stages drawn; of more the middle ones are left out
CELL = 1.25  # a column at most; this and the following in inches
HEAD, LABEL, FOOT, GAP = 0.68, 0.32, 0.35, 0.07  # above the rows, above the removed ones, below all, between rows
FADED = 0.4  # how much is left of a removed picture
FILL = {"flow": "#dbe9f4", "rgb": "#f1f1f1"}


@rc_context(RC)
def cascade_diagram(
    memory: Memory,
    stages: Sequence[Stage],
    query: int,
    names: Sequence[str],
    thumbnail: Callable[[int], np.ndarray],
    thumbnail_flow: Callable[[int], np.ndarray],
) -> Figure:
    """What each stage of a cascade keeps, what it removes, and what is mined in the end.

    Of the rows that a stage keeps some are shown, evenly spaced from the most similar on; of those that it removes the
    ones most similar in the other view, which only this stage tells apart. No video appears twice in a box.

    Args:
        memory, stages, query, names: as for :func:`cprlib.report.figures.cascade_view.cascade_figure`.
        thumbnail: video_id -> uint8 (H, W, 3), drawn for the mined rows and every view but flow.
        thumbnail_flow: the same of the flow, as colours.
    """
    found, count = trace(memory, stages, query), len(stages)
    shown = list(range(count)) if count <= MOST else [*range(4), *range(count - 3, count)]
    shape = thumbnail(int(memory.video_id[query])).shape
    page = _Page(len(shown) + 2, shape)

    def put(column: int, rows: Iterable[int], view: str, first: int = 0, faded: bool = False) -> None:
        picture = thumbnail_flow if view == "flow" else thumbnail
        for place, row in enumerate(rows, first):
            right = None if row == query else bool(memory.label[row] == memory.label[query])
            page.thumb(column, place, fitted(picture(int(memory.video_id[row])), shape), right, faded)

    page.head(0, "Query", *fit_captions([names[int(memory.label[query])]], page.cell)[0])
    for place, view in enumerate(sorted({stage.view for stage in stages}, reverse=True)):  # rgb above flow
        put(0, [query], view, place)
    for column, stage in enumerate(shown, 1):
        view = stages[stage].view
        page.boxes(column, FILL.get(view, "white"))
        page.head(column, f"{stage + 1} · {view_label(view)}", *_count(found.correct[stage + 1]))
        kept, removed = _distinct(memory, found.rows[stage + 1]), _removed(memory, stages, found, query, stage)
        put(column, [kept[i] for i in np.linspace(0, len(kept) - 1, min(KEPT, len(kept))).astype(int)], view)
        put(column, _distinct(memory, removed)[:REMOVED], view, KEPT, faded=True)
        page.arrow(column, "" if stage == 0 or stage - 1 in shown else "…")
    page.head(len(shown) + 1, "Mined", *_count(found.correct[-1]))
    page.arrow(len(shown) + 1)
    put(len(shown) + 1, found.rows[-1][: KEPT + REMOVED].tolist(), "rgb")
    page.legend()
    return page.axes.figure


def _removed(memory: Memory, stages: Sequence[Stage], found: Trace, query: int, stage: int) -> Tensor:
    """Rows that a stage removed, those most similar in the view of the stage before (or after the first) first."""
    before, after = found.rows[stage], found.rows[stage + 1]
    removed = before[~torch.isin(before, after)]
    features = memory.features[stages[stage - 1 if stage else min(1, len(stages) - 1)].view]
    return removed[(features[removed] @ features[query]).argsort(descending=True)]


def _distinct(memory: Memory, rows: Tensor) -> list[int]:
    """The first row of each video; a memory may hold several clips of one."""
    return rows[~pd.Series(memory.video_id[rows].numpy()).duplicated().to_numpy()].tolist()


def _count(correct: Tensor) -> tuple[str, str]:
    rows, true = len(correct), int(correct.sum())
    return f"{rows} row{'s' if rows != 1 else ''}", f"{100 * true / max(rows, 1):.0f} % true"


class _Page:
    """Columns of thumbnails in one axes over the whole figure, in inches from the upper left corner."""

    def __init__(self, columns: int, shape: tuple[int, ...]):
        self.cell = min(CELL, WIDTH / columns)  # width of a column; of a thumbnail:
        self.wide = 0.74 * self.cell
        self.tall = self.wide * shape[0] / shape[1]
        self.width, height = columns * self.cell, HEAD + LABEL + (KEPT + REMOVED) * (self.tall + GAP) + FOOT
        self.axes = new_figure(self.width, height, placed=True).add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, self.width), ylim=(height, 0))
        self.axes.axis("off")
        self.axes.set_autoscale_on(False)

    def top(self, place: float, removed: bool = False) -> float:
        return HEAD + place * (self.tall + GAP) + LABEL * removed

    def thumb(self, column: int, place: int, image: np.ndarray, right: bool | None, faded: bool) -> None:
        left, top = (column + 0.5) * self.cell - self.wide / 2, self.top(place, faded)
        image = (255 - FADED * (255.0 - image)).astype(np.uint8) if faded else image
        self.axes.imshow(image, extent=(left, left + self.wide, top + self.tall, top), zorder=2)
        edge = {"edgecolor": "#888888" if faded else "black", "linestyle": ":" if faded else "-", "linewidth": 0.8}
        self.axes.add_patch(Rectangle((left, top), self.wide, self.tall, fill=False, zorder=3, **edge))
        if right is not None:
            draw_marks(self.axes, right, [left + self.wide - 0.06], [top + 0.06], 9)

    def head(self, column: int, title: str, *lines: str) -> None:
        x = (column + 0.5) * self.cell
        self.axes.text(x, 0.14, title, ha="center", va="center", fontsize=10, weight="bold")
        self.axes.text(x, 0.26, "\n".join(lines), ha="center", va="top", fontsize=8, linespacing=1.15)

    def boxes(self, column: int, colour: str) -> None:
        """Around the rows that a stage keeps, and a dashed one around those that it removes."""
        wide, pad = self.wide + 0.1, 0.05
        left = (column + 0.5) * self.cell - wide / 2
        looks = ({"facecolor": colour}, {"facecolor": "none", "linestyle": "--"})
        for removed, (first, count, look) in enumerate(zip((0, KEPT), (KEPT, REMOVED), looks, strict=True)):
            top, tall = self.top(first, bool(removed)) - pad, count * (self.tall + GAP) - GAP + 2 * pad
            self.axes.add_patch(Rectangle((left, top), wide, tall, edgecolor="#777777", linewidth=0.8, **look))
        y = self.top(KEPT, True) - 0.08
        self.axes.text(left + wide / 2, y, "removed", ha="center", va="bottom", fontsize=8)

    def arrow(self, column: int, text: str = "") -> None:
        """From the column before to this one."""
        y, middle, half = self.top(KEPT // 2) + self.tall / 2, column * self.cell, (self.cell - self.wide) / 2 - 0.05
        arrow = {"arrowstyle": "-|>,head_width=0.25,head_length=0.4", "color": "black", "linewidth": 1.4}
        arrow |= {"shrinkA": 0, "shrinkB": 0}
        self.axes.annotate("", (middle + half, y), (middle - half, y), arrowprops=arrow, zorder=5)
        self.axes.text(middle, y - 0.06, text, ha="center", fontsize=12)

    def legend(self) -> None:
        """What the marks mean."""
        y = self.top(KEPT + REMOVED, True) + 0.17
        draw_marks(self.axes, True, [0.17], [y], 9)
        draw_marks(self.axes, False, [1.57], [y], 9)
        faded = "faded: removed"
        if self.width > 6.5:
            faded += " by this stage, though the most alike in the other view"
        for x, text in {0.29: "the query's class", 1.69: "another class", 2.8: faded}.items():
            self.axes.text(x, y, text, va="center", fontsize=8.5)
