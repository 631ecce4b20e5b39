"""Ablations of the cascade as figures, mean ± standard deviation over the seeds."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from cprlib.methods import ALL_VIEWS, MEASURES
from cprlib.report.figures.style import BAR, RC, WIDTH, draw_legend, new_figure
from cprlib.report.names import view_label, view_order
from cprlib.report.tables.ablation import SETTINGS, sweep

# colour-blind-safe, of different lightness; none of them is a method's
_RATIO_LOOKS = [("#d55e00", "-", "o"), ("#006046", "--", "s"), ("#cc79a7", "-.", "^"), ("#111111", ":", "D")]
_ERROR_BARS = {"elinewidth": 1.2, "capsize": 3}
_VIEW_LOOKS = {"rgb": ("#d55e00", ""), "flow": ("#7cc4ad", "///"), "residual": ("#cccccc", "...")}
_VIEW_LOOKS |= {ALL_VIEWS: ("#444444", "xxx")}


@rc_context(RC)
def ablation_curves(frame: pd.DataFrame, measure: str = "pmr_end") -> Figure:
    """A measure over the number of stages: a panel for each view, a line for each ratio.

    A cascade of one stage, which is CoCLR's mining, does not use the ratio and belongs to every line.

    Args:
        frame: an ablation, see :mod:`cprlib.report.tables.ablation`.
        measure: a name of MEASURES.

    Raises:
        ValueError: as `sweep`; another measure, or one that the ablation does not have.
    """
    swept, views = _measured(sweep(frame, "num_stages", "ratio"), measure)
    ratios = sorted(swept.loc[swept["num_stages"] > 1, "ratio"].unique()) or [swept["ratio"].iloc[0]]
    stages = sorted(swept["num_stages"].unique())
    figure = new_figure(WIDTH, 3.6)
    panels = figure.subplots(1, len(views), sharey=True, squeeze=False)[0]
    for axes, view in zip(panels, views, strict=True):
        rows = swept[swept["view"] == view]
        for i, ratio in enumerate(ratios):
            groups = rows[(rows["ratio"] == ratio) | (rows["num_stages"] == 1)].groupby("num_stages")[measure]
            mean, std = 100 * groups.mean(), 100 * groups.std().fillna(0)
            x = mean.index.to_numpy(float) + 0.12 * (i - (len(ratios) - 1) / 2)  # apart, so that no bar covers another
            colour, line, marker = _RATIO_LOOKS[i % len(_RATIO_LOOKS)]
            look = {"color": colour, "linestyle": line, "marker": marker, "markersize": 7, "markeredgecolor": "white"}
            axes.errorbar(x, mean, std, label=f"Ratio {ratio:g}", **look, **_ERROR_BARS)
        axes.set_xticks(stages, ["1\n(CoCLR)" if n == 1 else str(n) for n in stages])
        axes.set(title=view_label(view, views), xlabel=SETTINGS["num_stages"])
    panels[0].set_ylabel(f"{MEASURES[measure].label} (%)")
    draw_legend(figure, panels)
    return figure


@rc_context(RC)
def sweep_bars(frame: pd.DataFrame, setting: str, measure: str = "pmr_end") -> Figure:
    """A measure for each value of one setting, a bar for each view.

    Args:
        frame: an ablation.
        setting: one of `SETTINGS`.
        measure: a name of MEASURES.

    Raises:
        ValueError: as `sweep`; another measure, or one that the ablation does not have.
    """
    swept, views = _measured(sweep(frame, setting), measure)
    groups = swept.groupby([setting, "view"])[measure]
    mean, std = (100 * part.unstack("view") for part in (groups.mean(), groups.std().fillna(0)))
    figure = new_figure(WIDTH, 3.4)
    axes = figure.subplots()
    width = 0.8 / len(views)
    text: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 9, "textcoords": "offset points"}
    text["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    for i, view in enumerate(views):
        x = np.arange(len(mean)) + (i + 0.5) * width - 0.4
        colour, hatch = _VIEW_LOOKS.get(view, ("#cc79a7", "\\\\\\"))
        look = {"color": colour, "hatch": hatch, "label": view_label(view, views), **BAR}
        axes.bar(x, mean[view], width, yerr=std[view], error_kw=_ERROR_BARS, **look)
        for place, value in zip(x, mean[view], strict=True):
            axes.annotate(f"{value:.1f}", (place, 0), (0, 3), **text)
    axes.set(xlabel=SETTINGS[setting], ylabel=f"{MEASURES[measure].label} (%)")
    axes.set_xticks(range(len(mean)), mean.index.map(str))
    axes.grid(False, axis="x")
    draw_legend(figure, [axes])
    return figure


def _measured(frame: pd.DataFrame, measure: str) -> tuple[pd.DataFrame, list[str]]:
    """The rows that have the measure, and their views in order."""
    if measure not in MEASURES:
        raise ValueError(f"measure {measure}: choose from {', '.join(MEASURES)}")
    measured = frame.dropna(subset=measure) if measure in frame else frame.iloc[:0]
    if measured.empty:
        raise ValueError(
            f"no point of the ablation has a {measure}: run the notebook that measures it, or draw another"
        )
    return measured, sorted(set(measured["view"]), key=view_order)
