"""Ablations of the cascade: mean and spread over seeds in a table, and two figures.

An ablation is a frame with a row for each point, seed and view: `point` (its name, e.g. "num_stages=7 ratio=0.8"), what
was swept (num_stages, ratio, top_k, anchor, cycles, K), `view`, `seed`, and measures in [0, 1], NaN where a view has
none.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cprlib.report.figures.style import RC, VIEWS, WIDTH, draw_legend, new_figure, view_label
from cprlib.report.tables.comparison import UNKNOWN
from cprlib.report.tables.published import our_results

SETTINGS = {
    "num_stages": "Number of stages",
    "ratio": "Ratio",
    "top_k": "Top k",
    "anchor": "Anchor",
    "cycles": "Cycles",
    "K": "Memory size",
}
MEASURES = {
    "pmr_end": "PMR",
    "mining_r1": "Mining R@1",
    "cmr_source": "Median CMR",
    "cmr_video": "CMR by video",
    "r1": "R@1",
    "probe": "Linear probe",
}
# colour-blind-safe, of different lightness; none of them is a method's
_RATIO_LOOKS = [("#d55e00", "-", "o"), ("#006046", "--", "s"), ("#cc79a7", "-.", "^"), ("#111111", ":", "D")]
_ERROR_BARS = {"elinewidth": 1.2, "capsize": 3}
_EDGE = {"edgecolor": "white", "linewidth": 0.5}
_VIEW_LOOKS = {
    "rgb": {"color": "#d55e00"} | _EDGE,
    "flow": {"color": "#7cc4ad", "hatch": "///"} | _EDGE,
    "residual": {"color": "#cccccc", "hatch": "..."} | _EDGE,
    "both": {"color": "#444444", "hatch": "xxx"} | _EDGE,
}
_WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
_BAR_TEXT = {"ha": "center", "va": "bottom", "fontsize": 9, "bbox": _WHITE}


def ablation_summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over the seeds, a row for each point and view, in the order they come.

    Args:
        frame: an ablation as in the module's description; measures may be left out.

    Returns:
        point, settings, view, `n` (seeds, int), then for each measure its mean and `<measure>_std` (n - 1; NaN for one
        seed), in percent, over the seeds that have it.

    Raises:
        ValueError: no rows; a column is missing; an unknown view; a seed is there twice for a point and view.
    """
    _check(frame)
    measures = [name for name in MEASURES if name in frame]
    groups = frame.groupby(["point", *SETTINGS, "view"], sort=False, dropna=False)
    mean, std = 100 * groups[measures].mean(), 100 * groups[measures].std()
    summary = pd.concat([groups.size().rename("n"), mean, std.add_suffix("_std")], axis=1)
    return summary[["n", *(name for m in measures for name in (m, f"{m}_std"))]].reset_index()


