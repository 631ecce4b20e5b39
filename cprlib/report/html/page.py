"""What a page is made of, and how it is written: one HTML file that needs no other."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from cprlib.report.html.images import Picture
from cprlib.report.tables.text import NAMES, UNKNOWN
from cprlib.store.files import atomic_path

NUMBER = r"[-−+±→–.\d\s%]*"  # what is aligned to the right
HEADS = {*NAMES, "Stages", "Ratio", "Network", "Setting", "What"}  # columns that name a row


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
