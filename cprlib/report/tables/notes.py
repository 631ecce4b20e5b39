"""Lines below a comparison: chance, what is no better than untrained, what training made worse, what to try then."""

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from cprlib.evaluation.chance import interval, is_better
from cprlib.evaluation.retrieval import SMALL
from cprlib.methods import COTRAINED, METHODS
from cprlib.report.names import in_order, method_look, view_label, view_order, within_line
from cprlib.store.files import resolve
from cprlib.store.tables import read_csv

UNTRAINED, START = "random", "infonce"
ADVICE = {
    "rgb": "larger clips (clip_size, clip_len), or flow instead of RGB where pictures are dark or grainy",
    "flow": "another flow_bound or flow_method: notebook 01 shows how much of the flow is clipped",
}


def notes(run_folders: list[str | Path]) -> list[str]:
    """The lines for runs with the same test videos; none before retrieval has run."""
    paths = [resolve(folder) / "tables" / "retrieval.csv" for folder in run_folders]
    tables = [read_csv(path, ["method", "view", "k"]) for path in paths if path.exists()]
    if not tables:
        return []
    table = pd.concat(tables).groupby(["method", "view", "k"], as_index=False).mean()
    if not {"chance", "queries"} <= set(table):  # tables of an earlier version
        return []
    count = int(table["queries"].iloc[0])
    chances = table.drop_duplicates("k").set_index("k")["chance"]
    shown = ", ".join(f"R@{k} {100 * chances[k]:.1f}" for k in (1, 5, 10) if k in chances)
    known = f"With {count} test videos the 95 % interval of a share of 50.0 is {_interval(0.5, count)}."
    lines = [f"Chance: {shown}. {known}"]
    first = table[table["k"] == 1]
    weak = [row for row in _against(first, UNTRAINED) if not is_better(row.recall, row.base, count)]
    if weak:
        lines.append(f"No better than untrained (R@1): {', '.join(_name(row, first['view']) for row in weak)}.")
    left_out = _left_out([path.with_name("left_out.csv") for path in paths]) if count < SMALL else []
    return [*lines, *_worse(first, count), *_bounds(first), *left_out]


def _left_out(paths: list[Path]) -> list[str]:
    """R@1 with every video as query, for data with few test videos; in all views together if there are several."""
    tables = [read_csv(path, ["method", "view"]) for path in paths if path.exists()]
    if not any(map(len, tables)):
        return []
    table = pd.concat(tables).groupby(["method", "view"], as_index=False).mean()
    rows = list(in_order(table[table["view"] == max(table["view"], key=view_order)]).itertuples())
    views = table["view"]
    told = [f"{_name(row, views)} {100 * row.recall:.1f} ({_interval(row.recall, int(row.groups))})" for row in rows]
    return [
        f"R@1 with all {rows[-1].videos:.0f} videos as queries, training videos included, each among the videos of "
        f"other recordings; the 95 % interval is that of {rows[-1].groups:.0f} recordings: {'; '.join(told)}."
    ]


def _against(first: pd.DataFrame, base: str) -> list:
    """Rows of the trained methods other than a base, each with the base's R@1 in its view."""
    bases = first.loc[first["method"] == base, ["view", "recall"]].rename(columns={"recall": "base"})
    others = first[~first["method"].isin([UNTRAINED, base])]
    return list(in_order(others.merge(bases, on="view")).itertuples(index=False))


def _worse(first: pd.DataFrame, count: int) -> list[str]:
    """What training made worse than random weights or than the InfoNCE start, and what to try."""
    lines, views = [], set()
    for base, name in ((UNTRAINED, "random weights"), (START, "the InfoNCE start")):
        worse = [row for row in _against(first, base) if row.recall < row.base]
        worse = [row for row in worse if base == UNTRAINED or row.method in COTRAINED]
        views |= {row.view for row in worse}
        told = []
        for row in worse:
            sure = "" if is_better(row.base, row.recall, count) else ", perhaps by chance"
            told.append(f"{_name(row, first['view'])} ({100 * row.recall:.1f} against {100 * row.base:.1f}{sure})")
        if told:
            lines.append(f"Training made R@1 worse than {name}: {'; '.join(told)}.")
    if lines:
        shown = sorted(views & ADVICE.keys(), key=view_order)
        advice = [f"for {within_line(view_label(view))} {ADVICE[view]}" for view in shown]
        lines.append(f"What to try: {'; '.join(['more epochs, more videos', *advice])}.")
    return lines


def _name(row: tuple, views: Collection[str]) -> str:
    return f"{method_look(row.method).label} {within_line(view_label(row.view, views))}"


def _interval(share: float, count: int) -> str:
    return " to ".join(f"{100 * bound:.1f}" for bound in interval(share, count))


def _bounds(first: pd.DataFrame) -> list[str]:
    """Methods trained with labels that do not have the best R@1 and so are no upper bound."""
    best = first.pivot(index="view", columns="method", values="recall")
    lines = []
    for name in (name for name, method in METHODS.items() if method.needs_labels and name in best):
        beaten = sorted(best.index[best.drop(columns=name).max(axis=1) > best[name]], key=view_order)
        if beaten:
            views = ", ".join(within_line(view_label(view, best.index)) for view in beaten)
            lines.append(f"{method_look(name).label} is no upper bound here: R@1 of others is higher ({views}).")
    return lines
