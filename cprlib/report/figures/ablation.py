"""Ablations of the cascade as figures, mean ± standard deviation over the seeds."""

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from cprlib.methods import ALL_VIEWS, MEASURES
from cprlib.report.figures.style import BAR, ERROR_BARS, RC, draw_bars, draw_legend, panel_row
from cprlib.report.names import view_label, view_order
from cprlib.report.tables.ablation import SETTINGS, sweep

# colour-blind-safe, of different lightness; none of them is a method's
_RATIO_LOOKS = [("#d55e00", "-", "o"), ("#006046", "--", "s"), ("#cc79a7", "-.", "^"), ("#111111", ":", "D")]
_VIEW_LOOKS = {"rgb": ("#d55e00", ""), "flow": ("#7cc4ad", "///"), "residual": ("#cccccc", "...")}
_VIEW_LOOKS |= {ALL_VIEWS: ("#444444", "xxx")}


@rc_context(RC)
def ablation_curves(frame: pd.DataFrame, measure: str = "pmr_end") -> Figure:
    """A measure over the number of stages: a panel for each view, a line for each ratio.

    A cascade of one stage, which is CoCLR's mining, does not use the ratio and belongs to every line.

    Args:
        frame: an ablation, see :mod:`cprlib.report.tables.ablation`.
        measure: a name of MEASURES.
    """
    swept = sweep(frame, "num_stages", "ratio").dropna(subset=measure)
    views = sorted(set(swept["view"]), key=view_order)
    ratios = sorted(swept.loc[swept["num_stages"] > 1, "ratio"].unique()) or [swept["ratio"].iloc[0]]
    stages = sorted(swept["num_stages"].unique())
    figure, panels = panel_row(len(views), 3.6)
    for axes, view in zip(panels, views, strict=True):
        rows = swept[swept["view"] == view]
        for i, ratio in enumerate(ratios):
            groups = rows[(rows["ratio"] == ratio) | (rows["num_stages"] == 1)].groupby("num_stages")[measure]
            mean, std = 100 * groups.mean(), 100 * groups.std().fillna(0)
            x = mean.index.to_numpy(float) + 0.12 * (i - (len(ratios) - 1) / 2)  # apart, so that no bar covers another
            colour, line, marker = _RATIO_LOOKS[i % len(_RATIO_LOOKS)]
            look = {"color": colour, "linestyle": line, "marker": marker, "markersize": 7, "markeredgecolor": "white"}
            axes.errorbar(x, mean, std, label=f"Ratio {ratio:g}", **look, **ERROR_BARS)
        axes.set_xticks(stages, ["1\n(CoCLR)" if n == 1 else str(n) for n in stages])
        axes.set(title=view_label(view, views), xlabel=SETTINGS["num_stages"])
    panels[0].set_ylabel(f"{MEASURES[measure].label} (%)")
    draw_legend(figure, panels)
    return figure


@rc_context(RC)
def sweep_bars(frame: pd.DataFrame, setting: str, measure: str = "pmr_end") -> Figure:
    """A measure for each value of one of `SETTINGS`, a bar for each view; arguments as for `ablation_curves`."""
    groups = 100 * sweep(frame, setting).dropna(subset=measure).set_index([setting, "view"])[measure]
    groups = groups.groupby(level=[setting, "view"])
    mean, std = (part.unstack("view") for part in (groups.mean(), groups.std().fillna(0)))
    mean = mean[sorted(mean, key=view_order)]

    def look(view: str) -> dict:
        colour, hatch = _VIEW_LOOKS.get(view, ("#cc79a7", "\\\\\\"))
        return {"color": colour, "hatch": hatch, "label": view_label(view, list(mean)), **BAR}

    figure, (axes,) = panel_row(1, 3.4)
    draw_bars(axes, mean, look, spread=std)
    for bars in axes.containers[1::2]:  # each after its error bars
        axes.bar_label(bars, fmt="%.1f", label_type="center", fontsize=9, bbox={"facecolor": "white", "linewidth": 0})
    axes.set(xlabel=SETTINGS[setting], ylabel=f"{MEASURES[measure].label} (%)")
    draw_legend(figure, [axes])
    return figure
