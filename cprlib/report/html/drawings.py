"""The paper's figures of a run, drawn for a report, beside the pictures that notebooks left."""

import base64
import io
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from cprlib.report.figures.paper import figures_of_run
from cprlib.report.figures.style import DPI
from cprlib.report.html.pictures import Picture, encode, pictures_of

SHARP = 160  # dots per inch of what is no vector graphic
DEARER = 3.5  # so many times the bytes are worth the sharpness of a vector graphic: plots are, photographs are not
# How names of figures begin: section, description, how the names of the notebooks' pictures begin that they replace.
PAPER = {
    "fig1_cascade": (
        "mining",
        "A query, columns of clips, one for each stage of the cascade; ticks mark the query's class, crosses others; "
        "those that a stage removed are faded.",
        None,
    ),
    "fig2_mined": (
        "mining",
        "A query and a row of mined clips for each method; a red frame and a cross mark wrong classes.",
        "mined_",
    ),
    "fig3_pmr": (
        "mining",
        "Panels for PMR and mining R@1 of each network over the epochs, with a line for each method.",
        "mining_curves",
    ),
    "fig4_found": (
        "mining",
        "Bars for every class and method: videos found; an outline shows how many there are.",
        None,
    ),
    "fig5_classes": (
        "mining",
        "Classes with the highest and the lowest recall, each with bars and frames of its videos.",
        None,
    ),
    "fig6_cmr": (
        "mining",
        "Bars for every class and method: class mining recall; vertical lines mark the medians.",
        "cmr_",
    ),
    "ablation": (
        "ablation",
        "A panel for each view with the measure at every point of the ablation.",
        "ablation_",
    ),
    "confusion": (
        "classification",
        "A matrix of true classes by predicted classes in shades of grey, darker for a larger share.",
        None,
    ),
}


def all_pictures(run: Path) -> tuple[list[Picture], dict[str, list[str]]]:
    """The pictures of a report: the paper's figures as far as they can be drawn, then what notebooks left besides.

    Args:
        run: run folder.

    Returns:
        pictures; section -> what could not be drawn, and why.

    Raises:
        ValueError: a picture in `<run>/figures` cannot be read.
    """
    # notebooks leave a confusion matrix for every view, the paper's figures are of both views together
    known = any((run / "figures").glob("confusion_*.png"))
    drawn, missing = _drawn(run, "confusion" if known else ())
    replaced = [
        words[2] for start, words in PAPER.items() if words[2] and any(name.startswith(start) for name in drawn)
    ]
    return [*drawn.values(), *pictures_of(run, without=tuple(replaced))], missing


def draw(figure: Figure) -> tuple[str, int, int]:
    """A figure as data URI with width and height in pixels: as SVG, or as WebP where that would be much smaller."""
    vector, pixels = io.BytesIO(), io.BytesIO()
    with rc_context({"svg.hashsalt": "cprlib"}):  # the same figure gives the same bytes
        figure.savefig(vector, format="svg", metadata={"Date": None})
    figure.savefig(pixels, format="png", dpi=SHARP)
    svg = f"data:image/svg+xml;base64,{base64.b64encode(vector.getvalue()).decode()}"
    webp, *_ = encode(pixels.getvalue())
    width, height = (round(DPI * inches) for inches in figure.get_size_inches())
    return svg if len(svg) < DEARER * len(webp) else webp, width, height


def _drawn(run: Path, without: str | tuple[str, ...]) -> tuple[dict[str, Picture], dict[str, list[str]]]:
    """Name -> picture, without those whose names begin so; section -> why others could not be drawn."""
    try:
        figures = figures_of_run(run)
    except FileNotFoundError:  # tables alone, e.g. means over seeds
        return {}, {}
    pictures, missing = {}, {}
    for name in (name for name in figures if not name.startswith(without)):
        known = (words for start, words in PAPER.items() if name.startswith(start))
        section, alt, _ = next(known, ("other", "A figure, see its caption.", None))
        try:
            pictures[name] = Picture(section, figures[name].caption, alt, *draw(figures[name].draw()))
        except (FileNotFoundError, ValueError) as error:  # e.g. videos that have been moved
            note = f"Figures are left out: {error}."
            missing[section] = list(dict.fromkeys([*missing.get(section, []), note]))
    return pictures, missing
