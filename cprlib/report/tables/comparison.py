"""The comparison of methods, in one run or over several runs that differ in their seed.

It reads what notebooks 05, 06 and 07 write into a run: `tables/retrieval.csv` (method, view, k, recall),
`tables/mining.csv` (method, view and the mining measures) and `tables/<protocol>_<method>.csv` (method, view, top1).
All numbers are shares in [0, 1], NaN where there is none.
"""

import argparse
from pathlib import Path

import pandas as pd

from cprlib.methods import COTRAINED, MEASURES
from cprlib.report.names import in_order, measures, method_look, method_order, view_label, view_order
from cprlib.report.tables.notes import notes
from cprlib.report.tables.text import UNKNOWN, labelled, measured, percents, to_markdown, write_texts
from cprlib.store.errors import one_line
from cprlib.store.files import resolve
from cprlib.store.tables import read_csv

KEYS = ["method", "view"]
MINING, CLASSIFIED = measures("mining"), measures("classification")
COMPARED = ("pmr_end", "cmr_source", "r1", *CLASSIFIED)  # in tables of differences


def run_table(run_folder: str | Path) -> pd.DataFrame:
    """All measures of one run: method, view and every name of MEASURES.

    Raises:
        FileNotFoundError, ValueError: see :func:`read_table`; retrieval must have run.
    """
    folder = resolve(run_folder) / "tables"
    recalls = read_table(folder / "retrieval.csv", [*KEYS, "k", "recall"], "05_retrieval")
    parts = [recalls.pivot(index=KEYS, columns="k", values="recall").add_prefix("r")]
    if (folder / "mining.csv").exists():  # a run that evaluates the networks of another run has none
        parts.append(read_table(folder / "mining.csv", [*KEYS, *MINING], "07_mining_quality").set_index(KEYS))
    for protocol in CLASSIFIED:
        top1 = read_accuracies(folder, protocol)
        parts += [] if top1 is None else [top1["top1"].rename(protocol)]
    table = pd.concat(parts, axis=1).reindex(parts[0].index, columns=list(MEASURES)).rename_axis(KEYS)
    return in_order(table.reset_index())


def read_table(path: Path, columns: list[str], notebook: str) -> pd.DataFrame:
    """Read a table of a run; if it or a column is missing, the error names the notebook that makes it."""
    if not path.exists():
        raise FileNotFoundError(f"no table {path}: run notebook {notebook} for this run first")
    table = read_csv(path)
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]}: run notebook {notebook} again")
    return table


def read_accuracies(folder: Path, protocol: str) -> pd.DataFrame | None:
    """top1 and top5 of a protocol, by method and view; None if no method has it."""
    read = [read_table(p, [*KEYS, "top1"], "06_classification") for p in sorted(folder.glob(f"{protocol}_*.csv"))]
    return pd.concat(read).set_index(KEYS).reindex(columns=["top1", "top5"]) if read else None


def all_runs(*run_folders: str | Path) -> pd.DataFrame:
    """`run_table` of several runs, one below the other, with a column `run`."""
    return pd.concat([run_table(path).assign(run=i) for i, path in enumerate(run_folders)], ignore_index=True)


