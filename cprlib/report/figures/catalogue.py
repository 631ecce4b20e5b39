"""All figures of a run: what each is called, where it belongs, what it shows, how it is drawn.

One table, `FIGURES`, serves the paper's figures, the HTML report, and the files that notebooks leave in
`<run>/figures`: a file belongs to the line whose name it has, with or without "fig<number>_".
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import matplotlib.figure
import pandas as pd

from cprlib.evaluation.classification import confusion_matrix
from cprlib.methods import ALL_VIEWS, MEASURES, METHODS
from cprlib.report.figures.ablation import ablation_curves, sweep_bars
from cprlib.report.figures.cascade_diagram import cascade_diagram
from cprlib.report.figures.cascade_view import typical_query
from cprlib.report.figures.classes import best_and_worst, class_videos, cmr_bars, confusion_figure, found_bars
from cprlib.report.figures.curves import mining_curves
from cprlib.report.figures.examples import common_queries, mined_figure
from cprlib.report.figures.strips import thumbnails
from cprlib.report.figures.style import save_figure
from cprlib.report.names import measures, method_look, method_order, view_label, within_line
from cprlib.report.run import MEMORIES, Run
from cprlib.report.tables.ablation import SETTINGS
from cprlib.store.files import atomic_path, resolve

Draw = Callable[[], matplotlib.figure.Figure]
Found = Iterator[tuple[dict[str, str], Draw]]  # what fills a line's name, and how to draw it


class Figure(NamedTuple):
    """A line of the table, for one figure or for one of each view, method, … named in braces.

    Attributes:
        name: of its file; {view}, {method}, {number}, {measure}, {protocol}, {setting}, {by} vary.
        section: of the report.
        caption: what it shows.
        alt: what is seen, for readers who cannot see it.
        draw: finds what a run has data for, `(run, seed)` -> what the braces stand for and a function that draws it;
            None: only notebooks draw it.
    """

    name: str
    section: str
    caption: str
    alt: str
    draw: Callable[[Run, int], Found] | None = None


class Drawing(NamedTuple):
    """One figure that a run has the data for."""

    name: str
    section: str
    caption: str
    alt: str
    draw: Draw


def _cascades(run: Run, seed: int) -> Found:
    views = [view for view in run.views if run.trainings("cpr", view, MEMORIES)]
    if not views:
        raise FileNotFoundError("no memory of a CPR network was kept; train it, or train it again, in notebook 04")

    def draw(view: str) -> matplotlib.figure.Figure:
        pictures = (thumbnails(run.manifest, run.frames(kind), kind) for kind in ("rgb", "flow"))
        memory, stages = run.cascade(view)
        return cascade_diagram(
            memory, stages, typical_query(memory, stages, seed), run.manifest.class_names, *pictures
        )

    return (({"view": view}, partial(draw, view)) for view in views)


def _mined(run: Run, seed: int) -> Found:
    def draw(view: str, query: int) -> matplotlib.figure.Figure:
        return mined_figure(run.logs[view], run.manifest, thumbnails(run.manifest, run.frames("rgb")), query)

    for view, logs in run.logs.items():
        for number, query in enumerate(common_queries(logs, 3, seed)):
            yield {"view": view, "number": str(number)}, partial(draw, view, query)


def _curves(run: Run, seed: int) -> Found:
    methods = {method for by_method in run.logs.values() for method in by_method}
    logs = {m: {view: by_method[m] for view, by_method in run.logs.items() if m in by_method} for m in methods}
    yield {}, partial(mining_curves, logs)


def _found(run: Run, seed: int) -> Found:
    for view in run.logs:
        yield {"view": view}, lambda v=view: found_bars(run.recalls(v, "video"), f"{view_label(v)} network")


def _recalls(run: Run, seed: int) -> Found:
    for view in run.logs:
        title = f"{view_label(view)} network"
        yield {"view": view, "by": "source"}, lambda v=view, title=title: cmr_bars(run.recalls(v, "source"), title)


def _classes(run: Run, seed: int) -> Found:
    def draw(view: str, method: str) -> matplotlib.figure.Figure:
        picture = thumbnails(run.manifest, run.frames("rgb"))
        return best_and_worst(run.recalls(view, "source"), class_videos(run.manifest), picture, method)

    for view, logs in run.logs.items():
        method = max(logs, key=method_order)
        yield {"view": view, "method": method}, partial(draw, view, method)


def _points(run: Run) -> pd.DataFrame:
    path = run.folder / "tables" / "ablation.csv"
    if not path.is_file():
        raise FileNotFoundError("no tables/ablation.csv; name its points (`ablation`) in the parameters, `make tables`")
    return pd.read_csv(path)


def stages_drawn(points: pd.DataFrame) -> list[str]:
    """The measures of an ablation that are drawn over the number of stages."""
    shown = [name for name in ("pmr_end", "cmr_source", "r1", "probe") if name in points and points[name].notna().any()]
    return shown if points["num_stages"].nunique() > 1 else []


def settings_drawn(points: pd.DataFrame) -> list[str]:
    """The settings of an ablation, besides stages and ratio, that vary."""
    return [name for name in ("top_k", "anchor", "cycles") if points[name].nunique() > 1]


def _stages(run: Run, seed: int) -> Found:
    points = _points(run)
    return (({"measure": name}, partial(ablation_curves, points, name)) for name in stages_drawn(points))


def _settings(run: Run, seed: int) -> Found:
    points = _points(run)
    return (({"setting": name}, partial(sweep_bars, points, name)) for name in settings_drawn(points))


def _confusions(run: Run, seed: int) -> Found:
    paths = [p for kind in measures("classification") for p in run.folder.glob(f"tables/predictions_{kind}_*.csv")]
    parts = {path: path.stem.split("_", 2)[1:] for path in paths if path.stem.endswith(f"_{ALL_VIEWS}")}
    if not parts:
        raise FileNotFoundError("no tables/predictions_…_both.csv; notebook 06 makes them of runs with two views")

    def draw(path: Path, title: str) -> matplotlib.figure.Figure:
        predictions = pd.read_csv(path)
        names = [column.removeprefix("p_") for column in predictions if column.startswith("p_")]
        return confusion_figure(confusion_matrix(predictions, names), title)

    for path in sorted(parts, key=lambda p: (list(MEASURES).index(parts[p][0]), method_order(parts[p][1][:-5]))):
        protocol, method = parts[path][0], parts[path][1].removesuffix(f"_{ALL_VIEWS}")
        words = [method_look(method).label, MEASURES[protocol].label, view_label(ALL_VIEWS, run.views)]
        title = ", ".join([words[0], *map(within_line, words[1:])])
        yield {"protocol": protocol, "method": method, "view": ALL_VIEWS}, partial(draw, path, title)


_MINED = "A query and a row of mined clips for each method; a red frame and a cross mark other classes."
_BARS = "Bars for every class and method"
FIGURES = [
    Figure(
        "flow",
        "data",
        "Frames of one video and the optical flow between them.",
        "Two rows of thumbnails: frames of one video, below each its flow; the colour is the direction.",
    ),
    Figure(
        "fig1_cascade_{view}",
        "mining",
        "The cascade that mines positives for the {view} network, for a real query: a row of the memory, drawn from "
        "those that mine the median share of true positives. Each stage keeps the rows most similar in one view; "
        "below, faded, rows that it removed although the other view finds them the most similar.",
        "A query and columns of clips, one for each stage of the cascade; ticks mark the query's class, crosses others.",
        _cascades,
    ),
    Figure(
        "fig2_mined_{view}_{number}",
        "mining",
        "What each method mined for one query in its last epoch, {view} network, example {number}; a frame and a cross "
        "mark another class than the query's. The query is drawn at random.",
        _MINED,
        _mined,
    ),
    Figure(
        "fig3_mining_curves",
        "mining",
        "Positive mining recall (PMR, Eq. 3: the share of mined rows that are of the query's class) and mining R@1 "
        "(the share of queries whose first mined row is) over the epochs of co-training.",
        "Panels for PMR and mining R@1 of each network over the epochs, with a line for each method.",
        _curves,
    ),
    Figure(
        "fig4_found_{view}",
        "mining",
        "Distinct training videos of each class that were mined as true positives in the last epoch, {view} network; "
        "outlined are all training videos of the class.",
        f"{_BARS}: videos found; an outline shows how many there are.",
        _found,
    ),
    Figure(
        "fig5_classes_{view}",
        "mining",
        "The classes of which {method} finds the largest and the smallest share of recordings in its last epoch (CMR, "
        "Eq. 5), {view} network, with frames of training videos.",
        "Classes with the highest and the lowest recall, each with bars and frames of its videos.",
        _classes,
    ),
    Figure(
        "fig6_cmr_{view}_by_{by}",
        "mining",
        "Class mining recall (CMR, Eq. 5), {view} network: the share of each class's {by} that were mined as true "
        "positives in the last epoch. Lines are the medians over the classes.",
        f"{_BARS}: class mining recall; vertical lines mark the medians.",
        _recalls,
    ),
    Figure(
        "ablation_stages_{measure}",
        "ablation",
        "Ablation of the cascade: {measure} over the number of stages, mean and spread over the seeds.",
        "A panel for each view; lines over the number of stages, one for each ratio.",
        _stages,
    ),
    Figure(
        "ablation_{setting}",
        "ablation",
        "Ablation of the cascade: PMR for each {setting}, mean and spread over the seeds.",
        "Bars for each value of the setting, one for each view.",
        _settings,
    ),
    Figure(
        "confusion_{protocol}_{method}_{view}",
        "classification",
        "{method}, {protocol}, {view}: the share of each class's test videos (rows) that was taken for each class.",
        "A matrix of true classes by predicted classes in shades of grey, darker for a larger share.",
        _confusions,
    ),
    Figure(
        "retrieval",
        "retrieval",
        "Retrieval: the share of test videos with a training video of their class among the k nearest.",
        "A panel for each view with groups of bars for each k, a bar for each method.",
    ),
    Figure(
        "neighbours_{number}",
        "retrieval",
        "Nearest training videos of one test video in every view, example {number}.",
        "A test video and a row of neighbours for each view; a red frame and a cross mark other classes.",
    ),
    Figure(
        "{method}_loss",
        "training",
        "Co-training with {method}: loss over the epochs.",
        "A panel for each network with a line: the loss over the epochs.",
    ),
    Figure(
        "{method}_{view}",
        "training",
        "Training with {method}: loss of the {view} network over the epochs.",
        "A line: the loss over the epochs.",
    ),
]
WORDS = {
    "method": lambda name, views: method_look(name).label,
    "view": lambda name, views: within_line(view_label(name, views)),
    "by": lambda name, views: "videos" if name == "video" else "recordings",
    "number": lambda text, views: str(int(text) + 1),
    "measure": lambda name, views: MEASURES[name].label if name in MEASURES else name,
    "protocol": lambda name, views: within_line(MEASURES[name].label) if name in MEASURES else name,
    "setting": lambda name, views: within_line(SETTINGS.get(name, name)),
}


def described(figure: Figure, values: dict[str, str], views: list[str]) -> tuple[str, str, str]:
    """Section, caption and alternative text of one figure of a line."""
    words = {key: WORDS[key](value, views) for key, value in values.items()}
    number = re.match(r"fig(\d)_", figure.name)
    return figure.section, (f"Figure {number[1]}. " if number else "") + figure.caption.format(**words), figure.alt


def describe(name: str, views: list[str] = ("rgb", "flow")) -> tuple[int, str, str, str]:
    """Place in the table, section, caption and alternative text of a file in `<run>/figures`, by its name.

    >>> describe("mining_curves")[1], describe("my_own")[1:]
    ('mining', ('other', 'My own.', 'The figure my own.'))
    """
    kinds = {"method": "|".join(map(re.escape, METHODS)), "number": r"\d+", "by": "source|video"}
    kinds |= {"protocol": "|".join(measures("classification"))}
    for place, figure in enumerate(FIGURES):
        bare = re.sub(r"^fig\d_", "", figure.name)
        pattern = re.sub(r"{(\w+)}", lambda field: f"(?P<{field[1]}>{kinds.get(field[1], '.+?')})", bare)
        match = re.fullmatch(pattern, bare_name(name))
        if match and set(re.findall(r"{(\w+)}", figure.caption)) <= set(match.groupdict()):
            return place, *described(figure, match.groupdict(), views)
    title = name.replace("_", " ")
    return len(FIGURES), "other", f"{title[:1].upper()}{title[1:]}.", f"The figure {title}."


def bare_name(name: str) -> str:
    """The name without the number of the paper's figure: what a notebook calls the same figure."""
    return re.sub(r"^fig\d_", "", name)


