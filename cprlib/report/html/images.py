"""The figures of a run as images inside a page: those of the catalogue, and what else notebooks left."""

import base64
import io
from typing import NamedTuple

import matplotlib.figure
from matplotlib import rc_context
from PIL import Image

from cprlib.report.figures.catalogue import bare, describe, figures_of_run
from cprlib.report.figures.style import DPI
from cprlib.report.run import Run

SHARP = 160  # dots per inch of what is no vector graphic
DEARER = 3.5  # a vector graphic may have so many times the bytes: plots do, photographs do not


class Picture(NamedTuple):
    """An image in a section of a page: what it shows, the same for readers who cannot see it, itself, its pixels."""

    section: str
    caption: str
    alt: str
    uri: str
    width: int
    height: int


def pictures_of(run: Run) -> tuple[list[Picture], dict[str, list[str]]]:
    """The figures of a run as far as they can be drawn, then the files in `<run>/figures` that show something else.

    Returns:
        pictures; section -> why figures of it could not be drawn.
    """
    files = {path.stem: path.read_bytes() for path in sorted((run.folder / "figures").glob("[!.]*.png"))}
    pictures, drawn, missing = [], set(), {}
    for name, section, caption, alt, draw in figures_of_run(run)[0]:
        if section == "classification" and name in files:  # notebook 06 has these of every view
            continue
        try:
            pictures.append(Picture(section, caption, alt, *encode_figure(draw())))
            drawn.add(bare(name))
        except (FileNotFoundError, ValueError) as error:  # e.g. videos that have been moved
            missing.setdefault(section, {})[f"Figures are left out: {error}."] = None
    once = {data: name for name, data in files.items() if bare(name) not in drawn}
    described = sorted(((*describe(name, run.views), data) for data, name in once.items()), key=lambda item: item[0])
    pictures += [Picture(*figure[1:4], *encode(data)) for _, figure, data in described]
    return pictures, {section: list(notes) for section, notes in missing.items()}


def encode_figure(figure: matplotlib.figure.Figure) -> tuple[str, int, int]:
    """A figure as data URI with width and height in pixels: as SVG, or as WebP where that is much smaller."""
    vector, pixels = io.BytesIO(), io.BytesIO()
    with rc_context({"svg.hashsalt": "cprlib"}):  # the same figure gives the same bytes
        figure.savefig(vector, format="svg", metadata={"Date": None})
    figure.savefig(pixels, format="png", dpi=SHARP)
    svg = f"data:image/svg+xml;base64,{base64.b64encode(vector.getvalue()).decode()}"
    webp, *_ = encode(pixels.getvalue())
    width, height = (round(DPI * inches) for inches in figure.get_size_inches())
    return svg if len(svg) < DEARER * len(webp) else webp, width, height


def encode(data: bytes) -> tuple[str, int, int]:
    """A PNG as data URI of a WebP, lossless if that is smaller, with width and height in pixels."""
    try:
        image = Image.open(io.BytesIO(data)).convert("RGB")
    except OSError as error:
        raise ValueError(f"a figure cannot be read ({error}); delete it and run its notebook again") from error
    files = (io.BytesIO(), io.BytesIO())
    for file, options in zip(files, ({"lossless": True}, {"quality": 85}), strict=True):
        image.save(file, "WEBP", **options)
    smallest = min((file.getvalue() for file in files), key=len)
    return f"data:image/webp;base64,{base64.b64encode(smallest).decode()}", *image.size
