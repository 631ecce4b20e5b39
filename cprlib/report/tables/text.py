"""Numbers as text, tables as markdown or aligned for a terminal, and files of text."""

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from cprlib.methods import MEASURES
from cprlib.report.names import method_look, view_label
from cprlib.store.files import atomic_path

UNKNOWN = "–"
NAMES = ("Method", "View", "Point", "Measure", "Published with")  # columns of text; the others hold numbers


def percent(value: float, spread: float = float("nan"), empty: str = UNKNOWN) -> str:
    """A share in [0, 1] in percent with one decimal.

    >>> percent(0.4), percent(0.4, 0.021), percent(float("nan"))
    ('40.0', '40.0 ± 2.1', '–')
    """
    if pd.isna(value):
        return empty
    return f"{100 * value:.1f}" + ("" if pd.isna(spread) else f" ± {100 * spread:.1f}")


def percents(table: pd.DataFrame, name: str) -> list[str]:
    """A column of shares in percent, with the column `<name>_std`, if there is one, as spread."""
    spreads = table.get(f"{name}_std", pd.Series(float("nan"), table.index))
    return [percent(*pair) for pair in zip(table[name], spreads, strict=True)]


def measured(table: pd.DataFrame) -> list[str]:
    """The measures for which the table has a number."""
    return [name for name in MEASURES if name in table and table[name].notna().any()]


def labelled(table: pd.DataFrame, cells: dict[str, list[str]]) -> pd.DataFrame:
    """Columns of text, with the labels of the table's columns view and, if it has one, method in front."""
    heads = {"Method": [method_look(method).label for method in table["method"]]} if "method" in table else {}
    return pd.DataFrame(heads | {"View": [view_label(view, table["view"]) for view in table["view"]]} | cells)


def to_markdown(words: pd.DataFrame, style: str = "pipe") -> str:
    """A table of text as GitHub markdown, or in another style of tabulate; numbers are aligned right."""
    if style == "pipe":
        words = words.map(lambda cell: re.sub(r"([\\|$*_<])", r"\\\1", cell))
    alignment = ["left" if name in NAMES else "right" for name in words]
    return words.to_markdown(index=False, disable_numparse=True, colalign=alignment, tablefmt=style) + "\n"


def write_texts(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write files, name -> content, each whole or not at all; returns their paths."""
    for name, text in texts.items():
        with atomic_path(folder / name) as tmp:
            tmp.write_text(text, encoding="utf-8")
    return [folder / name for name in texts]