def mean_and_spread(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Mean of each measure over the rows with the same keys.

    Returns:
        keys, `runs` (number of rows), measures, and their standard deviations (n - 1) as `<measure>_std`, if any.
    """
    groups = table.groupby(keys, sort=False, dropna=False)
    values = groups[[name for name in MEASURES if name in table]]
    spread = values.std().add_suffix("_std").dropna(axis=1, how="all")
    return pd.concat([groups.size().rename("runs"), values.mean(), spread], axis=1).reset_index()


def comparison_table(*run_folders: str | Path) -> pd.DataFrame:
    """`mean_and_spread` over runs (seeds) of `run_table`."""
    return in_order(mean_and_spread(all_runs(*run_folders), KEYS))


def differences(table: pd.DataFrame, method: str | None = None, against: str | None = None) -> pd.DataFrame:
    """Two methods side by side, and their difference within each run.

    Args:
        table: from `all_runs`, or a table of one run.
        method, against: names of methods; by default the last and the first of those that mine, e.g. "cpr", "coclr".

    Returns:
        measure, view, `against`, `method` (means over the runs that have both), `difference`, `error` (its standard
        error, NaN for one run), `runs`; empty if the table does not have two methods to compare.

    Raises:
        ValueError: no results of a method that was named.
    """
    known = set(table["method"])
    if other := {method, against} - {None, *known}:
        raise ValueError(f"no results of method {min(other)!r}; there are those of {', '.join(sorted(known))}")
    mine = table["method"].isin(COTRAINED) | table.get("pmr_end", pd.Series(dtype=float)).notna()
    mining = sorted(set(table.loc[mine, "method"]), key=method_order) or [""]
    method, against = method or mining[-1], against or mining[0]
    table = table if "run" in table else table.assign(run=0)
    shown = [name for name in COMPARED if name in table]
    long = table.melt([*KEYS, "run"], shown, "measure").dropna(subset="value")
    wide = long.pivot(index=["measure", "view", "run"], columns="method", values="value")
    if method == against or not {method, against} <= set(wide):
        return pd.DataFrame(columns=["measure", "view", "against", "method", "difference", "error", "runs"])
    pairs = wide[[against, method]].dropna()
    groups = pairs.assign(difference=pairs[method] - pairs[against]).groupby(level=["measure", "view"])
    result = groups.mean().assign(error=groups["difference"].sem(), runs=groups.size()).reset_index()
    place = {"measure": shown.index, "view": view_order}
    return result.sort_values(["measure", "view"], key=lambda c: c.map(place[c.name]), ignore_index=True)


def difference_words(table: pd.DataFrame) -> pd.DataFrame:
    """`differences` as text, in percent: Measure, View, the two methods, "CPR − CoCLR" with ± standard error."""
    if table.empty:
        return pd.DataFrame()
    against, method = table.columns[2:4]
    theirs, ours = method_look(against).label, method_look(method).label
    signed = table.assign(x=table["difference"].round(3) + 0.0, x_std=table["error"])
    gains = [f"+{cell}" if value > 0 else cell for cell, value in zip(percents(signed, "x"), signed["x"], strict=True)]
    cells = {theirs: percents(table, against), ours: percents(table, method)}
    words = labelled(table, cells | {f"{ours} − {theirs}": [cell.replace("-", "−") for cell in gains]})
    words.insert(0, "Measure", [MEASURES[name].label for name in table["measure"]])
    return words


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """A comparison as text, in percent, with ± the spread if there is one; PMR as start → end.

    Measures without any number are left out; a missing number is "–".
    """
    cells = {MEASURES[name].label: percents(table, name) for name in measured(table)}
    start, end = (MEASURES[name].label for name in ("pmr_start", "pmr_end"))
    if start in cells and end in cells:
        pairs = zip(cells.pop(start), cells.pop(end), strict=True)
        cells = {"PMR start → end": [a if a == b == UNKNOWN else f"{a} → {b}" for a, b in pairs]} | cells
    return labelled(table, cells)


def two_stream_table(table: pd.DataFrame) -> pd.DataFrame:
    """Retrieval and classification in each view, as text: a row a method, columns "R@1 RGB", "R@1 Flow", …."""
    views = sorted(set(table["view"]), key=view_order)
    columns = {}
    for name in (name for name in measured(table) if name in ("r1", *CLASSIFIED)):
        wide = table.assign(cell=percents(table, name)).pivot(index="method", columns="view", values="cell")
        columns |= {f"{MEASURES[name].label} {view_label(view, views)}": wide[view] for view in views}
    words = pd.DataFrame(columns).fillna(UNKNOWN)
    words = words.loc[:, (words != UNKNOWN).any()].loc[sorted(words.index, key=method_order)]
    words.insert(0, "Method", [method_look(method).label for method in words.index])
    return words.reset_index(drop=True)


def write_comparison(run_folders: list[str | Path], folder: str | Path, *pair: str) -> list[Path]:
    """Write the comparison of one or several runs; pair: the methods for `differences`.

    Returns:
        comparison.csv and differences.csv (numbers), comparison.md and comparison.txt (both tables as text).
    """
    runs = all_runs(*run_folders)
    table, pairs = in_order(mean_and_spread(runs, KEYS)), differences(runs, *pair)
    words = [frame for frame in (readable(table), difference_words(pairs)) if len(frame)]
    below = "".join(f"\n{line}\n" for line in notes(run_folders))
    texts = {"comparison.csv": table.to_csv(index=False), "differences.csv": pairs.to_csv(index=False)}
    for suffix, style in (("md", "pipe"), ("txt", "simple")):
        texts[f"comparison.{suffix}"] = "\n".join(to_markdown(frame, style) for frame in words) + below
    return write_texts(resolve(folder), texts)


def main() -> None:
    """``python -m cprlib.report.tables RUN [RUN ...]``: compare methods in one run, or over the seeds of several."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("runs", nargs="+", help="run folders, e.g. outputs/toy outputs/toy-seed1")
    parser.add_argument("--out", help="folder for comparison.csv, .md, .txt; default: that of the first run")
    parser.add_argument("--compare", nargs=2, default=(), metavar=("METHOD", "AGAINST"), help="default: e.g. cpr coclr")
    args = parser.parse_args()
    with one_line():
        *_, text = write_comparison(args.runs, args.out or args.runs[0], *args.compare)
        print(text.read_text(encoding="utf-8"), end="")
