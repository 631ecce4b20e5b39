"""Ablations of the cascade: mean and spread over the seeds.

An ablation is a frame with a row for each point, seed and view: `point` (its name, e.g. "num_stages=7 ratio=0.8"), the
`SETTINGS` that were swept, `view`, `seed`, and measures in [0, 1], NaN where a view has none.
"""

import pandas as pd

from cprlib.methods import MEASURES
from cprlib.report.names import view_label
from cprlib.report.tables.published import our_results
from cprlib.report.tables.text import measured, percents

SETTINGS = {
    "num_stages": "Number of stages",
    "ratio": "Ratio",
    "top_k": "Top k",
    "anchor": "Anchor",
    "cycles": "Cycles",
    "K": "Memory size",
}


def ablation_summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread over the seeds, a row for each point and view, in the order they come.

    Args:
        frame: an ablation as in the module's description; measures may be left out.

    Returns:
        point, settings, view, `n` (seeds), then each measure and `<measure>_std` (n - 1; NaN for one seed) in [0, 1].

    Raises:
        ValueError: no rows; a column is missing; a seed is there twice for a point and view.
    """
    _check(frame)
    groups = frame.groupby(["point", *SETTINGS, "view"], sort=False, dropna=False)
    values = groups[[name for name in MEASURES if name in frame]]
    return pd.concat([groups.size().rename("n"), values.mean(), values.std().add_suffix("_std")], axis=1).reset_index()


def ablation_words(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary as text, in percent, "± std" if there is one; measures without any number are left out."""
    words = {"Point": summary["point"], "View": [view_label(view, summary["view"]) for view in summary["view"]]}
    words["Runs"] = summary["n"].map(str)
    return pd.DataFrame(words | {MEASURES[name].label: percents(summary, name) for name in measured(summary)})


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
            f"{', '.join(others)}: pass the rows of one of them"
        )
    return frame[groups.ngroup() == sizes.index.get_loc(largest.index[0])]


def ablation_results(frame: pd.DataFrame, evaluated_on: str, pretrained_on: str, backbone: str) -> pd.DataFrame:
    """The sweep of stages and ratio as rows for tables 1 and 2 of the paper; arguments as for `our_results`."""
    swept = sweep(frame, "num_stages", "ratio")
    # a cascade of one stage goes straight to the top k and never uses the ratio
    settings = [
        "num_stages=1" if stages == 1 else f"num_stages={int(stages)} ratio={ratio:g}"
        for stages, ratio in zip(swept["num_stages"], swept["ratio"], strict=True)
    ]
    settings = dict(zip(swept["point"], settings, strict=True))
    summary = ablation_summary(swept).assign(method="cpr", setting=lambda table: table["point"].map(settings))
    return our_results(summary, evaluated_on, pretrained_on, backbone)


def _check(frame: pd.DataFrame) -> None:
    if frame.empty:
        raise ValueError("the ablation has no rows: run its points first")
    columns = ["point", *SETTINGS, "view", "seed"]
    missing = [name for name in columns if name not in frame]
    if missing:
        raise ValueError(f"the ablation has no column {missing[0]}; it needs {', '.join(columns)} and measures")
    twice = frame.duplicated(["point", "view", "seed"])
    if twice.any():
        row = frame[twice].iloc[0]
        raise ValueError(f"point {row['point']}, view {row['view']}, seed {row['seed']} is there twice: keep one row")
