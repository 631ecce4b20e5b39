"""The index page: a row for every run in a folder, with its state, main numbers and links."""

from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from cprlib.report.html.page import time_words, write_page
from cprlib.report.html.record import notebook_links
from cprlib.report.html.results import comparison_of
from cprlib.report.html.words import duel
from cprlib.report.run_state import dataset_of, find_runs, last_change, settings_of, state_of
from cprlib.report.tables.comparison import UNKNOWN

COLUMNS = ["Data", "Seed", "State", "Last change", "PMR, RGB", "PMR, Flow", "R@1, both views"]


def write_index(outputs: Path) -> Path:
    """Write `<outputs>/index.html`, a row for every run folder in it, the last changed first.

    A run with a broken file has a row that says so.

    Args:
        outputs: the folder of the runs.
    """
    rows = [_row(run, outputs) for run in find_runs(outputs)]
    rows.sort(key=lambda row: row["changed"] or datetime.min, reverse=True)
    return write_page(outputs / "index.html", "index", title="Runs", folder=outputs.name, rows=rows)


def _row(run: Path, outputs: Path) -> dict:
    """What the template shows of a run, and when it was changed."""
    cells, changed = dict.fromkeys(COLUMNS, UNKNOWN), None
    try:
        settings, (state, progress), table = settings_of(run), state_of(run), comparison_of(run)
        changed = last_change(run)
        pairs = duel(table) if table is not None else pd.DataFrame(columns=["measure", "view", "coclr", "cpr"])
        cells |= {
            "Data": dataset_of(settings) or UNKNOWN,
            "Seed": str(settings.get("seed", UNKNOWN)),
            "State": f"{state}: {progress}" if state != "finished" else state,
            "Last change": time_words(changed),
            "PMR, RGB": _pair(pairs, "pmr_end", "rgb"),
            "PMR, Flow": _pair(pairs, "pmr_end", "flow"),
            "R@1, both views": _pair(pairs, "r1", "both"),
        }
    except (ValueError, OSError) as error:
        state, cells["State"] = "unfinished", f"cannot be read: {error}"
    report = quote(f"{run.name}/report.html") if (run / "report.html").exists() else ""
    links = {"report": report, "notebooks": notebook_links(run, outputs)}
    return {"name": run.name, "state": state, "cells": cells, "changed": changed, **links}


def _pair(pairs: pd.DataFrame, measure: str, view: str) -> str:
    rows = pairs[(pairs["measure"] == measure) & (pairs["view"] == view)]
    return UNKNOWN if rows.empty else f"{rows.iloc[0].coclr:.1f} → {rows.iloc[0].cpr:.1f}"