def figures_of_run(run: str | Path | Run, seed: int = 0) -> tuple[list[Drawing], dict[str, str]]:
    """The figures that a run has the data for, in the paper's order.

    Args:
        run: run folder, e.g. `outputs/toy`.
        seed: of the draw of queries in figures 1 and 2; none is picked by hand.

    Returns:
        the figures, drawn when asked for; name of a line of the table -> why it has none.
    """
    run = run if isinstance(run, Run) else Run(run)
    drawings, left_out = [], {}
    for figure in (figure for figure in FIGURES if figure.draw):
        try:
            for values, draw in figure.draw(run, seed):
                drawings.append(Drawing(figure.name.format(**values), *described(figure, values, run.views), draw))
        except (FileNotFoundError, ValueError) as error:
            left_out[figure.name] = str(error)
    return drawings, left_out


def save_figures(
    run: str | Path, out: str | Path | None = None, formats: tuple[str, ...] = ("png", "pdf"), seed: int = 0
) -> tuple[list[Path], dict[str, str]]:
    """Draw and write the figures of a run, and captions.txt beside them.

    Args:
        run: run folder.
        out: where to; None = `<run>/figures/paper`.
        formats, seed: see `style.save_figure` and :func:`figures_of_run`.

    Returns:
        the files written; name -> why a figure is left out.
    """
    drawings, left_out = figures_of_run(run, seed)
    folder = resolve(out) if out else resolve(run) / "figures" / "paper"
    paths, captions = [], []
    for name, _, caption, _, draw in drawings:
        try:
            figure = draw()
        except (FileNotFoundError, ValueError) as error:  # e.g. videos that have been moved
            left_out[name] = str(error)
            continue
        paths += save_figure(figure, folder, name, formats)
        captions.append(f"{name}\n{caption}\n")
    with atomic_path(folder / "captions.txt") as tmp:
        tmp.write_text("\n".join(captions), encoding="utf-8")
    return [*paths, folder / "captions.txt"], left_out
