"""The parts that a page is made of, and how a page is written: one HTML file that needs no other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from cprlib.report.html.pictures import Picture
from cprlib.store.files import atomic_path

NUMBER = r"[-−+±→–.\d\s%]*|not found"  # what stands to the right in its column


class Table(NamedTuple):
    """A table of strings.

    Attributes:
        caption: what it says, with the unit.
        frame: strings.
        heads: number of leading columns that name a row.
    """

    caption: str
    frame: pd.DataFrame
    heads: int = 2

    @property
    def looks(self) -> list[str]:
        """Of each column: "name", "number", or "text" in the words of a style sheet."""
        cells = [self.frame.iloc[:, column].map(str) for column in range(self.frame.shape[1])]
        texts = [not column.str.fullmatch(NUMBER).all() for column in cells]
        return ["name" if i < self.heads else "text" if text else "number" for i, text in enumerate(texts)]


@dataclass
class Section:
    """A part of a page, empty until something is put in.

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
    """Write a page from `templates/<template>.html`; texts are escaped.

    Args:
        path: the file.
        template: "report" or "index".
        content: what the template shows; `made`, the time, is added.
    """
    page = _templates().get_template(f"{template}.html").render(made=time_words(datetime.now()), **content)
    with atomic_path(path) as tmp:
        tmp.write_text(page, encoding="utf-8")
    return path


def time_words(time: datetime | None) -> str:
    """ "2026-11-24 03:20", "–" for None."""
    return f"{time:%Y-%m-%d %H:%M}" if time else "–"


def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("cprlib.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