def ablation_words(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary as strings for `tables.to_markdown`: percent with one decimal, "± std" if there is one, "–"."""
    words = {"Point": summary["point"], "View": summary["view"].map(view_label), "Runs": summary["n"].map(str)}
    for name, title in MEASURES.items():
        if name in summary:
            words[title] = [_words(*pair) for pair in zip(summary[name], summary[f"{name}_std"], strict=True)]
    return pd.DataFrame(words)


def sweep(frame: pd.DataFrame, *settings: str) -> pd.DataFrame:
    """The rows of the largest group of points that differ in nothing but these settings.

    Raises:
        ValueError: an unknown setting; two groups are equally large, so that the caller has to choose.
    """
    _check(frame)
    unknown = set(settings) - set(SETTINGS)
    if unknown:
        raise ValueError(f"settings {sorted(unknown)} of a sweep: choose from {', '.join(SETTINGS)}")
    others = [name for name in SETTINGS if name not in settings]
    groups = frame.groupby(others, sort=False, dropna=False)
    sizes = groups["point"].nunique()
    largest = sizes[sizes == sizes.max()]
    if len(largest) > 1:
        raise ValueError(
            f"a sweep of {' and '.join(settings)} can be drawn at {largest.index[0]} or at {largest.index[1]} of "
            f"{', '.join(others)}: hand over the rows of one of them"
        )
    return frame[groups.ngroup() == sizes.index.get_loc(largest.index[0])]


def ablation_results(frame: pd.DataFrame, evaluated_on: str, pretrained_on: str, backbone: str) -> pd.DataFrame:
    """The sweep of stages and ratio as rows for `published.paper_table`, tables 1 and 2.

    Args:
        frame: an ablation.
        evaluated_on, pretrained_on, backbone: as for `published.our_results`.
    """
    swept = sweep(frame, "num_stages", "ratio")
    # a cascade of one stage goes straight to the top k and never uses the ratio
    settings = [
        "num_stages=1" if stages == 1 else f"num_stages={int(stages)} ratio={ratio:g}"
        for stages, ratio in zip(swept["num_stages"], swept["ratio"], strict=True)
    ]
    measures = [name for name in MEASURES if name in frame]
    groups = swept.assign(setting=settings, method="cpr").groupby(["setting", "method", "view"], sort=False)[measures]
    mean, std = groups.mean().reset_index(), groups.std().reset_index()
    return our_results(mean, evaluated_on, pretrained_on, backbone, std)


@rc_context(RC)
def ablation_curves(frame: pd.DataFrame, measure: str = "pmr_end") -> Figure:
    """A measure over the number of stages: a panel for each view, a line for each ratio, mean ± std over seeds.

    A cascade of one stage, which is CoCLR's mining, does not use the ratio and belongs to every line.

    Args:
        frame: an ablation.
        measure: one of `MEASURES`.

    Raises:
        ValueError: as `sweep`; another measure, or one that the ablation does not have.
    """
    swept = _measured(sweep(frame, "num_stages", "ratio"), measure)
    views = _views(swept)
    ratios = sorted(swept.loc[swept["num_stages"] > 1, "ratio"].unique()) or [swept["ratio"].iloc[0]]
    figure = new_figure(WIDTH, 3.6)
    panels = figure.subplots(1, len(views), sharey=True, squeeze=False)[0]
    for axes, view in zip(panels, views, strict=True):
        rows = swept[swept["view"] == view]
        for i, ratio in enumerate(ratios):
            line = rows[(rows["ratio"] == ratio) | (rows["num_stages"] == 1)]
            _draw_line(axes, line.groupby("num_stages")[measure], ratio, i, len(ratios))
        stages = sorted(swept["num_stages"].unique())
        axes.set_xticks(stages, ["1\n(CoCLR)" if n == 1 else str(n) for n in stages])
        axes.set(title=view_label(view), xlabel=SETTINGS["num_stages"])
    panels[0].set_ylabel(f"{MEASURES[measure]} (%)")
    draw_legend(figure, panels)
    return figure


@rc_context(RC)
def sweep_bars(frame: pd.DataFrame, setting: str, measure: str = "pmr_end") -> Figure:
    """A measure for each value of one setting, a bar for each view, mean ± std over seeds.

    Args:
        frame: an ablation.
        setting: one of `SETTINGS`.
        measure: one of `MEASURES`.

    Raises:
        ValueError: as `sweep`; another measure, or one that the ablation does not have.
    """
    swept = _measured(sweep(frame, setting), measure)
    views, values = _views(swept), sorted(swept[setting].unique())
    groups = swept.groupby([setting, "view"])[measure]
    mean, std = (100 * part.unstack("view").reindex(values) for part in (groups.mean(), groups.std().fillna(0)))
    figure = new_figure(WIDTH, 3.4)
    axes = figure.subplots()
    width = 0.8 / len(views)
    for i, view in enumerate(views):
        x = np.arange(len(values)) + (i + 0.5) * width - 0.4
        axes.bar(
            x, mean[view], width, yerr=std[view], error_kw=_ERROR_BARS, label=view_label(view), **_VIEW_LOOKS[view]
        )
        for place, value in zip(x, mean[view], strict=True):
            axes.annotate(f"{value:.1f}", (place, 0), (0, 3), textcoords="offset points", **_BAR_TEXT)
    axes.set(xlabel=SETTINGS[setting], ylabel=f"{MEASURES[measure]} (%)")
    axes.set_xticks(range(len(values)), [str(value) for value in values])
    axes.grid(False, axis="x")
    draw_legend(figure, [axes])
    return figure


def _check(frame: pd.DataFrame) -> None:
    if frame.empty:
        raise ValueError("the ablation has no rows: run its points first")
    columns = ["point", *SETTINGS, "view", "seed"]
    missing = [name for name in columns if name not in frame]
    if missing:
        raise ValueError(f"the ablation has no column {missing[0]}; it needs {', '.join(columns)} and measures")
    unknown = set(frame["view"]) - set(VIEWS)
    if unknown:
        raise ValueError(f"views {sorted(unknown)} of the ablation: choose from {', '.join(VIEWS)}")
    twice = frame.duplicated(["point", "view", "seed"])
    if twice.any():
        row = frame[twice].iloc[0]
        raise ValueError(f"point {row['point']}, view {row['view']}, seed {row['seed']} is there twice: keep one row")


def _measured(frame: pd.DataFrame, measure: str) -> pd.DataFrame:
    """The rows that have the measure."""
    if measure not in MEASURES:
        raise ValueError(f"measure {measure}: choose from {', '.join(MEASURES)}")
    measured = frame.dropna(subset=measure) if measure in frame else frame.iloc[:0]
    if measured.empty:
        raise ValueError(
            f"no point of the ablation has a {measure}: run the notebook that measures it, or draw another"
        )
    return measured


def _views(frame: pd.DataFrame) -> list[str]:
    return sorted(frame["view"].unique(), key=list(VIEWS).index)


def _words(mean: float, std: float) -> str:
    return UNKNOWN if pd.isna(mean) else f"{mean:.1f}" + ("" if pd.isna(std) else f" ± {std:.1f}")


def _draw_line(axes: Axes, groups: Any, ratio: float, index: int, count: int) -> None:
    """Mean and std of the groups; lines stand a little apart, or their bars would cover each other."""
    mean, std = 100 * groups.mean(), 100 * groups.std().fillna(0)
    colour, line, marker = _RATIO_LOOKS[index % len(_RATIO_LOOKS)]
    axes.errorbar(
        mean.index.to_numpy(float) + 0.12 * (index - (count - 1) / 2),
        mean,
        std,
        color=colour,
        linestyle=line,
        marker=marker,
        markersize=7,
        markeredgecolor="white",
        **_ERROR_BARS,
        label=f"Ratio {ratio:g}",
    )
