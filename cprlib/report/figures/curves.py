"""Mining, training and retrieval in numbers: curves over the epochs, bars over k."""

import re
from collections.abc import Mapping

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from cprlib.evaluation.mining import mining_recall_at_1, positive_mining_recall
from cprlib.report.figures.style import RC, WIDTH, bar_look, draw_bars, draw_curve, draw_legend, new_figure, panel_row
from cprlib.report.names import method_order, view_label, view_order

QUANTITIES = {  # of a training, in its metrics.jsonl
    "loss": "Loss",
    "pmr": "PMR",
    "mining_r1": "Mining R@1",
    "lr": "Learning rate",
    "clips_per_s": "Clips per second",
    "seconds": "Seconds an epoch",
}


@rc_context(RC)
def _curves(rows: Mapping[str, Mapping[tuple[str, str], pd.Series]], title: str, x: str, height: float) -> Figure:
    """A row of panels for each quantity, a panel for each view, a line for each method: (view, method) -> line."""
    views = sorted({view for lines in rows.values() for view, _ in lines}, key=view_order)
    figure = new_figure(WIDTH, height)
    grid = figure.subplots(len(rows), len(views), sharex="col", sharey="row", squeeze=False)
    for row, (quantity, lines) in zip(grid, rows.items(), strict=True):
        row[0].set_ylabel(quantity)
        for view, method in sorted(lines, key=lambda key: method_order(key[1])):
            draw_curve(row[views.index(view)], method, lines[view, method])
    for axes, view in zip(grid[0], views, strict=True):
        axes.set_title(title.format(view_label(view, views)))
    for axes in grid[-1]:
        axes.set_xlabel(x)
    draw_legend(figure, grid.flat)
    return figure


def mining_curves(logs: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """PMR (Eq. 3) and mining R@1 over the epochs, a column for each network; logs: method -> its view -> mining log."""
    measures = {"PMR (%)": positive_mining_recall, "Mining R@1 (%)": mining_recall_at_1}
    rows = {
        name: {(view, method): 100 * measure(log) for method in logs for view, log in logs[method].items()}
        for name, measure in measures.items()
    }
    figure = _curves(rows, "{} network", "Epoch", 5.2)
    for axes in figure.axes:
        axes.set_ylim(bottom=0)
    return figure


def cotraining_curves(table: pd.DataFrame) -> Figure:
    """R@1 over co-training; table: method, epoch, view, recall, as `cotraining_progress` makes it."""
    groups = table.groupby(["view", "method"])
    lines = {key: 100 * rows.groupby("epoch")["recall"].mean() for key, rows in groups}
    return _curves({"R@1 (%)": lines}, "{}", "Epochs of co-training", 3.2)


def training_curves(metrics: Mapping[str, pd.DataFrame], quantity: str = "loss") -> Figure:
    """A quantity of training over the epochs; cycles of one network follow each other.

    Args:
        metrics: name of the network ("infonce_rgb", "cpr_flow_cycle2") -> its metrics.jsonl, a row an epoch.
        quantity: the column to draw, of :data:`QUANTITIES`.
    """
    cycles: dict[tuple[str, str], list[pd.Series]] = {}
    for name in sorted(metrics, key=lambda name: (len(name), name)):  # cycle 10 after cycle 9
        method, view = re.sub(r"_cycle\d+$", "", name).rsplit("_", 1)
        cycles.setdefault((view, method), []).append(metrics[name][quantity].astype(float))
    lines = {key: pd.concat(parts, ignore_index=True).dropna() for key, parts in cycles.items()}
    return _curves({QUANTITIES[quantity]: lines}, "{} network", "Epoch", 3.2)


@rc_context(RC)
def recall_bars(table: pd.DataFrame) -> Figure:
    """Retrieval R@k, a panel for each view; table: method, view, k, recall, as `retrieval_table` makes it."""
    wide = 100 * table.pivot(index=["view", "k"], columns="method", values="recall")
    views = sorted(set(table["view"]), key=view_order)
    figure, panels = panel_row(len(views), 3.4)
    for axes, view in zip(panels, views, strict=True):
        draw_bars(axes, wide.loc[view, sorted(wide, key=method_order)], bar_look)
        axes.set(title=view_label(view, views), xlabel="k", ylim=(0, 100))
    panels[0].set_ylabel("R@k (%)")
    draw_legend(figure, panels)
    return figure
