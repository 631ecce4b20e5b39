"""All figures of a run: name, section of the report, caption, alternative text, how to draw it.

One table, `FIGURES`, serves the paper's figures, the HTML report and the files that notebooks write to `<run>/figures`.
The name of such a file, with or without "fig<number>_", says which line describes it.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cprlib.methods import ALL_VIEWS, MEASURES, METHODS, VIEWS
from cprlib.report.figures import from_run
from cprlib.report.figures.style import save_figure
from cprlib.report.names import measures, method_look, view_label, within_line
from cprlib.report.run import Run
from cprlib.report.tables.ablation import SETTINGS
from cprlib.report.tables.text import write_texts
from cprlib.store.files import resolve


class Figure(NamedTuple):
    """A line of the table, for a figure of each {view}, {method}, …; or one figure of a run.

    Attributes:
        name: of its file.
        section: of the report.
        caption: what it shows.
        alt: the same for readers who cannot see it.
        draw: of a line: a function of :mod:`~cprlib.report.figures.from_run`, None if only notebooks draw it; of one
            figure: draws it, without arguments.
        needs_labels: whether it says nothing without known classes.
    """

    name: str
    section: str
    caption: str
    alt: str
    draw: Callable[..., Any] | None = None
    needs_labels: bool = False


_LINES = "A line for each network: the loss over the epochs."
_STRIPS = "A query and rows of clips; a red frame and a cross mark clips of other classes."
FIGURES = [
    Figure(
        "flow",
        "data",
        "Frames of one video and the optical flow between them.",
        "Two rows of thumbnails: frames of a video, and below each its flow; the colour is the direction.",
    ),
    Figure(
        "fig1_cascade_{view}",
        "mining",
        "Figure 1. The cascade that mines positives for the {view} network, for a real query: a row of the memory "
        "drawn from those that mine the median share of true positives. Each stage keeps the rows most similar in one "
        "view; beside them, faded, rows that it removed although they are the most similar in the other view.",
        "A query and a row of clips for each stage of the cascade; red frames and crosses mark clips of other classes.",
        from_run.cascades,
        needs_labels=True,
    ),
    Figure(
        "fig2_mined_{view}_{number}",
        "mining",
        "Figure 2. What each method mined for one query in its last epoch, {view} network, example {number}; a red "
        "frame and a cross mark clips of other classes. The query is drawn at random.",
        _STRIPS,
        from_run.mined,
    ),
    Figure(
        "fig3_mining_curves",
        "mining",
        "Figure 3. Positive mining recall (PMR, Eq. 3: the share of mined rows with the query's class) and mining R@1 "
        "(the share of queries whose first mined row has their class) over the epochs of co-training.",
        "Panels for PMR and mining R@1 of each network over the epochs, with a line for each method.",
        from_run.curves,
        needs_labels=True,
    ),
    Figure(
        "cotraining",
        "retrieval",
        "R@1 over co-training, from the middle window of every video, after this number of epochs of each network; "
        "epoch 0 is InfoNCE.",
        "A panel for each view with a line for each method: R@1 over the epochs of co-training.",
        from_run.cotraining,
    ),
    Figure(
        "fig5_classes_{view}",
        "mining",
        "Figure 5. The classes of which {method} finds the largest and the smallest share of recordings in its "
        "last epoch (CMR, Eq. 5), {view} network, with frames of training videos.",
        "Classes with the highest and the lowest recall, each with the recall of every method and frames of videos.",
        from_run.classes,
        needs_labels=True,
    ),
    Figure(
        "fig6_cmr_{view}_by_{by}",
        "mining",
        "Figures 4 and 6. Class mining recall (CMR, Eq. 5), {view} network: the share of each class's {by} that were "
        "mined as true positives in the last epoch. Lines are the medians over the classes.",
        "Bars of class mining recall for every class and method; vertical lines mark the medians.",
        from_run.recalls,
        needs_labels=True,
    ),
    Figure(
        "ablation_{sweep}",
        "ablation",
        "Ablation of the cascade: {sweep}, mean and spread over the seeds.",
        "A panel for each view, with the measure at every point of the ablation.",
        from_run.ablation,
    ),
    Figure(
        "confusion_{protocol}_{method}_{view}",
        "classification",
        "{method}, {protocol}, {view}: the share of each class's test videos (rows) predicted as each class (columns).",
        "A matrix of true classes by predicted classes in shades of grey, darker for a larger share.",
        from_run.confusions,
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
        "The nearest training videos of one test video in every view, example {number}.",
        _STRIPS,
    ),
    Figure(
        "choice",
        "mining",
        "Which cascade, without labels: PMR over the agreement of the views, a point for each plan of the cascade.",
        "A panel for each network, with a point for each plan; its marker shows the number of stages.",
    ),
    Figure("iic_mining", "mining", "IIC + CPR: PMR and mining R@1 over the epochs.", "Two panels with a line each."),
    Figure(
        "iic_retrieval",
        "retrieval",
        "IIC: the share of test videos with a training video of their class among the k nearest, in each view.",
        "A panel for each view with groups of bars for each k, a bar for each method.",
    ),
    Figure("search", "other", "The videos most like one drawn at random, in each view and in all views.", _STRIPS),
    Figure("{method}_loss", "training", "Co-training with {method}: loss over the epochs.", _LINES),
    Figure("{method}_{view}", "training", "Training with {method}: loss of the {view} network.", _LINES),
]
FIELDS = {  # what may fill a name -> its pattern, and its words in a caption
    "method": ("|".join(map(re.escape, METHODS)), lambda name, views: method_look(name).label),
    "view": ("|".join([*VIEWS, ALL_VIEWS]), lambda name, views: within_line(view_label(name, views))),
    "by": ("source|video", lambda name, views: {"source": "recordings", "video": "videos"}[name]),
    "number": (r"\d+", lambda number, views: str(int(number) + 1)),
    "protocol": ("|".join(measures("classification")), lambda name, views: within_line(MEASURES[name].label)),
    "sweep": (".+", lambda name, views: _sweep_words(name)),
}


def figures_of_run(run: str | Path | Run, seed: int = 0) -> tuple[list[Figure], dict[str, str]]:
    """The figures that a run has the data for, in the paper's order; and for other lines of the table: name -> reason.

    The queries of figures 1 and 2 are drawn with the seed; none is picked by hand.
    """
    run = run if isinstance(run, Run) else Run(run)
    figures, left_out = [], {}
    for line in (line for line in FIGURES if line.draw):
        name = line.name.split("_{")[0]  # without the fields, which nothing fills
        if line.needs_labels and not run.is_labelled:
            left_out[name] = "no class is known"
            continue
        try:
            figures += [_filled(line, values, run.views)._replace(draw=draw) for values, draw in line.draw(run, seed)]
        except (FileNotFoundError, ValueError) as error:
            left_out[name] = str(error)
    return figures, left_out


def describe(name: str, views: Sequence[str] = ("rgb", "flow")) -> tuple[int, Figure]:
    """Place and filled-in line in the table for a file in `<run>/figures`, by its name without suffix.

    >>> describe("mining_curves")[1].section, describe("my_own")[1].caption
    ('mining', 'My own.')
    """
    for place, line in enumerate(FIGURES):
        pattern = re.sub(r"{(\w+)}", lambda field: f"(?P<{field[1]}>{FIELDS[field[1]][0]})", bare(line.name))
        if match := re.fullmatch(pattern, bare(name)):
            return place, _filled(line, match.groupdict(), views)
    title = name.replace("_", " ")
    return len(FIGURES), Figure(name, "other", f"{title[:1].upper()}{title[1:]}.", f"The figure {title}.")


def bare(name: str) -> str:
    """A name without the number of the paper's figure, as notebooks use it."""
    return re.sub(r"^fig\d_", "", name)


