"""The comparison of methods in one table: as numbers, as CSV, as markdown, as aligned text.

Built from what notebooks 05, 06 and 07 leave in a run folder: `tables/retrieval.csv` with the columns method, view, k,
recall; `tables/mining.csv` with method, view, pmr_start, pmr_end, mining_r1, cmr_source, cmr_video; and
`tables/probe_<method>.csv`, `tables/finetune_<method>.csv` with method, view, top1; all of them shares in [0, 1].
"""

import argparse
from pathlib import Path

import pandas as pd

from cprlib.report.figures.style import METHODS, VIEWS, method_style, view_label
from cprlib.store.files import atomic_path, resolve

MINING = ["pmr_start", "pmr_end", "mining_r1", "cmr_source", "cmr_video"]
RECALLS = {1: "r1", 5: "r5", 10: "r10"}
CLASSIFIED = ["probe", "finetune"]  # top-1 accuracy; columns that a run may lack
MEASURES = [*MINING, *RECALLS.values(), *CLASSIFIED]
HEADINGS = {
    "mining_r1": "Mining R@1",
    "cmr_source": "Median CMR",
    "cmr_video": "CMR by video",
    "r1": "R@1",
    "r5": "R@5",
    "r10": "R@10",
    "probe": "Linear probe",
    "finetune": "Fine-tuned",
}
UNKNOWN = "–"
TEXT = ("Method", "View", "Point", "Published with")  # columns of words; the others are numbers


def run_table(run_folder: str | Path) -> pd.DataFrame:
    """Mining quality, retrieval and classification of one run, a row for each method and view.

    Args:
        run_folder: e.g. `outputs/toy`.

    Returns:
        columns method, view, pmr_start, pmr_end, mining_r1, cmr_source, cmr_video, r1, r5, r10, probe, finetune, in
        [0, 1], NaN where there is no such number; methods from random to ubernce, each rgb, flow, both. A run that
        judges networks of another one has no mining quality.

    Raises:
        FileNotFoundError: no retrieval; names the notebook that makes it.
        ValueError: a table has other columns.
    """
    retrieval = _read(run_folder, "retrieval", ["method", "view", "k", "recall"], "05_retrieval")
    recalls = retrieval.pivot(index=["method", "view"], columns="k", values="recall")
    parts = [recalls.reindex(columns=list(RECALLS)).rename(columns=RECALLS)]
    folder = resolve(run_folder) / "tables"
    if (folder / "mining.csv").exists():
        mining = _read(run_folder, "mining", ["method", "view", *MINING], "07_mining_quality")
        parts.append(mining.set_index(["method", "view"])[MINING])
    for protocol in CLASSIFIED:
        names = sorted(path.stem for path in folder.glob(f"{protocol}_*.csv"))
        tables = [_read(run_folder, name, ["method", "view", "top1"], "06_classification") for name in names]
        if tables:
            parts.append(pd.concat(tables).set_index(["method", "view"]).top1.rename(protocol))
    table = pd.concat(parts, axis=1).reindex(columns=MEASURES).rename_axis(["method", "view"])
    return _in_order(table.reset_index())


def comparison_table(*run_folders: str | Path) -> pd.DataFrame:
    """Mean over runs (seeds) of `run_table`, and the number of runs behind each row.

    Args:
        run_folders: one or more, e.g. `outputs/toy_seed0`, `outputs/toy_seed1`.

    Returns:
        the columns of `run_table` and `runs`, an int.
    """
    groups = _all_runs(run_folders).groupby(["method", "view"])
    table = groups[MEASURES].mean().assign(runs=groups.size())
    return _in_order(table.reset_index())


def spread_table(*run_folders: str | Path) -> pd.DataFrame:
    """Standard deviation over runs (n - 1; NaN for one run), rows and columns of `run_table`."""
    groups = _all_runs(run_folders).groupby(["method", "view"])
    return _in_order(groups[MEASURES].std().reset_index())


def readable(table: pd.DataFrame, spread: pd.DataFrame | None = None) -> pd.DataFrame:
    """The table in words: names of methods and views, percent with one decimal, PMR start → end.

    Args:
        table: from `run_table` or `comparison_table`.
        spread: from `spread_table` of the same runs, added as "± …".

    Returns:
        strings; "–" where there is no number.
    """
    shown = [name for name in MEASURES if name not in CLASSIFIED or table[name].notna().any()]
    cells = {name: _percents(table[name], spread, name) for name in shown}
    pmr = [
        start if start == end == UNKNOWN else f"{start} → {end}"
        for start, end in zip(cells["pmr_start"], cells["pmr_end"], strict=True)
    ]
    words = {
        "Method": [method_style(method).label for method in table["method"]],
        "View": [view_label(view) for view in table["view"]],
        "PMR start → end": pmr,
    }
    return pd.DataFrame(words | {HEADINGS[name]: cells[name] for name in shown if name in HEADINGS})


