"""Curves of mining, training and retrieval over the epochs, bars over k, points of cascades."""

import re
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from cprlib.evaluation.mining import mining_recall_at_1, positive_mining_recall
from cprlib.methods import ALL_VIEWS, MEASURES, METHODS
from cprlib.report.figures.style import WIDTH, draw_bars, draw_curve, draw_legend, new_figure, panel_row, styled
from cprlib.report.names import method_order, view_label, view_order
from cprlib.report.tables.ablation import SETTINGS, sweep

QUANTITIES = {  # of a training, in its metrics.jsonl
    "loss": "Loss",
    "pmr": "PMR",
    "mining_r1": "Mining R@1",
    "lr": "Learning rate",
    "clips_per_s": "Clips per second",
    "seconds": "Seconds an epoch",
}
# colour-blind-safe, of different lightness, not used for methods
RATIO_LOOKS = [("#d55e00", "-", "o"), ("#006046", "--", "s"), ("#cc79a7", "-.", "^"), ("#111111", ":", "D")]
MARKS = {1: "v", 2: "^", 3: "s", 4: "D", 5: "o", 7: "P"}  # number of stages -> marker


@styled
def _curves(rows: Mapping[str, Mapping[tuple, pd.DataFrame]], title: str, x: str, height: float, share=False) -> Figure:
    """A row of panels for each quantity, a panel for each view, a line for each method.

    Args:
        rows: label of the quantity -> (view, method) -> table over the epochs, with columns mean and perhaps std.
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
    """PMR (Eq. 3) and mining R@1 over the epochs, a column for each network; logs: method -> view -> mining log."""
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
        tables: columns method, epoch, view, recall (in [0, 1]), from `cotraining_progress`.
        titles: of the rows, e.g. names of data sets.
    """
    rows = {}
    for table, title in zip(tables, titles, strict=True):
        lines = 100 * table.groupby(["view", "method", "epoch"])["recall"].agg(["mean", "std"])
        keys = lines.index.droplevel("epoch").unique()
        rows[f"{title}\nR@1 (%)".strip()] = {key: lines.loc[key] for key in keys}
    return _curves(rows, "{}", "Epochs of co-training", 0.6 + 2.6 * len(rows))


def training_curves(metrics: Mapping[str, pd.DataFrame], quantity: str = "loss") -> Figure:
    """A quantity of training over the epochs; the cycles of a network are joined.

    Args:
        metrics: name of the network ("infonce_rgb", "cpr_flow_cycle2", "iic") -> its metrics.jsonl, a row an epoch.
        quantity: a column, see :data:`QUANTITIES`.
    """
    cycles: dict[tuple[str, str], list[pd.Series]] = {}
    for name in sorted(metrics, key=lambda name: (len(name), name)):  # cycle 10 after cycle 9
        network = re.sub(r"_cycle\d+$", "", name)
        method, view = (network, ALL_VIEWS) if network in METHODS else network.rsplit("_", 1)
        cycles.setdefault((view, method), []).append(metrics[name][quantity].astype(float))
    lines = {key: pd.concat(parts, ignore_index=True).dropna().to_frame("mean") for key, parts in cycles.items()}
    return _curves({QUANTITIES[quantity]: lines}, "{} network", "Epoch", 3.2)


@styled
def recall_bars(table: pd.DataFrame) -> Figure:
    """Retrieval R@k, a panel for each view; table: method, view, k, recall, from `retrieval_table`."""
    wide = 100 * table.pivot(index=["view", "k"], columns="method", values="recall")
    views = sorted(set(table["view"]), key=view_order)
    figure, panels = panel_row(len(views), 3.4)
    for axes, view in zip(panels, views, strict=True):
        draw_bars(axes, wide.loc[view, sorted(wide, key=method_order)])
        axes.set(title=view_label(view, views), xlabel="k", ylim=(0, 100))
    panels[0].set_ylabel("R@k (%)")
    draw_legend(figure, panels)
    return figure


@styled
def choice_figure(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """How well the agreement of the views predicts PMR: a point for each plan, a panel for each network.

    Args:
        tables: view, or another title -> :func:`cprlib.evaluation.choice.rank_plans` with a column `pmr` in [0, 1].
    """
    figure, panels = panel_row(len(tables), 3.6)
    for axes, (title, table) in zip(panels, tables.items(), strict=True):
        for count, part in table.groupby("num_stages"):
            label = f"{count} stage{'s' if count > 1 else ''}"
            axes.plot(part["agreement"], 100 * part["pmr"], MARKS.get(count, "x"), ms=5, alpha=0.8, label=label)
        rank = table[["agreement", "pmr"]].corr(method="spearman").iloc[0, 1]
        axes.set(title=f"{view_label(title)} network: Spearman {rank:.2f}", xlabel="Agreement of the views")
    panels[0].set_ylabel("PMR (%)")
    draw_legend(figure, panels)
    return figure


@styled
def ablation_curves(frame: pd.DataFrame, measure: str = "pmr_end", setting: str = "num_stages") -> Figure:
    """A measure over the values of a setting, a panel for each view; over the number of stages a line for each ratio.

    A cascade of one stage, which is CoCLR's mining, does not use the ratio and is part of every line.

    Args:
        frame: an ablation, see :mod:`cprlib.report.tables.ablation`.
        measure: a name of MEASURES.
        setting: a name of `SETTINGS`.
    """
    of_stages = setting == "num_stages"
    swept = sweep(frame, *(["num_stages", "ratio"] if of_stages else [setting])).dropna(subset=measure)
    views = sorted(set(swept["view"]), key=view_order)
    ratios = sorted(swept.loc[swept["num_stages"] > 1, "ratio"].unique()) or [swept["ratio"].iloc[0]]
    values = sorted(swept[setting].unique())
    figure, panels = panel_row(len(views), 3.6)
    for axes, view in zip(panels, views, strict=True):
        rows = swept[swept["view"] == view]
        for i, (ratio, (colour, line, marker)) in enumerate(zip(ratios, RATIO_LOOKS, strict=False)):
            groups = rows[(rows["ratio"] == ratio) | (rows["num_stages"] == 1)].groupby(setting)[measure]
            mean, std = 100 * groups.mean(), 100 * groups.std().fillna(0)
            x = [values.index(value) + 0.06 * (i - (len(ratios) - 1) / 2) for value in mean.index]  # side by side
            look = {"color": colour, "linestyle": line, "marker": marker, "markersize": 7, "markeredgecolor": "white"}
            axes.errorbar(x, mean, std, label=f"Ratio {ratio:g}", elinewidth=1.2, capsize=3, **look)
        axes.set_xticks(range(len(values)), ["1\n(CoCLR)" if of_stages and v == 1 else str(v) for v in values])
        axes.set(title=view_label(view, views), xlabel=SETTINGS[setting])
        axes.margins(x=0.1)
    panels[0].set_ylabel(f"{MEASURES[measure].label} (%)")
    draw_legend(figure, panels)
    return figure
