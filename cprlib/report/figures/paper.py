"""The figures of the paper from any run: PNG for screens, PDF for print.

    python -m cprlib.report.figures.paper outputs/toy [--out FOLDER] [--formats png pdf] [--seed 0]

They go to `<run>/figures/paper`, with captions.txt beside them. A figure that the run lacks the data for is left out,
with a line that says what makes it.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from cprlib.evaluation.classification import confusion_matrix
from cprlib.report.figures.ablation import MEASURES, SETTINGS, ablation_curves, sweep_bars
from cprlib.report.figures.cascade_diagram import cascade_diagram
from cprlib.report.figures.cascade_view import typical_query
from cprlib.report.figures.classes import best_and_worst, class_videos, cmr_bars, found_bars
from cprlib.report.figures.confusion import confusion_figure
from cprlib.report.figures.curves import mining_curves, save_figure
from cprlib.report.figures.examples import common_queries, mined_figure
from cprlib.report.figures.style import PROTOCOLS, method_order, method_style, view_label, view_word
from cprlib.report.run_files import MEMORIES, RunFiles
from cprlib.report.run_state import find_run
from cprlib.store.files import atomic_path, resolve

EXAMPLES = 3  # queries of figure 2
SWEPT = ("pmr_end", "cmr_source", "r1", "probe")  # drawn over the number of stages, as in notebook 09
CAPTIONS = {
    "fig1_cascade": "Figure 1. The cascade that mines positives for the {view} network, for a real query: a row of the "
    "memory, drawn from those that mine the median share of true positives. Each stage keeps the rows most similar "
    "in one view; below, faded, rows that it removed although the other view finds them the most similar.",
    "fig2_mined": "Figure 2. What each method mined for one query in its last epoch, {view} network; a frame and a "
    "cross mark another class than the query's. The query is drawn at random.",
    "fig3_pmr": "Figure 3. Positive mining recall (PMR, Eq. 3: the share of mined rows that are of the query's class) "
    "and mining R@1 (the share of queries whose first mined row is) over the epochs of co-training.",
    "fig4_found": "Figure 4. Distinct training videos of each class that were mined as true positives in the last "
    "epoch, {view} network; outlined are all training videos of the class.",
    "fig5_classes": "Figure 5. The classes of which {method} finds the largest and the smallest share of recordings in "
    "its last epoch (CMR, Eq. 5), {view} network, with frames of training videos.",
    "fig6_cmr": "Figure 6. Class mining recall (CMR, Eq. 5), {view} network: the share of each class's recordings that "
    "were mined as true positives in the last epoch. Lines are the medians over the classes.",
    "ablation_stages": "Ablation of the cascade: {measure} over the number of stages, mean and spread over the seeds.",
    "ablation": "Ablation of the cascade: PMR for each {setting}, mean and spread over the seeds.",
    "confusion": "{title}: the share of each class's test videos (rows) that was taken for each class (columns).",
}


class PaperFigure(NamedTuple):
    """A figure that can be drawn."""

    name: str  # of its file, e.g. "fig2_mined_rgb_0"
    caption: str  # what it shows, with its number in the paper
    draw: Callable[[], Figure]


def figures_of_run(run: str | Path, seed: int = 0) -> dict[str, PaperFigure]:
    """The figures that a run has the data for, by name, in the paper's order.

    Args:
        run: run folder, e.g. `outputs/toy`.
        seed: of the draw of queries in figures 1 and 2; none is picked by hand.

    Raises:
        FileNotFoundError: not the folder of a run.
        ValueError: a file of the run cannot be read.
    """
    return _collect(run, seed, FileNotFoundError)[0]


def save_paper_figures(
    run: str | Path, out: str | Path | None = None, formats: tuple[str, ...] = ("png", "pdf"), seed: int = 0
) -> tuple[list[Path], dict[str, str]]:
    """Draw and write all figures of a run, and their captions.

    Args:
        run: run folder.
        out: where to; None = `<run>/figures/paper`.
        formats, seed: see `style.save_figure` and :func:`figures_of_run`.

    Returns:
        the files written; the figures left out, each with the reason.

    Raises:
        FileNotFoundError: not the folder of a run.
        ValueError: another format.
    """
    figures, left_out = _collect(run, seed, FileNotFoundError, ValueError)
    folder = resolve(out) if out else resolve(run) / "figures" / "paper"
    paths, captions = [], []
    for name, caption, draw in figures.values():
        try:
            figure = draw()
        except (FileNotFoundError, ValueError) as error:  # e.g. videos that have been moved
            left_out[name] = str(error)
            continue
        with rc_context({"pdf.fonttype": 42}):  # journals refuse the other kind
            paths += save_figure(figure, folder, name, formats)
        captions.append(f"{name}\n{caption}\n")
    with atomic_path(folder / "captions.txt") as tmp:
        tmp.write_text("\n".join(captions))
    return [*paths, folder / "captions.txt"], left_out


def _collect(run: str | Path, seed: int, *missing: type[Exception]) -> tuple[dict[str, PaperFigure], dict[str, str]]:
    files, figures, left_out = RunFiles(run), {}, {}
    for start, find in FINDERS.items():
        try:
            figures |= {figure.name: figure for figure in find(files, seed)}
        except missing as error:
            left_out[start] = str(error)
    return figures, left_out


def _cascades(run: RunFiles, seed: int) -> Iterator[PaperFigure]:
    found = [view for view in run.views if run.networks("cpr", view, MEMORIES)]
    if not found:
        raise FileNotFoundError("no memory of a CPR network was kept; train it, or train it again, in notebook 04")
    for view in found:
        yield _by_view("fig1_cascade", view, partial(_draw_cascade, run, seed, view))


def _draw_cascade(run: RunFiles, seed: int, view: str) -> Figure:
    memory, stages = run.cascade(view)
    query = typical_query(memory, stages, seed)
    return cascade_diagram(memory, stages, query, run.manifest.class_names, run.thumbnails(), run.thumbnails("flow"))


def _mined(run: RunFiles, seed: int) -> Iterator[PaperFigure]:
    for view, logs in run.logs.items():
        for number, query in enumerate(common_queries(logs, EXAMPLES, seed)):
            figure = _by_view("fig2_mined", view, partial(_draw_mined, run, logs, query))
            yield figure._replace(name=f"{figure.name}_{number}")


def _draw_mined(run: RunFiles, logs: dict[str, pd.DataFrame], query: int) -> Figure:
    return mined_figure(logs, run.manifest, run.thumbnails(), query)


def _curves(run: RunFiles, seed: int) -> Iterator[PaperFigure]:
    methods = sorted({method for logs in run.logs.values() for method in logs}, key=method_order)
    logs = {m: {view: by_method[m] for view, by_method in run.logs.items() if m in by_method} for m in methods}
    yield PaperFigure("fig3_pmr", CAPTIONS["fig3_pmr"], partial(mining_curves, logs))


def _each_view(start: str, draw: Callable[[RunFiles, str], Figure]) -> Callable[..., Iterator[PaperFigure]]:
    def find(run: RunFiles, seed: int) -> Iterator[PaperFigure]:
        return (_by_view(start, v, partial(draw, run, v), method_style(_last(run, v)).label) for v in run.logs)

    return find


def _draw_found(run: RunFiles, view: str) -> Figure:
    return found_bars(run.recalls(view, "video"), f"{view_label(view)} network")


def _draw_classes(run: RunFiles, view: str) -> Figure:
    videos = class_videos(run.manifest)
    return best_and_worst(run.recalls(view, "source"), videos, run.thumbnails(), _last(run, view))


def _draw_recalls(run: RunFiles, view: str) -> Figure:
    return cmr_bars(run.recalls(view, "source"), f"{view_label(view)} network")


def _last(run: RunFiles, view: str) -> str:
    """CPR, or what there is."""
    return max(run.logs[view], key=method_order)


def _by_view(start: str, view: str, draw: Callable[[], Figure], method: str = "") -> PaperFigure:
    return PaperFigure(f"{start}_{view}", CAPTIONS[start].format(view=view_word(view), method=method), draw)


def _ablation(run: RunFiles, seed: int) -> Iterator[PaperFigure]:
    path = run.folder / "tables" / "ablation.csv"
    if not path.is_file():
        raise FileNotFoundError("no tables/ablation.csv; name its points (`ablation`) in the parameters, `make tables`")
    points = pd.read_csv(path)
    if points.num_stages.nunique() > 1:
        for measure in (m for m in SWEPT if m in points and points[m].notna().any()):
            text = CAPTIONS["ablation_stages"].format(measure=MEASURES[measure])
            yield PaperFigure(f"ablation_stages_{measure}", text, partial(ablation_curves, points, measure))
    for setting in (s for s in ("top_k", "anchor", "cycles") if points[s].nunique() > 1):
        text = CAPTIONS["ablation"].format(setting=SETTINGS[setting].lower())
        yield PaperFigure(f"ablation_{setting}", text, partial(sweep_bars, points, setting))


def _confusions(run: RunFiles, seed: int) -> Iterator[PaperFigure]:
    found = {p: list(run.folder.glob(f"tables/predictions_{p}_*_both.csv")) for p in PROTOCOLS}
    if not any(found.values()):
        raise FileNotFoundError("no tables/predictions_…_both.csv; notebook 06 makes them of runs with two views")
    for protocol, paths in found.items():
        methods = {path.stem.split("_")[2]: path for path in paths}
        for method in sorted(methods, key=method_order):
            title = f"{method_style(method).label}, {PROTOCOLS[protocol].lower()}, both views"
            draw = partial(_draw_confusion, methods[method], title)
            yield PaperFigure(f"confusion_{protocol}_{method}", CAPTIONS["confusion"].format(title=title), draw)


def _draw_confusion(path: Path, title: str) -> Figure:
    predictions = pd.read_csv(path)
    names = [column.removeprefix("p_") for column in predictions if column.startswith("p_")]
    return confusion_figure(confusion_matrix(predictions, names), title)


FINDERS = {
    "fig1_cascade": _cascades,
    "fig2_mined": _mined,
    "fig3_pmr": _curves,
    "fig4_found": _each_view("fig4_found", _draw_found),
    "fig5_classes": _each_view("fig5_classes", _draw_classes),
    "fig6_cmr": _each_view("fig6_cmr", _draw_recalls),
    "ablation": _ablation,
    "confusion": _confusions,
}


def main() -> None:
    """``python -m cprlib.report.figures.paper RUN``: write the figures and say which."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("run", help="name or folder of a run, e.g. toy")
    parser.add_argument("--out", help="folder of the figures; by default RUN/figures/paper")
    parser.add_argument("--formats", nargs="+", default=["png", "pdf"], help="of png, pdf, svg")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of queries in figures 1 and 2")
    given = parser.parse_args()
    try:
        paths, left_out = save_paper_figures(find_run(given.run), given.out, tuple(given.formats), given.seed)
    except (FileNotFoundError, ValueError) as error:
        parser.exit(1, f"error: {error}\n")
    print(*paths, sep="\n")
    for name, reason in left_out.items():
        print(f"{name} is left out: {reason}")


if __name__ == "__main__":
    main()
