"""Mining, training and retrieval in numbers: curves over the epochs, bars over k."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from cprlib.evaluation.mining import mining_recall_at_1, positive_mining_recall
from cprlib.report.figures.style import RC, WIDTH, bar_look, draw_curve, draw_legend, new_figure
from cprlib.report.names import method_look, method_order, view_label, view_order

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
    views = sorted({view for by_view in logs.values() for view in by_view}, key=view_order)
    figure = new_figure(WIDTH, 5.2)
    grid = figure.subplots(2, len(views), sharex="col", sharey="row", squeeze=False)
    measures = {"PMR (%)": positive_mining_recall, "Mining R@1 (%)": mining_recall_at_1}
    for row, (name, measure) in zip(grid, measures.items(), strict=True):
        row[0].set_ylabel(name)
        for axes, view in zip(row, views, strict=True):
            for method in sorted((m for m in logs if view in logs[m]), key=method_order):
                draw_curve(axes, method, 100 * measure(logs[method][view]))
            axes.set_ylim(bottom=0)
    for (upper, lower), view in zip(grid.T, views, strict=True):
        upper.set_title(f"{view_label(view)} network")
        lower.set_xlabel("Epoch")
    draw_legend(figure, grid.flat)
    return figure


@rc_context(RC)
def cotraining_curves(*tables: pd.DataFrame, titles: Sequence[str] = ()) -> Figure:
    """R@1 over co-training: what the features of each method are worth, a panel for each view.

    Args:
        tables: each with the columns method, epoch, view, recall (in [0, 1]), see
            :func:`cprlib.evaluation.progress.cotraining_progress`; with a column `seed` the mean over the seeds is
            drawn, and between mean minus and plus the standard deviation is shaded. A row of panels for each table.
        titles: of the rows, e.g. names of data sets.
    """
    views = sorted({view for table in tables for view in table["view"]}, key=view_order)
    figure = new_figure(WIDTH, 0.6 + 2.6 * len(tables))
    grid = figure.subplots(len(tables), len(views), sharey="row", squeeze=False)
    for row, table in zip(grid, tables, strict=True):
        for axes, view in zip(row, views, strict=True):
            rows = table[table["view"] == view]
            for method in sorted(set(rows["method"]), key=method_order):
                by_epoch = 100 * rows[rows["method"] == method].groupby("epoch")["recall"].agg(["mean", "std"])
                draw_curve(axes, method, by_epoch["mean"])
                low, high = by_epoch["mean"] - by_epoch["std"], by_epoch["mean"] + by_epoch["std"]
                axes.fill_between(by_epoch.index, low, high, color=method_look(method).colour, alpha=0.2, linewidth=0)
            axes.set_title(view_label(view, views))
    for row, title in zip(grid, [*titles, *[""] * len(tables)], strict=False):
        row[0].set_ylabel(f"{title}\nR@1 (%)" if title else "R@1 (%)")
    for axes in grid[-1]:
        axes.set_xlabel("Epochs of co-training")
    draw_legend(figure, grid.flat)
    return figure


@rc_context(RC)
def training_curves(metrics: Mapping[str, pd.DataFrame], quantity: str = "loss") -> Figure:
    """A quantity of training over the epochs; cycles of one network follow each other.

    Args:
        metrics: name of the network ("infonce_rgb", "cpr_flow_cycle2") -> its metrics.jsonl, a row an epoch.
        quantity: the column to draw, of :data:`QUANTITIES`.
    """
    series: dict[str, dict[str, list[pd.Series]]] = {}
    for name in sorted(metrics, key=lambda name: (len(name), name)):  # cycle 10 after cycle 9
        method, view = re.sub(r"_cycle\d+$", "", name).rsplit("_", 1)
        series.setdefault(view, {}).setdefault(method, []).append(metrics[name][quantity].astype(float))
    views = sorted(series, key=view_order)
    figure = new_figure(WIDTH, 3.2)
    panels = figure.subplots(1, len(views), sharey=True, squeeze=False)[0]
    for axes, view in zip(panels, views, strict=True):
        for method in sorted(series[view], key=method_order):
            draw_curve(axes, method, pd.concat(series[view][method], ignore_index=True).dropna())
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
    views = sorted(set(table["view"]), key=view_order)
    methods = sorted(set(table["method"]), key=method_order)
    wide = 100 * table.pivot(index=["view", "k"], columns="method", values="recall")
    width = 0.84 / len(methods)
    figure = new_figure(WIDTH, 3.4)
    panels = figure.subplots(1, len(views), sharey=True, squeeze=False)[0]
    for axes, view in zip(panels, views, strict=True):
        heights = wide.loc[view]
        for i, method in enumerate(methods):
            axes.bar(np.arange(len(heights)) + (i + 0.5) * width - 0.42, heights[method], width, **bar_look(method))
        axes.set(title=view_label(view, views), xlabel="k", ylim=(0, 100))
        axes.set_xticks(range(len(heights)), heights.index.map(str))
        axes.grid(False, axis="x")
    panels[0].set_ylabel("R@k (%)")
    draw_legend(figure, panels)
    return figure
