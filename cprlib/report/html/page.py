"""What a page is made of, its figures as images, and how it is written: one HTML file that needs no other."""

import base64
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
from cprlib.report.figures.style import DPI
from cprlib.report.run import Run
from cprlib.report.tables.text import NAMES, UNKNOWN
from cprlib.store.files import atomic_path

NUMBER = r"[-−+±→–.\d\s%]*"  # what is aligned to the right
HEADS = {*NAMES, "Stages", "Ratio", "Network", "Setting", "What"}  # columns that name a row
SHARP = 160  # dots per inch of what is no vector graphic


class Picture(NamedTuple):
    """An image in a section of a page: what it shows, the same for readers who cannot see it, itself, its pixels."""

    section: str
    caption: str
    alt: str
    uri: str
    width: int
    height: int


class Table(NamedTuple):
    """A table of strings; the caption says the unit."""

    caption: str
    frame: pd.DataFrame

    @property
    def looks(self) -> list[str]:
        """Of each column: "name", "number", or "text" in the words of a style sheet."""
        numbers = [self.frame[name].str.fullmatch(NUMBER).all() for name in self.frame]
        looks = ["number" if number else "text" for number in numbers]
        return ["name" if name in HEADS else look for name, look in zip(self.frame, looks, strict=True)]


@dataclass
class Section:
    """A part of a page.

    Attributes:
        id: anchor in the page.
        text: paragraphs.
        missing: what is not there yet, and what makes it.
        links: label and relative address.
        folded: sections that open at a click.
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
    """Write a page from `templates/<template>.html`; all texts are escaped, `made`, the time, is added."""
    loader, strict = PackageLoader("cprlib.report.html"), {"autoescape": True, "undefined": StrictUndefined}
    templates = Environment(loader=loader, trim_blocks=True, lstrip_blocks=True, **strict)
    page = templates.get_template(f"{template}.html").render(made=time_text(datetime.now()), **content)
    with atomic_path(path) as tmp:
        tmp.write_text(page, encoding="utf-8")
    return path


def time_text(time: datetime | None) -> str:
    """E.g. "2026-11-24 03:20"."""
    return f"{time:%Y-%m-%d %H:%M}" if time else UNKNOWN


def pictures_of(run: Run) -> tuple[list[Picture], dict[str, list[str]]]:
    """The figures of a run as far as they can be drawn, then the files in `<run>/figures` that show something else.

    Returns:
        pictures; section -> why figures of it could not be drawn.
    """
    files = {path.stem: path.read_bytes() for path in sorted((run.folder / "figures").glob("[!.]*.png"))}
    pictures, drawn, missing = [], set(), {}
    for name, section, caption, alt, draw, _ in figures_of_run(run)[0]:
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


def encode_figure(figure: Figure) -> tuple[str, int, int]:
    """A figure as data URI with width and height in pixels: as WebP if it holds photographs, else as SVG."""
    file = io.BytesIO()
    width, height = (round(DPI * inches) for inches in figure.get_size_inches())
    if any(axes.images for axes in figure.axes):
        figure.savefig(file, format="png", dpi=SHARP)
        return encode(file.getvalue())[0], width, height
    with rc_context({"svg.hashsalt": "cprlib"}):  # the same figure gives the same bytes
        figure.savefig(file, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}", width, height


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
