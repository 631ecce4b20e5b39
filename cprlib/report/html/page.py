"""What a page is made of, and how it is written: one HTML file that needs no other."""

from collections.abc import Sequence
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


class Table(NamedTuple):
    """A table of strings.

    Attributes:
        caption: what it shows, with the unit.
        frame: strings.
        heads: number of leading columns that name a row.
    """

    caption: str
    frame: pd.DataFrame
    heads: int = 2

    @property
    def looks(self) -> list[str]:
        """Of each column: "name", "number", or "text" in the words of a style sheet."""
        texts = [not self.frame[name].str.fullmatch(NUMBER).all() for name in self.frame]
        return ["name" if i < self.heads else "text" if text else "number" for i, text in enumerate(texts)]


@dataclass
class Section:
    """A part of a page.

    Attributes:
        id: anchor in the page.
        title: its heading.
        text: paragraphs.
        missing: what is not there yet, and what makes it.
        tables, pictures: in order.
        links: label and relative address.
        folded: sections that open at a click.
    """

    id: str
    title: str
    text: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: Sequence[Picture] = ()
    links: list[tuple[str, str]] = field(default_factory=list)
    folded: list["Section"] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any((self.text, self.missing, self.tables, self.pictures, self.links, self.folded))


def write_page(path: Path, template: str, **content: object) -> Path:
    """Write a page from `templates/<template>.html`; all texts are escaped, `made`, the time, is added."""
    templates = Environment(
        loader=PackageLoader("cprlib.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = templates.get_template(f"{template}.html").render(made=time_text(datetime.now()), **content)
    with atomic_path(path) as tmp:
        tmp.write_text(page, encoding="utf-8")
    return path


def name_columns(frame: pd.DataFrame) -> int:
    """How many columns of a table name its rows."""
    return sum(name in (*NAMES, "Stages", "Ratio") for name in frame)


def time_text(time: datetime | None) -> str:
    """E.g. "2026-11-24 03:20"."""
    return f"{time:%Y-%m-%d %H:%M}" if time else UNKNOWN