def _filled(line: Figure, values: dict[str, str], views: Sequence[str]) -> Figure:
    words = {"method": "the last method"} | {key: FIELDS[key][1](value, views) for key, value in values.items()}
    return line._replace(name=line.name.format(**values), caption=line.caption.format(**words))


def _sweep_words(name: str) -> str:
    """A sweep "top_k" is PMR over the top k, "stages_r1" is R@1 over the stages."""
    if name in SETTINGS:
        return f"PMR for each {within_line(SETTINGS[name])}"
    measure = name.removeprefix("stages_")
    return f"{MEASURES[measure].label if measure in MEASURES else measure} over the number of stages"


def save_figures(
    run: str | Path, out: str | Path | None = None, formats: tuple[str, ...] = ("png", "pdf"), seed: int = 0
) -> tuple[list[Path], dict[str, str]]:
    """Write the figures of a run and captions.txt to `out` or to `<run>/figures/paper`.

    Returns:
        the files; name -> reason for figures that are left out.
    """
    figures, left_out = figures_of_run(run, seed)
    folder = resolve(out) if out else resolve(run) / "figures" / "paper"
    paths, captions = [], []
    for figure in figures:
        try:
            paths += save_figure(figure.draw(), folder, figure.name, formats)
            captions.append(f"{figure.name}\n{figure.caption}\n")
        except (FileNotFoundError, ValueError) as error:  # e.g. videos that have been moved
            left_out[figure.name] = str(error)
    return paths + write_texts(folder, {"captions.txt": "\n".join(captions)}), left_out
