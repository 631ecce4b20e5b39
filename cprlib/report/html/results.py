"""What a run found, as sections of a report: the comparison, then each measure, then the tables of the paper."""

from pathlib import Path

import pandas as pd

from cprlib.report.figures.ablation import ablation_summary, ablation_words
from cprlib.report.figures.style import PROTOCOLS, VIEWS, method_order, method_style, view_label
from cprlib.report.html.page import Section, Table
from cprlib.report.html.words import duel, duel_words, methods_in, sentences
from cprlib.report.tables import comparison as tables


def comparison_of(run: Path) -> pd.DataFrame | None:
    """Numbers of comparison.csv, or of the tables as far as they are there; None before retrieval has run."""
    if (run / "comparison.csv").exists():
        table = _read(run / "comparison.csv", ["method", "view"])
        return table.reindex(columns=["method", "view", *tables.MEASURES, "runs"])
    return tables.comparison_table(run) if (run / "tables" / "retrieval.csv").exists() else None


def summary_section(table: pd.DataFrame | None, about: str) -> Section:
    """The run in a paragraph, and CoCLR and CPR side by side."""
    section = Section("summary", "Summary")
    if table is None:
        section.text = [f"{about} There are no results yet; the state of its networks is below."]
        return section
    pairs = duel(table)
    told = sentences(pairs, int(table["runs"].max()))
    section.text = [f"{about} {told[0]}", told[1]] if told else [about]
    if told:
        section.tables = [Table("CPR against CoCLR in percent, and its gain in points", duel_words(pairs))]
    else:
        section.text[0] += f" It has results for {methods_in(table)}, so CPR cannot be compared with CoCLR."
    return section


def comparison_section(run: Path, table: pd.DataFrame | None) -> Section:
    """The table that compares the methods, and each view at inference."""
    section = Section("comparison", "Comparison of the methods")
    if table is None:
        section.missing = ["No comparison yet: notebook 05_retrieval makes its first numbers, make demo all of them."]
        return section
    runs = int(table["runs"].max())
    words, two_stream = tables.readable(table), tables.two_stream_table(table)
    if runs > 1 and (run / "comparison.md").exists():
        words = read_markdown(run / "comparison.md")[0][1]  # with the spread over runs, which the CSV has not
    over = f", mean over {runs} runs" if runs > 1 else ""
    section.tables = [
        Table(f"Mining, retrieval and classification{over}, percent", words),
        Table(f"What each view is worth at inference{over}, percent", two_stream, 1),
    ]
    return section


def mining_section(run: Path, mined: bool) -> Section:
    """Quality of mining by network; `mined` says whether the run has networks that mine."""
    section = Section("mining", "Quality of mining")
    path = run / "tables" / "mining.csv"
    if path.exists():
        titles = {"pmr_start": "PMR start", "pmr_end": "PMR end"} | tables.HEADINGS
        table = _in_percent(
            _read(path, ["method", "view", *tables.MINING]), {name: titles[name] for name in tables.MINING}
        )
        section.tables = [Table("Mining by network, percent", table)]
        section.text = [
            "PMR is the share of mined clips that show the query's class; mining R@1 the share of queries whose first "
            "mined clip does; CMR the share of a class's recordings that were found in one epoch, at its median class."
        ]
    elif mined:
        section.missing = ["No tables/mining.csv yet: notebook 07_mining_quality makes it."]
    return section


def retrieval_section(run: Path) -> Section:
    """Retrieval by k."""
    section = Section("retrieval", "Retrieval")
    path = run / "tables" / "retrieval.csv"
    if not path.exists():
        section.missing = ["No tables/retrieval.csv yet: notebook 05_retrieval makes it."]
        return section
    table = (
        _read(path, ["method", "view", "k", "recall"])
        .pivot(index=["method", "view"], columns="k", values="recall")
        .reset_index()
    )
    words = _in_percent(table, {k: f"R@{k}" for k in table.columns[2:]})
    section.tables = [Table("Recall by the number k of neighbours, percent", words)]
    return section


def classification_section(run: Path) -> Section:
    """Linear probe and fine-tuning."""
    section = Section("classification", "Classification")
    parts = [part for protocol, title in PROTOCOLS.items() if (part := _accuracies(run, protocol, title)) is not None]
    if parts:
        table = pd.concat(parts, axis=1)
        words = _in_percent(table.reset_index(), {name: name for name in table})
        section.tables = [Table("Share of test videos whose class is named, percent", words)]
    else:
        section.missing = ["No tables/probe_….csv yet: notebook 06_classification makes one for each method."]
    return section


def ablation_section(run: Path, asked: bool) -> Section:
    """The ablation; `asked` says whether the settings name points of one."""
    section = Section("ablation", "Ablation of the cascade")
    path = run / "tables" / "ablation.csv"
    if path.exists():
        words = ablation_words(ablation_summary(pd.read_csv(path))).drop(columns="Runs")
        section.tables = [Table("Points of the ablation, percent", words)]
    elif asked:
        section.missing = [
            "The settings name an ablation, but there is no tables/ablation.csv yet: make tables makes it."
        ]
    return section


def paper_section(run: Path) -> Section:
    """The tables of the paper with ours beside the published numbers, folded away."""
    section = Section("paper", "Beside the published numbers")
    path = run / "tables" / "paper.md"
    if path.exists():
        section.text = ["The tables of the paper with this run's results; different data and networks, so no contest."]
        section.folded = [
            Section(f"paper-{number}", title, tables=[Table(title, frame, _count_names(frame))])
            for number, (title, frame) in enumerate(read_markdown(path), 1)
        ]
    return section


def read_markdown(path: Path) -> list[tuple[str, pd.DataFrame]]:
    """The tables that `tables.to_markdown` wrote into a file, each with the heading above it, "" if there is none."""
    found, title, rows = [], "", []
    for line in [*path.read_text(encoding="utf-8").splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif rows:
            found.append((title, pd.DataFrame(rows[2:], columns=rows[0])))
            rows = []
        if line.startswith("#"):
            title = line.lstrip("# ")
    return found


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    table = pd.read_csv(path)
    missing = [name for name in columns if name not in table]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]}; delete it and start the pipeline again")
    return table


def _accuracies(run: Path, protocol: str, title: str) -> pd.DataFrame | None:
    """Top-1 and top-5 of a protocol by method and view, None if no method was judged by it."""
    paths = sorted((run / "tables").glob(f"{protocol}_*.csv"))
    if not paths:
        return None
    table = pd.concat([_read(path, ["method", "view", "top1"]) for path in paths]).set_index(["method", "view"])
    return table.reindex(columns=["top1", "top5"]).set_axis([f"{title}, top-1", f"{title}, top-5"], axis=1)


def _in_percent(table: pd.DataFrame, names: dict) -> pd.DataFrame:
    """Method, view and shares of a table as strings, methods and views in the order of the paper."""
    views = [*VIEWS, *table["view"]]
    place = {"method": method_order, "view": views.index}
    table = table.sort_values(["method", "view"], key=lambda column: column.map(place[column.name]))
    words = {"Method": table["method"].map(lambda m: method_style(m).label), "View": table["view"].map(view_label)}
    shares = {
        title: table[name].map(lambda x: tables.UNKNOWN if pd.isna(x) else f"{100 * x:.1f}")
        for name, title in names.items()
    }
    return pd.DataFrame(words | shares)


def _count_names(frame: pd.DataFrame) -> int:
    """How many of the leading columns are words."""
    return sum(name in tables.TEXT or name in ("Stages", "Ratio") for name in frame)
