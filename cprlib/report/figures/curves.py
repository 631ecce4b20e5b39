"""Mining, training and retrieval in numbers: curves over the epochs, bars over k."""

import re
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from cprlib.evaluation.mining import mining_recall_at_1, positive_mining_recall
from cprlib.methods import ALL_VIEWS, METHODS
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
def _curves(rows: Mapping[str, Mapping[tuple, pd.DataFrame]], title: str, x: str, height: float, share=False) -> Figure:
    """A row of panels for each quantity, a panel for each view, a line for each method.

    Args:
        rows: label of the quantity -> (view, method) -> over the index, the columns mean and perhaps std.
    """
    views = sorted({view for lines in rows.values() for view, _ in lines}, key=view_order)
    figure = new_figure(WIDTH, height)
    grid = figure.subplots(len(rows), len(views), sharex=share, sharey="row", squeeze=False)
    for row, (quantity, lines) in zip(grid, rows.items(), strict=True):
        row[0].set_ylabel(quantity)
        for view, method in sorted(lines, key=lambda key: method_order(key[1])):
            draw_curve(row[views.index(view)], method, lines[view, method])
    for axes, view in zip(grid[0], views, strict=True):
        label = view_label(view, views)
        axes.set_title(label if view == ALL_VIEWS else title.format(label))
    for axes in grid[-1]:
        axes.set_xlabel(x)
    draw_legend(figure, grid.flat)
    return figure


def mining_curves(logs: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """PMR (Eq. 3) and mining R@1 over the epochs, a column for each network; logs: method -> its view -> mining log."""
    measures = {"PMR (%)": positive_mining_recall, "Mining R@1 (%)": mining_recall_at_1}
    rows = {
        name: {(v, m): (100 * measure(log)).to_frame("mean") for m in logs for v, log in logs[m].items()}
        for name, measure in measures.items()
    }
    figure = _curves(rows, "{} network", "Epoch", 5.2, share="col")
    for axes in figure.axes:
        axes.set_ylim(bottom=0)
    return figure


def cotraining_curves(*tables: pd.DataFrame, titles: Sequence[str] = ("",)) -> Figure:
    """R@1 over co-training, a row of panels for each table, mean and standard deviation over the seeds.

    Args:
        tables: columns method, epoch, view, recall (in [0, 1]), as `cotraining_progress` makes them.
        titles: of the rows, e.g. names of data sets.
    """
    rows = {}
    for table, title in zip(tables, titles, strict=True):
        lines = 100 * table.groupby(["view", "method", "epoch"])["recall"].agg(["mean", "std"])
        keys = lines.index.droplevel("epoch").unique()
        rows[f"{title}\nR@1 (%)".strip()] = {key: lines.loc[key] for key in keys}
    return _curves(rows, "{}", "Epochs of co-training", 0.6 + 2.6 * len(rows))


def training_curves(metrics: Mapping[str, pd.DataFrame], quantity: str = "loss") -> Figure:
    """A quantity of training over the epochs; cycles of one network follow each other.

    Args:
        metrics: name of the network ("infonce_rgb", "cpr_flow_cycle2", "iic") -> its metrics.jsonl, a row an epoch.
        quantity: the column to draw, of :data:`QUANTITIES`.
    """
    cycles: dict[tuple[str, str], list[pd.Series]] = {}
    for name in sorted(metrics, key=lambda name: (len(name), name)):  # cycle 10 after cycle 9
        network = re.sub(r"_cycle\d+$", "", name)
        method, view = (network, ALL_VIEWS) if network in METHODS else network.rsplit("_", 1)
        cycles.setdefault((view, method), []).append(metrics[name][quantity].astype(float))
    lines = {key: pd.concat(parts, ignore_index=True).dropna().to_frame("mean") for key, parts in cycles.items()}
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
