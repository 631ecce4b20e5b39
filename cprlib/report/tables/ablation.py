"""Ablations of the cascade: mean and spread over the seeds.

An ablation is a table with a row for each point, seed and view: `point` (its name, e.g. "num_stages=7 ratio=0.8"), the
`SETTINGS` of the point, `view`, `seed`, and measures in [0, 1], NaN where a view has none.
"""

from pathlib import Path

import pandas as pd

from cprlib.methods import MEASURES
from cprlib.report.tables.comparison import mean_and_spread
from cprlib.report.tables.published import our_results
from cprlib.report.tables.text import labelled, measured, percents
from cprlib.store.tables import read_csv

SETTINGS = {
    "num_stages": "Number of stages",
    "ratio": "Ratio",
    "top_k": "Top k",
    "anchor": "Anchor",
    "cycles": "Cycles",
    "K": "Memory size",
}


def read_ablation(path: Path) -> pd.DataFrame:
    """The table ablation.csv of a run."""
    return read_csv(path, ["point", *SETTINGS, "view", "seed"])


def ablation_summary(frame: pd.DataFrame) -> pd.DataFrame:
    """`mean_and_spread` over the seeds for each point and view, in the order they come.

    Raises:
        ValueError: a point and view has a seed twice, e.g. because a run was named twice.
    """
    twice = frame.loc[frame.duplicated(["point", "view", "seed"]), ["point", "view", "seed"]]
    if len(twice):
        raise ValueError("point {}, view {}, seed {} is there twice: keep one row".format(*twice.iloc[0]))
    return mean_and_spread(frame, ["point", *SETTINGS, "view"])


def ablation_words(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary as text, in percent, "± std" if there is one; measures without any number are left out."""
    cells = {"Runs": summary["runs"].map(str)}
    words = labelled(summary, cells | {MEASURES[name].label: percents(summary, name) for name in measured(summary)})
    words.insert(0, "Point", summary["point"])
    return words


def sweep(frame: pd.DataFrame, *settings: str) -> pd.DataFrame:
    """The rows of the largest group of points that differ in nothing but these settings.

    Raises:
        ValueError: two groups are equally large; the caller has to choose one.
    """
    others = [name for name in SETTINGS if name not in settings]
    groups = frame.groupby(others, sort=False, dropna=False)
    sizes = groups["point"].nunique()
    largest = sizes[sizes == sizes.max()].index
    if len(largest) > 1:
        raise ValueError(
            f"a sweep of {' and '.join(settings)} can be drawn at {largest[0]} or at {largest[1]} of "
            f"{', '.join(others)}: pass the rows of one of them"
        )
    return frame[groups.ngroup() == sizes.index.get_loc(largest[0])]


def ablation_results(frame: pd.DataFrame, evaluated_on: str, pretrained_on: str, backbone: str) -> pd.DataFrame:
    """The sweep of stages and ratio as rows for tables 1 and 2 of the paper; arguments as for `our_results`."""
    summary = ablation_summary(sweep(frame, "num_stages", "ratio"))
    stages = "num_stages=" + summary["num_stages"].astype(int).astype(str)
    ratio = " ratio=" + summary["ratio"].map("{:g}".format)
    setting = stages + ratio.where(summary["num_stages"] > 1, "")  # one stage goes straight to the top k: no ratio
    return our_results(summary.assign(method="cpr", setting=setting), evaluated_on, pretrained_on, backbone)
