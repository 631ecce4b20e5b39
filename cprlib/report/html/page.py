"""The parts of a page, its figures as images, and writing it as one HTML file that needs no other."""

import io
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from cprlib.report.figures.catalogue import bare, describe, figures_of_run
from cprlib.report.figures.style import DPI, data_uri
from cprlib.report.run import Run
from cprlib.report.tables.text import NAMES, UNKNOWN, write_texts

NUMBER = r"[-−+±→–.\d\s%]*"  # cells that are aligned right
HEADS = {*NAMES, "Stages", "Ratio", "Network", "Setting", "What"}  # columns that name a row
SHARP = 160  # dots per inch of figures that are not drawn as vectors


class Picture(NamedTuple):
    """An image in a section of a page; width and height in pixels."""

    section: str
    caption: str
    alt: str
    uri: str
    width: int
    height: int


class Table(NamedTuple):
    """A table of strings; its caption gives the unit."""

    caption: str
    frame: pd.DataFrame

    @property
    def looks(self) -> list[str]:
        """CSS class of each column: "name", "number" or "text"."""
        numbers = {name: cells.str.fullmatch(NUMBER).all() for name, cells in self.frame.items()}
        return ["name" if name in HEADS else "number" if number else "text" for name, number in numbers.items()]


@dataclass
class Section:
    """A part of a page.

    Attributes:
        id: anchor in the page.
        text: paragraphs.
        missing: what is not there yet, and what makes it.
        links: label and relative address.
        folded: sections that a click opens.
    """

    id: str
    title: str
    text: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    folded: list["Section"] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any((self.text, self.missing, self.tables, self.pictures, self.links, self.folded))


def write_page(path: Path, template: str, **content: object) -> Path:
    """Write a page from `templates/<template>.html` with the time; all texts are escaped."""
    loader, strict = PackageLoader("cprlib.report.html"), {"autoescape": True, "undefined": StrictUndefined}
    templates = Environment(loader=loader, trim_blocks=True, lstrip_blocks=True, **strict)
    page = templates.get_template(f"{template}.html").render(made=time_text(datetime.now()), **content)
    return write_texts(path.parent, {path.name: page})[0]


def time_text(time: datetime | None) -> str:
    """E.g. "2026-11-24 03:20"."""
    return f"{time:%Y-%m-%d %H:%M}" if time else UNKNOWN


def pictures_of(run: Run) -> tuple[list[Picture], dict[str, list[str]]]:
    """The figures that can be drawn for a run, then the files in `<run>/figures` that show something else.

    Returns:
        pictures; section -> why some of its figures could not be drawn.
    """
    files = {path.stem: path.read_bytes() for path in sorted((run.folder / "figures").glob("[!.]*.png"))}
    pictures, drawn, missing = [], set(), {}
    for name, section, caption, alt, draw, _ in figures_of_run(run)[0]:
        if section == "classification" and name in files:  # notebook 06 has drawn them for every view
            continue
        try:
            pictures.append(Picture(section, caption, alt, *encode_figure(draw())))
            drawn.add(bare(name))
        except (FileNotFoundError, ValueError) as error:  # e.g. videos that have been moved
            missing.setdefault(section, {})[f"Figures are left out: {error}."] = None
    once = {data: name for name, data in files.items() if bare(name) not in drawn}
    names = sorted(once.items(), key=lambda item: describe(item[1], run.views)[0])
    pictures += [Picture(*describe(n, run.views)[1][1:4], *encode(data, f"figures/{n}.png")) for data, n in names]
    return pictures, {section: list(notes) for section, notes in missing.items()}


def encode_figure(figure: Figure) -> tuple[str, int, int]:
    """A figure as data URI, WebP if it holds photographs, else SVG; with width and height in pixels."""
    file = io.BytesIO()
    width, height = (round(DPI * inches) for inches in figure.get_size_inches())
    if any(axes.images for axes in figure.axes):
        figure.savefig(file, format="png", dpi=SHARP)
        return encode(file.getvalue())[0], width, height
    with rc_context({"svg.hashsalt": "cprlib"}):  # same figure, same bytes
        figure.savefig(file, format="svg", metadata={"Date": None})
    return data_uri(file.getvalue(), "svg+xml"), width, height


def encode(data: bytes, name: str = "a figure") -> tuple[str, int, int]:
    """A PNG (`name` in errors) as data URI of a WebP, lossless if that is smaller; with width and height in pixels."""
    try:
        image = Image.open(io.BytesIO(data)).convert("RGB")
    except OSError as error:
        raise ValueError(f"{name} cannot be read; delete it and run its notebook again") from error
    exact, lossy = io.BytesIO(), io.BytesIO()
    image.save(exact, "WEBP", lossless=True)
    image.save(lossy, "WEBP", quality=85)
    return data_uri(min(exact.getvalue(), lossy.getvalue(), key=len)), *image.size
