"""A report of a run as one HTML file, and an index page of all runs.

    python -m cprlib.report.html toy

A report needs only the run folder; for a half-finished run it shows what there is and names what is missing.
"""

import argparse
import sys
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from cprlib.methods import ALL_VIEWS
from cprlib.report.html import record, results
from cprlib.report.html.page import Section, pictures_of, time_text, write_page
from cprlib.report.names import method_look
from cprlib.report.run import Run, find_run, find_runs
from cprlib.report.tables.notes import notes
from cprlib.report.tables.text import UNKNOWN
from cprlib.store.errors import STOPPED, in_one_line
from cprlib.store.files import resolve

NUMBERS = {"PMR, RGB": ("pmr_end", "rgb"), "PMR, Flow": ("pmr_end", "flow"), "R@1, all views": ("r1", ALL_VIEWS)}
COLUMNS = ["Data", "Seed", "State", "Last change", "Compared", *NUMBERS]


def report_sections(run: Run, pair: tuple[str, ...] = ()) -> list[Section]:
    """The sections of a report that have content; pair: the two methods for `tables.comparison.differences`."""
    table = results.comparison_of(run)
    sections = [
        results.summary_section(run, table, _about(run), pair),
        record.state_section(run),
        *results.result_sections(run, table, notes([run.folder]) if table is not None else []),
        Section("data", "Data"),
        Section("training", "Training"),
        Section("other", "Other figures"),
        record.settings_section(run),
        record.provenance_section(run),
        Section("notebooks", "Executed notebooks", links=record.notebook_links(run.folder, run.folder)),
        record.files_section(run),
    ]
    pictures, missing = pictures_of(run)
    for section in sections:
        section.missing += missing.get(section.id, [])
        section.pictures = [picture for picture in pictures if picture.section == section.id]
        if section.id == "classification" and (many := section.pictures):
            section.pictures = []
            section.folded = [Section("confusion", f"Confusion matrices: {len(many)}", pictures=many)]
    return [section for section in sections if section]


def write_report(run: str | Path, pair: tuple[str, ...] = ()) -> Path:
    """Write `<run>/report.html`; arguments as for `report_sections`."""
    run = Run(run)
    title, sections = f"Run {run.folder.name}", report_sections(run, pair)
    return write_page(run.folder / "report.html", "report", title=title, sections=sections)


def _about(run: Run) -> str:
    """Data, seed and number of test videos."""
    settings, name = run.settings, run.folder.name
    if not settings:
        return f"The folder {name} holds results without settings."
    pretrained = settings.get("pretrained")
    what = f"evaluates the networks of {pretrained}" if pretrained else "trains and evaluates its networks"
    on, seed = f" on {run.dataset}" * bool(run.dataset), f", seed {settings.get('seed')}" * ("seed" in settings)
    count = int((run.videos.table.split == "test").sum()) if run.videos and run.is_labelled else 0
    tests = f", with {count} test videos, each worth {100 / count:.1f} points" if count else ""
    return f"The run {name} {what}{on}{seed}{tests}."


def write_index(outputs: Path) -> Path:
    """Write `<outputs>/index.html`, a row for each run folder, the last changed first."""
    rows = [_row(Run(folder), outputs) for folder in find_runs(outputs)]
    rows.sort(key=lambda row: row["changed"] or datetime.min, reverse=True)
    return write_page(outputs / "index.html", "index", title="Runs", folder=outputs.name, columns=COLUMNS, rows=rows)


def _row(run: Run, outputs: Path) -> dict:
    """What the template shows of a run, or which of its files cannot be read; and when it was changed."""
    cells, changed = dict.fromkeys(COLUMNS, UNKNOWN), None
    try:
        (state, details), changed = run.state, run.changed
        cells |= {"Data": run.dataset or UNKNOWN, "Seed": str(run.settings.get("seed", UNKNOWN))}
        cells |= {"State": state if state == "finished" else f"{state}: {details}", "Last change": time_text(changed)}
        cells |= _numbers(results.differences_of(run, results.comparison_of(run)))
    except (ValueError, OSError) as error:
        state, cells["State"] = "unfinished", f"cannot be read: {error}"
    report = quote(f"{run.folder.name}/report.html") if (run.folder / "report.html").exists() else ""
    links = {"report": report, "notebooks": record.notebook_links(run.folder, outputs)}
    return {"name": run.folder.name, "state": state, "cells": cells, "changed": changed, **links}


def _numbers(pairs: pd.DataFrame) -> dict[str, str]:
    """The two methods compared, and their main numbers in percent."""
    if pairs.empty:
        return {}
    against, method = pairs.columns[2:4]
    known = pairs.set_index(["measure", "view"])
    cells = {title: known.loc[key] for title, key in NUMBERS.items() if key in known.index}
    words = {title: f"{100 * row[against]:.1f} → {100 * row[method]:.1f}" for title, row in cells.items()}
    return words | {"Compared": f"{method_look(against).label} → {method_look(method).label}"}


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser("python -m cprlib.report.html", description=__doc__.split("\n")[0])
    parser.add_argument("run", nargs="?", help="name or folder of a run; without it only the index is written")
    parser.add_argument("--outputs", default="outputs", help="folder of the runs, default: outputs")
    parser.add_argument("--compare", nargs=2, default=(), metavar=("METHOD", "AGAINST"), help="e.g. cpr coclr")
    args = parser.parse_args(argv)
    try:
        run = find_run(args.run, args.outputs) if args.run else None
        if run:
            print(write_report(run, tuple(args.compare)))
        print(write_index(run.parent if run else resolve(args.outputs)))
    except (ValueError, OSError) as error:
        print(in_one_line(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return 1
    return 0
