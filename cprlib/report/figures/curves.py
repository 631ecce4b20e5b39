"""The figures of a run, each a static function of data that returns a matplotlib Figure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cprlib.evaluation.mining import mining_recall_at_1, positive_mining_recall
from cprlib.report.figures.strips import GAP, draw_strip
from cprlib.report.figures.style import (
    RC,
    WIDTH,
    bar_look,
    draw_curve,
    draw_legend,
    flow_colour,
    method_order,
    method_style,
    middle_frame,
    new_figure,
    save_figure,
    show_image,
    view_label,
)

__all__ = [
    "clip_strip",
    "flow_colour",
    "mined_strip",
    "mining_curves",
    "neighbour_strip",
    "recall_bars",
    "save_figure",
    "training_curves",
]
QUANTITIES = {  # of a training, in its metrics.jsonl
    "loss": "Loss",
    "pmr": "PMR",
    "mining_r1": "Mining R@1",
    "lr": "Learning rate",
    "clips_per_s": "Clips per second",
    "seconds": "Seconds an epoch",
}


@rc_context(RC)
def mining_curves(logs: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """PMR (Eq. 3) and mining R@1 over the epochs: a column for each trained network.

    Args:
        logs: method -> view of the trained network -> mining log.
    """
    views = list(dict.fromkeys(view for by_view in logs.values() for view in by_view))
    figure = new_figure(WIDTH, 5.2)
    grid = figure.subplots(2, len(views), sharex="col", sharey="row", squeeze=False)
    measures = {"PMR (%)": positive_mining_recall, "Mining R@1 (%)": mining_recall_at_1}
    for row, (name, measure) in zip(grid, measures.items(), strict=True):
        row[0].set_ylabel(name)
        for axes, view in zip(row, views, strict=True):
            for method in sorted((m for m in logs if view in logs[m]), key=method_order):
                draw_curve(axes, method, 100 * measure(logs[method][view]))
            axes.set_ylim(bottom=0)
    for column, view in enumerate(views):
        grid[0, column].set_title(f"{view_label(view)} network")
        grid[1, column].set_xlabel("Epoch")
    draw_legend(figure, grid.flat)
    return figure


@rc_context(RC)
def training_curves(metrics: Mapping[str, pd.DataFrame], quantity: str = "loss") -> Figure:
    """A quantity of training over the epochs; cycles of one network follow each other.

    Args:
        metrics: name of the network ("infonce_rgb", "cpr_flow_cycle2") -> its metrics.jsonl,
            a row an epoch.
        quantity: the column to draw, of :data:`QUANTITIES`.
    """
    series: dict[tuple[str, str], list[pd.Series]] = {}
    for name in sorted(metrics, key=lambda name: (len(name), name)):  # cycle 10 after cycle 9
        method, view = re.sub(r"_cycle\d+$", "", name).rsplit("_", 1)
        series.setdefault((view, method), []).append(metrics[name][quantity].astype(float))
    views = [v for v in ("rgb", "flow") if any(v == view for view, _ in series)]
    views += sorted({view for view, _ in series} - set(views))
    figure = new_figure(WIDTH, 3.2)
    panels = figure.subplots(1, len(views), sharey=True, squeeze=False)[0]
    for axes, view in zip(panels, views, strict=True):
        for method in sorted((m for v, m in series if v == view), key=method_order):
            joined = pd.concat(series[view, method], ignore_index=True)
            draw_curve(axes, method, joined.dropna())
        axes.set(title=f"{view_label(view)} network", xlabel="Epoch")
    panels[0].set_ylabel(QUANTITIES[quantity])
    draw_legend(figure, panels)
    return figure


@rc_context(RC)
def recall_bars(table: pd.DataFrame) -> Figure:
    """Retrieval R@k: a panel for each view, a group of bars for each k, a bar for each method.

    Args:
        table: columns method, view, k, recall (in [0, 1]), as `retrieval_table` makes it.
    """
    views = [v for v in ("rgb", "flow", "both") if v in set(table["view"])]
    views += sorted(set(table["view"]) - set(views))
    methods = sorted(table["method"].unique(), key=method_order)
    ks = sorted(table["k"].unique())
    figure = new_figure(WIDTH, 3.4)
    panels = figure.subplots(1, len(views), sharey=True, squeeze=False)[0]
    for axes, view in zip(panels, views, strict=True):
        wide = table[table["view"] == view].pivot(index="k", columns="method", values="recall")
        wide = 100 * wide.reindex(index=ks, columns=methods)
        for i, method in enumerate(methods):
            x = np.arange(len(ks)) + (i + 0.5) * 0.84 / len(methods) - 0.42
            axes.bar(x, wide[method], 0.84 / len(methods), **bar_look(method))
        axes.set(title=view_label(view), xlabel="k", ylim=(0, 100))
        axes.set_xticks(range(len(ks)), [str(k) for k in ks])
        axes.grid(False, axis="x")
    panels[0].set_ylabel("R@k (%)")
    draw_legend(figure, panels)
    return figure


@rc_context(RC)
def mined_strip(
    query: Any,
    mined: Mapping[str, Sequence[Any]],
    correct: Mapping[str, Sequence[bool]],
    titles: Mapping[str, Sequence[str]] | None = None,
    query_title: str = "",
) -> Figure:
    """A query and what was mined for it, a row for each method; false positives are marked.

    Args:
        query: uint8 (H, W, 3), or a clip (T, H, W, 3) of which the middle frame is shown.
        mined: method (or any name of a row) -> thumbnails like `query`, best first.
        correct: method -> whether each of them is a true positive.
        titles: method -> a short text under each of them, e.g. its class.
        query_title: text under the query, e.g. its class.
    """
    count = max(1, *(len(images) for images in mined.values()))
    shape = middle_frame(query).shape
    cell = (WIDTH - 0.75) / (1.2 + count * (1 + GAP))  # inches, the width of a thumbnail
    tall = cell * shape[0] / shape[1]
    row = tall + (0.4 if titles else 0.1)
    figure = new_figure(WIDTH, height := len(mined) * row + 0.1)
    figure.set_layout_engine("none")  # places are known, which is faster

    def place(left: float, top: float, width: float) -> Axes:  # inches
        return figure.add_axes((left / WIDTH, 1 - (top + tall) / height, width / WIDTH, tall / height))

    def strip(axes: Axes, name: str, images: Sequence[Any], right: Sequence[bool], texts: Sequence[str], slots: int):
        draw_strip(axes, [middle_frame(image) for image in images], right, texts, slots, shape)
        axes.text(-0.05, 0.5 * tall / cell, name, rotation=90, ha="right", va="center", fontsize=9)

    strip(place(0.3, 0.1, 1.1 * cell), "Query", [query], [True], [query_title], 1)
    for i, (name, images) in enumerate(mined.items()):
        axes = place(0.7 + 1.2 * cell, 0.1 + i * row, WIDTH - 0.75 - 1.2 * cell)
        label = method_style(name).label.replace(" in ", "\nin ")
        strip(axes, label, images, correct[name], (titles or {}).get(name, ()), count)
    return figure


def neighbour_strip(
    query: Any,
    neighbours: Mapping[str, Sequence[Any]],
    correct: Mapping[str, Sequence[bool]],
    titles: Mapping[str, Sequence[str]] | None = None,
    query_title: str = "",
) -> Figure:
    """A query and its nearest neighbours, a row for each view; another class is marked.

    Args:
        query: uint8 (H, W, 3) or (T, H, W, 3).
        neighbours: view ("rgb", "flow", "both") -> thumbnails like `query`, nearest first.
        correct: view -> whether each of them is of the query's class.
        titles: view -> a short text under each of them.
        query_title: text under the query.
    """
    rows = [{view_label(v): row[v] for v in row} for row in (neighbours, correct, titles or {})]
    return mined_strip(query, rows[0], rows[1], rows[2] or None, query_title)


@rc_context(RC)
def clip_strip(clip: Mapping[str, Any], count: int = 8) -> Figure:
    """Frames of a clip, evenly spaced, a row for each view, with their numbers.

    Args:
        clip: view -> uint8 (T, H, W, 3), or for "flow" float (T, 2, H, W) in pixels per frame.
        count: frames shown, at most.
    """
    images = {v: flow_colour(x) if v == "flow" else np.asarray(x) for v, x in clip.items()}
    length = min(len(frames) for frames in images.values())
    shown = np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(int))
    height, width = next(iter(images.values())).shape[1:3]
    cell = WIDTH / (len(shown) + 0.3)
    figure = new_figure(WIDTH, len(images) * (cell * height / width + 0.04) + 0.25)
    grid = figure.subplots(len(images), len(shown), squeeze=False)
    for row, (view, frames) in enumerate(images.items()):
        grid[row, 0].set_ylabel(view_label(view))
        for axes, index in zip(grid[row], shown, strict=True):
            show_image(axes, frames[index], "" if row else f"frame {index}", 9)
    return figure
