"""A report of a run as one HTML file, and an index page of all runs beside it.

    python -m cprlib.report.html toy

Everything in it is read from the run folder; of a half-finished run it shows what there is and names what is missing.
"""

import argparse
import sys
from pathlib import Path

from cprlib.data.manifest import Manifest
from cprlib.report.html import record, results
from cprlib.report.html.images import pictures_of
from cprlib.report.html.index import write_index
from cprlib.report.html.page import Section, write_page
from cprlib.report.run import Run, find_run
from cprlib.report.tables.notes import notes
from cprlib.store.files import resolve


def report_sections(run: Run, pair: tuple[str, ...] = ()) -> list[Section]:
    """The sections of a report, those without content left out; pair: see `tables.comparison.differences`."""
    table = results.comparison_of(run)
    sections = [
        results.summary_section(run, table, _about(run), pair),
        record.state_section(run),
        results.comparison_section(table, notes([run.folder]) if table is not None else []),
        results.mining_section(run),
        results.retrieval_section(run),
        results.classification_section(run),
        results.ablation_section(run),
        results.paper_section(run),
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
    """Write `<run>/report.html`; arguments and errors as for `report_sections`."""
    run = Run(run)
    title, sections = f"Run {run.folder.name}", report_sections(run, pair)
    return write_page(run.folder / "report.html", "report", title=title, sections=sections)


def _about(run: Run) -> str:
    """Data, seed and number of test videos, and so what one of them is worth."""
    settings, name = run.settings, run.folder.name
    if not settings:
        return f"The folder {name} holds results without settings."
    pretrained = settings.get("pretrained")
    what = f"evaluates the networks of {pretrained}" if pretrained else "trains and evaluates its networks"
    on, seed = f" on {run.dataset}" * bool(run.dataset), f", seed {settings.get('seed')}" * ("seed" in settings)
    manifest = resolve(str(settings.get("manifest", "")))
    count = int((Manifest.read(manifest).table.split == "test").sum()) if manifest.is_file() else 0
    tests = f", with {count} test videos: one of them is {100 / count:.1f} points" if count else ""
    return f"The run {name} {what}{on}{seed}{tests}."


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
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0
