"""What a run found, as sections of a report; a table that is not there yet is named with what makes it."""

import pandas as pd

from cprlib.methods import MEASURES
from cprlib.report.html.page import Section, Table
from cprlib.report.names import in_order, measures, method_look
from cprlib.report.run import Run
from cprlib.report.tables import comparison as tables
from cprlib.report.tables.ablation import ablation_summary, ablation_words
from cprlib.report.tables.published import TITLES
from cprlib.report.tables.text import labelled, percents

PMR_WORDS = (
    "PMR is the share of mined clips that show the query's class; mining R@1 the share of queries whose first mined "
    "clip does; CMR the share of a class's recordings that were found in one epoch, at its median class."
)


def comparison_of(run: Run) -> pd.DataFrame | None:
    """The numbers of comparison.csv, or of the tables so far; None before retrieval has run."""
    path = run.folder / "comparison.csv"
    if path.exists():
        return tables.read_table(path, tables.KEYS, "05_retrieval")
    return tables.comparison_table(run.folder) if (run.folder / "tables" / "retrieval.csv").exists() else None


def differences_of(run: Run, table: pd.DataFrame | None, pair: tuple[str, ...] = ()) -> pd.DataFrame:
    """`differences` of two methods: those asked for, else those in differences.csv, else of the comparison."""
    path = run.folder / "differences.csv"
    if not pair and path.exists():
        return pd.read_csv(path)
    return pd.DataFrame() if table is None else tables.differences(table, *pair)


def summary_section(run: Run, table: pd.DataFrame | None, about: str, pair: tuple[str, ...] = ()) -> Section:
    """What the run is, and two methods side by side."""
    section = Section("summary", "Summary", [about])
    pairs = differences_of(run, table, pair)
    if table is None:
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


def comparison_section(table: pd.DataFrame | None, below: list[str]) -> Section:
    """The table that compares the methods, and each view at inference, with what is said below a comparison."""
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


def mining_section(run: Run) -> Section:
    """What the figures of mining show; the numbers are in the comparison."""
    there = (run.folder / "tables" / "mining.csv").exists()
    missing = ["No tables/mining.csv yet: notebook 07_mining_quality makes it."]
    return Section("mining", "Quality of mining", [PMR_WORDS] * there, missing * (run.mines and not there))


def retrieval_section(run: Run) -> Section:
    """Retrieval by k."""
    section, path = Section("retrieval", "Retrieval"), run.folder / "tables" / "retrieval.csv"
    if path.exists():
        table = tables.read_table(path, [*tables.KEYS, "k", "recall"], "05_retrieval")
        wide = table.pivot(index=tables.KEYS, columns="k", values="recall").add_prefix("R@")
        section.tables = [Table("Recall by the number k of neighbours, percent", _words(wide))]
    else:
        section.missing = ["No tables/retrieval.csv yet: notebook 05_retrieval makes it."]
    return section


def classification_section(run: Run) -> Section:
    """Linear probe and fine-tuning."""
    section, parts = Section("classification", "Classification"), []
    for protocol in measures("classification"):
        accuracy = tables.read_accuracies(run.folder / "tables", protocol)
        if accuracy is not None:
            parts.append(accuracy.set_axis([f"{MEASURES[protocol].label}, top-{k}" for k in (1, 5)], axis=1))
    if parts:
        words = _words(pd.concat(parts, axis=1).rename_axis(tables.KEYS))
        section.tables = [Table("Share of test videos whose class is named, percent", words)]
    else:
        section.missing = ["No tables/probe_….csv yet: notebook 06_classification makes one for each method."]
    return section


def ablation_section(run: Run) -> Section:
    """The ablation, if the settings ask for one."""
    section, path = Section("ablation", "Ablation of the cascade"), run.folder / "tables" / "ablation.csv"
    if path.exists():
        words = ablation_words(ablation_summary(pd.read_csv(path))).drop(columns="Runs")
        section.tables = [Table("Points of the ablation, percent", words)]
    elif run.settings.get("ablation"):
        section.missing = ["The settings name an ablation, but there is no tables/ablation.csv: make tables makes it."]
    return section


def paper_section(run: Run) -> Section:
    """The tables of the paper with ours beside the published numbers, folded away."""
    section = Section("paper", "Beside the published numbers")
    for number, title in TITLES.items():
        path, title = run.folder / "tables" / f"paper_{number}.csv", f"Table {number}. {title}"
        if path.exists():
            table = Table(title, pd.read_csv(path, dtype=str, keep_default_na=False))
            section.folded.append(Section(f"paper-{number}", title, tables=[table]))
    section.text = ["The tables of the paper with this run's results; data and networks differ."] * bool(section.folded)
    return section


def _words(shares: pd.DataFrame) -> pd.DataFrame:
    """Shares by method and view as text, in percent."""
    table = in_order(shares.dropna(axis=1, how="all").reset_index())
    return labelled(table, {name: percents(table, name) for name in table if name not in tables.KEYS})
