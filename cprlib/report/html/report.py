"""A report of a run as one HTML file that needs nothing else, and an index page over all runs beside it.

    python -m cprlib.report.html toy

Everything in it is read from the run folder; of a half-finished run it shows what is there and says what is missing.
"""

import argparse
import sys
from pathlib import Path

from cprlib.data.manifest import Manifest
from cprlib.methods import COTRAINED
from cprlib.report.html import record, results
from cprlib.report.html.drawings import all_pictures
from cprlib.report.html.index import write_index
from cprlib.report.html.page import Section, write_page
from cprlib.report.html.pictures import Picture
from cprlib.report.run_state import dataset_of, find_run, networks_of, settings_of, state_of
from cprlib.store.files import resolve


def report_sections(run: Path) -> list[Section]:
    """The sections of a report, those without content left out.

    Args:
        run: run folder.

    Raises:
        ValueError: a file of the run cannot be read; names it.
    """
    settings, networks, table = settings_of(run), networks_of(run), results.comparison_of(run)
    methods = set(settings.get("methods", []))
    mined = bool(methods & set(COTRAINED)) and not settings.get("pretrained")
    sections = [
        results.summary_section(table, _about(run, settings)),
        record.state_section(networks, *state_of(run)),
        results.comparison_section(run, table),
        results.mining_section(run, mined),
        results.retrieval_section(run),
        results.classification_section(run),
        results.ablation_section(run, bool(settings.get("ablation"))),
        results.paper_section(run),
        Section("data", "Data"),
        Section("training", "Training"),
        Section("other", "Other figures"),
        record.settings_section(settings, networks),
        record.provenance_section(networks),
        record.notebooks_section(run),
        record.files_section(run),
    ]
    _add_pictures(sections, *all_pictures(run))
    return [section for section in sections if section]


def write_report(run: str | Path) -> Path:
    """Write `<run>/report.html`.

    Args:
        run: run folder.

    Returns:
        the file.

    Raises:
        ValueError: a file of the run cannot be read; names it.
    """
    run = resolve(run)
    return write_page(run / "report.html", "report", title=f"Run {run.name}", sections=report_sections(run))


def _about(run: Path, settings: dict) -> str:
    data = dataset_of(settings)
    on = f" on {data}" if data else ""
    pretrained = settings.get("pretrained")
    what = f"judges the networks of {pretrained}{on}" if pretrained else f"trains and judges its networks{on}"
    seed = f", seed {settings['seed']}" if "seed" in settings else ""
    return (
        f"The run {run.name} {what}{seed}{_tests(settings)}."
        if settings
        else f"The folder {run.name} holds results without settings."
    )


def _tests(settings: dict) -> str:
    """How many test videos there are, and so what one of them is worth; "" if the manifest has gone."""
    manifest = resolve(str(settings.get("manifest", "")))
    count = int((Manifest.read(manifest).table.split == "test").sum()) if manifest.is_file() else 0
    return f", with {count} test videos, of which one is {100 / count:.1f} points" if count else ""


def _add_pictures(sections: list[Section], pictures: list[Picture], missing: dict[str, list[str]]) -> None:
    """Each picture to its section, the many confusion matrices folded away; and what could not be drawn."""
    for section in sections:
        section.missing += missing.get(section.id, [])
        mine = [picture for picture in pictures if picture.section == section.id]
        if section.id == "classification" and mine:
            section.folded.append(Section("confusion", f"Confusion matrices: {len(mine)}", pictures=mine))
        else:
            section.pictures = mine


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser("python -m cprlib.report.html", description=__doc__.split("\n")[0])
    parser.add_argument("run", nargs="?", help="name or folder of a run; without it only the index is written")
    parser.add_argument("--outputs", default="outputs", help="folder of the runs, default: outputs")
    args = parser.parse_args(argv)
    try:
        run = find_run(args.run, args.outputs) if args.run else None
        if run:
            print(write_report(run))
        print(write_index(run.parent if run else resolve(args.outputs)))
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0