def two_stream_table(table: pd.DataFrame, spread: pd.DataFrame | None = None) -> pd.DataFrame:
    """What each view is worth at inference: a row for each method, columns measure × view.

    Args:
        table: from `run_table` or `comparison_table`.
        spread: from `spread_table` of the same runs, added as "± …".

    Returns:
        strings: Method, then "R@1 RGB", "R@1 Flow", "R@1 Both views", the same for the linear probe and, where there
        is one, fine-tuning; "–" where there is no number.
    """
    words = {"Method": {method: method_style(method).label for method in dict.fromkeys(table["method"])}}
    for name in ("r1", *(name for name in CLASSIFIED if table[name].notna().any())):
        cells = table[["method", "view"]].assign(cell=_percents(table[name], spread, name))
        for view in [view for view in VIEWS if view in set(table["view"])]:
            rows = cells[cells["view"] == view].set_index("method").cell
            words[f"{HEADINGS[name]} {view_label(view)}"] = rows.to_dict()
    return pd.DataFrame(words).fillna(UNKNOWN).reset_index(drop=True)


def to_markdown(words: pd.DataFrame) -> str:
    """A GitHub table of `readable` and the like, numbers to the right."""
    rule = ["---" if name in TEXT else "---:" for name in words]
    rows = [list(words.columns), rule, *words.to_numpy().tolist()]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def to_text(words: pd.DataFrame) -> str:
    """An aligned table of `readable` for a terminal, names to the left, numbers to the right."""
    rows = [list(words.columns), *words.to_numpy().tolist()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    lines = []
    for row in rows:
        names = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        lines.append("  ".join(names + numbers).rstrip())
    return "\n".join(lines) + "\n"


def write_table(
    table: pd.DataFrame,
    folder: str | Path,
    name: str = "comparison",
    spread: pd.DataFrame | None = None,
) -> list[Path]:
    """Write a comparison as numbers (`.csv`), markdown (`.md`) and aligned text (`.txt`).

    Args:
        table: from `run_table` or `comparison_table`.
        folder: where to, e.g. `outputs/toy/tables`; made if missing.
        name: file name without suffix.
        spread: from `spread_table`; only in the `.md` and `.txt`.

    Returns:
        the files written.
    """
    words = readable(table, spread)
    contents = {"csv": table.to_csv(index=False), "md": to_markdown(words), "txt": to_text(words)}
    paths = [resolve(folder) / f"{name}.{suffix}" for suffix in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        with atomic_path(path) as tmp:
            tmp.write_text(content, encoding="utf-8")
    return paths


def _read(run_folder: str | Path, name: str, columns: list[str], notebook: str) -> pd.DataFrame:
    path = resolve(run_folder) / "tables" / f"{name}.csv"
    if not path.exists():
        raise FileNotFoundError(f"no table {path}: run notebook {notebook} for this run first")
    table = pd.read_csv(path)
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]}: run notebook {notebook} again")
    return table


def _all_runs(run_folders: tuple[str | Path, ...]) -> pd.DataFrame:
    if not run_folders:
        raise ValueError("no run folder given: name at least one, e.g. outputs/toy")
    return pd.concat([run_table(folder) for folder in run_folders], ignore_index=True)


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Rows by method and view as in the paper; names unknown to it come last, by alphabet."""
    orders = {"method": list(METHODS), "view": list(VIEWS)}

    def rank(column: pd.Series) -> pd.Series:
        known = orders[column.name]
        return column.map(lambda name: (known.index(name) if name in known else len(known), name))

    table = table.sort_values(["method", "view"], key=rank, ignore_index=True)
    return table[["method", "view", *(c for c in table if c not in ("method", "view"))]]


def _percents(values: pd.Series, spread: pd.DataFrame | None, name: str) -> list[str]:
    stds = [float("nan")] * len(values) if spread is None else spread[name]
    return [
        UNKNOWN if pd.isna(value) else f"{100 * value:.1f}" + ("" if pd.isna(std) else f" ± {100 * std:.1f}")
        for value, std in zip(values, stds, strict=True)
    ]


def main() -> None:
    """``python -m cprlib.report.tables RUN [RUN ...]``: compare methods in one run, or over the seeds of several."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("runs", nargs="+", help="run folders, e.g. outputs/toy outputs/toy-seed1")
    parser.add_argument("--out", help="folder for comparison.csv, .md and .txt; default: that of the first run")
    args = parser.parse_args()
    spread = spread_table(*args.runs) if len(args.runs) > 1 else None
    table = comparison_table(*args.runs)
    *_, text = write_table(table, args.out or args.runs[0], spread=spread)
    print(text.read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    main()
