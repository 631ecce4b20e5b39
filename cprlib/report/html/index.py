"""The index page: a row for every run in a folder, with its state, main numbers and links."""

from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from cprlib.methods import ALL_VIEWS
from cprlib.report.html.page import time_text, write_page
from cprlib.report.html.record import notebook_links
from cprlib.report.html.results import comparison_of, differences_of
from cprlib.report.names import method_look
from cprlib.report.run import Run, find_runs
from cprlib.report.tables.text import UNKNOWN

NUMBERS = {"PMR, RGB": ("pmr_end", "rgb"), "PMR, Flow": ("pmr_end", "flow"), "R@1, all views": ("r1", ALL_VIEWS)}
COLUMNS = ["Data", "Seed", "State", "Last change", "Compared", *NUMBERS]


def write_index(outputs: Path) -> Path:
    """Write `<outputs>/index.html`, a row for every run folder in it, the last changed first."""
    rows = [_row(Run(folder), outputs) for folder in find_runs(outputs)]
    rows.sort(key=lambda row: row["changed"] or datetime.min, reverse=True)
    return write_page(outputs / "index.html", "index", title="Runs", folder=outputs.name, columns=COLUMNS, rows=rows)


def _row(run: Run, outputs: Path) -> dict:
    """What the template shows of a run, and when it was changed; if a file is broken, that."""
    cells, changed = dict.fromkeys(COLUMNS, UNKNOWN), None
    try:
        (state, details), changed = run.state, run.changed
        cells |= {"Data": run.dataset or UNKNOWN, "Seed": str(run.settings.get("seed", UNKNOWN))}
        cells |= {"State": state if state == "finished" else f"{state}: {details}", "Last change": time_text(changed)}
        cells |= _numbers(differences_of(run, comparison_of(run)))
    except (ValueError, OSError) as error:
        state, cells["State"] = "unfinished", f"cannot be read: {error}"
    report = quote(f"{run.folder.name}/report.html") if (run.folder / "report.html").exists() else ""
    links = {"report": report, "notebooks": notebook_links(run.folder, outputs)}
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
