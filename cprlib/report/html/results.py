"""What a run found, as sections of a report; instead of a table that is missing a section says what makes it."""

from pathlib import Path

import pandas as pd

from cprlib.methods import MEASURES
from cprlib.report.html.page import Section, Table
from cprlib.report.names import in_order, measures, method_look
from cprlib.report.run import Run
from cprlib.report.tables import comparison as tables
from cprlib.report.tables.ablation import ablation_summary, ablation_words, read_ablation
from cprlib.report.tables.published import TITLES
from cprlib.report.tables.text import labelled, percents
from cprlib.store.tables import read_csv

PMR_WORDS = (
    "PMR is the share of mined clips that show the query's class; mining R@1 the share of queries whose first mined "
    "clip does; CMR the share of a class's recordings that were found in one epoch, at its median class."
)
UNMEASURED = (
    "No class is known, so comparison, mining quality, retrieval and classification are left out. Give a CSV with a "
    "column class_name to add them without training again."
)


def comparison_of(run: Run) -> pd.DataFrame | None:
    """The numbers of comparison.csv, or of the tables so far; None before retrieval has run."""
    path = run.folder / "comparison.csv"
    if path.exists():
        return tables.read_table(path, tables.KEYS, "05_retrieval")
    return tables.comparison_table(run.folder) if (run.folder / "tables" / "retrieval.csv").exists() else None


def differences_of(run: Run, table: pd.DataFrame | None, pair: tuple[str, ...] = ()) -> pd.DataFrame:
    """`differences` of two methods: of this pair, else those of differences.csv, else of the comparison."""
    path = run.folder / "differences.csv"
    if not pair and path.exists():
        return read_csv(path, ["measure", "view", "difference", "error", "runs"])
    return pd.DataFrame() if table is None else tables.differences(table, *pair)


def summary_section(run: Run, table: pd.DataFrame | None, about: str, pair: tuple[str, ...] = ()) -> Section:
    """What the run is, and two methods side by side."""
    section = Section("summary", "Summary", [about])
    pairs = differences_of(run, table, pair)
    if not run.is_labelled:
        section.text = [f"{about} {UNMEASURED}"]
    elif table is None:
        section.text = [f"{about} There are no results yet; the state of its networks is below."]
    elif len(pairs):
        words, runs = tables.difference_words(pairs), int(table["runs"].max())
        over = f"mean of {runs} runs" if runs > 1 else "one run, one seed"
        over += ", the difference ± its standard error" if pairs["error"].notna().any() else ""
        section.tables = [Table(f"{words.columns[3]} against {words.columns[2]}, percent; {over}", words)]
    else:
        labels = ", ".join(method_look(method).label for method in dict.fromkeys(table["method"]))
        section.text = [f"{about} It has results for {labels}: no two methods that mine positives to compare."]
    return section


def result_sections(run: Run, table: pd.DataFrame | None, below: list[str]) -> list[Section]:
    """The comparison and the tables it was made from; if no class is known, only a section for what was mined.

    Args:
        table: from `comparison_of`.
        below: lines below the comparison, from `notes`.
    """
    if not run.is_labelled:
        return [Section("mining", "What was mined")]
    folder = run.folder / "tables"
    mined = (folder / "mining.csv").exists()
    no_mining = ["No tables/mining.csv yet: notebook 07_mining_quality makes it."] * (run.mines and not mined)
    no_retrieval = "No tables/retrieval.csv yet: notebook 05_retrieval makes it."
    no_probe = "No tables/probe_….csv yet: notebook 06_classification makes one for each method."
    no_ablation = "The settings name an ablation, but there is no tables/ablation.csv: make tables makes it."
    no_ablation = no_ablation if run.settings.get("ablation") else ""
    return [
        _comparison(table, below),
        Section("mining", "Quality of mining", [PMR_WORDS] * mined, no_mining),  # the numbers are in the comparison
        _section("Retrieval", "Recall by the number k of neighbours", _recalls(folder), no_retrieval),
        _section("Classification", "Share of test videos whose class is named", _accuracies(folder), no_probe),
        _section("Ablation of the cascade", "Points of the ablation", _ablation(folder), no_ablation),
        _paper(folder),
    ]


def _comparison(table: pd.DataFrame | None, below: list[str]) -> Section:
    section = Section("comparison", "Comparison of the methods")
    if table is None:
        section.missing = ["No comparison yet: notebook 05_retrieval makes its first numbers, make demo all of them."]
        return section
    runs = int(table["runs"].max())
    over = f", mean ± standard deviation of {runs} runs" if runs > 1 else ""
    section.tables = [
        Table(f"Mining, retrieval and classification{over}, percent", tables.readable(table)),
        Table(f"What each view is worth at inference{over}, percent", tables.two_stream_table(table)),
    ]
    section.text = below
    return section


def _section(title: str, caption: str, words: pd.DataFrame | None, otherwise: str) -> Section:
    found = [] if words is None else [Table(f"{caption}, percent", words)]
    return Section(title.split()[0].lower(), title, missing=[otherwise] * (not found and otherwise != ""), tables=found)


def _paper(folder: Path) -> Section:
    section = Section("paper", "Beside the published numbers")
    for number, title in TITLES.items():
        path, title = folder / f"paper_{number}.csv", f"Table {number}. {title}"
        if path.exists():
            table = Table(title, read_csv(path, dtype=str, keep_default_na=False))
            section.folded.append(Section(f"paper-{number}", title, tables=[table]))
            section.text = ["The tables of the paper with this run's results; data and networks differ."]
    return section


def _recalls(folder: Path) -> pd.DataFrame | None:
    if not (folder / "retrieval.csv").exists():
        return None
    table = tables.read_table(folder / "retrieval.csv", [*tables.KEYS, "k", "recall"], "05_retrieval")
    return _words(table.pivot(index=tables.KEYS, columns="k", values="recall").add_prefix("R@"))


def _accuracies(folder: Path) -> pd.DataFrame | None:
    found = {MEASURES[name].label: tables.read_accuracies(folder, name) for name in measures("classification")}
    parts = [t.set_axis([f"{label}, top-{k}" for k in (1, 5)], axis=1) for label, t in found.items() if t is not None]
    return _words(pd.concat(parts, axis=1).rename_axis(tables.KEYS)) if parts else None


def _ablation(folder: Path) -> pd.DataFrame | None:
    path = folder / "ablation.csv"
    return ablation_words(ablation_summary(read_ablation(path))).drop(columns="Runs") if path.exists() else None


def _words(shares: pd.DataFrame) -> pd.DataFrame:
    """Shares by method and view as text, in percent."""
    table = in_order(shares.dropna(axis=1, how="all").reset_index())
    return labelled(table, {name: percents(table, name) for name in table if name not in tables.KEYS})
