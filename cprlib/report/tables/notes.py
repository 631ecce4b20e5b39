"""What has to be said below a comparison: chance, how well a share is known, and what is no better than untrained."""

from pathlib import Path

import pandas as pd

from cprlib.evaluation.chance import interval, is_better
from cprlib.methods import METHODS
from cprlib.report.names import in_order, method_look, view_label, within_line
from cprlib.store.files import resolve

UNTRAINED = "random"


def notes(run_folders: list[str | Path]) -> list[str]:
    """A line each, for runs with the same test videos.

    Args:
        run_folders: of runs, each with ``tables/retrieval.csv``.
    """
    paths = [resolve(folder) / "tables" / "retrieval.csv" for folder in run_folders]
    tables = [pd.read_csv(path) for path in paths if path.exists()]
    if not tables:
        return []
    table = pd.concat(tables).groupby(["method", "view", "k"], as_index=False).mean()
    if not {"chance", "queries"} <= set(table):  # of an older run
        return []
    count = int(table["queries"].iloc[0])
    chances = table.drop_duplicates("k").set_index("k")["chance"]
    low, high = interval(0.5, count)
    shown = ", ".join(f"R@{k} {100 * chances[k]:.1f}" for k in (1, 5, 10) if k in chances)
    lines = [
        f"Chance: {shown}. With {count} test videos the 95 % interval of a share of 50.0 is {100 * low:.1f} to "
        f"{100 * high:.1f}."
    ]
    first = table[table["k"] == 1]
    base = first[first["method"] == UNTRAINED].set_index("view")["recall"]
    trained = first[(first["method"] != UNTRAINED) & first["view"].isin(base.index)]
    worse = [row for row in in_order(trained).itertuples() if not is_better(row.recall, base[row.view], count)]
    if worse:
        named = ", ".join(f"{method_look(r.method).label} {within_line(view_label(r.view))}" for r in worse)
        lines.append(f"No better than untrained (R@1): {named}.")
    return lines + _bounds(first)


def _bounds(first: pd.DataFrame) -> list[str]:
    """Where labels as positives do not give the best R@1, they are no upper bound."""
    best = first.groupby(["view", "method"])["recall"].mean().unstack("method")
    labels = [name for name, method in METHODS.items() if method.needs_labels and name in best]
    lines = []
    for name in labels:
        beaten = [view for view in best.index if best.loc[view].drop(name).max() > best.loc[view, name]]
        if beaten:
            views = ", ".join(within_line(view_label(view)) for view in beaten)
            lines.append(f"{method_look(name).label} is no upper bound here: R@1 of others is higher ({views}).")
    return lines
