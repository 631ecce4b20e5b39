"""Numbers as text, and frames of text as markdown or aligned for a terminal."""

import re

import pandas as pd

from cprlib.methods import MEASURES
from cprlib.report.names import method_look, view_label

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
    """A column of shares in percent, with `<name>_std` as spread where the table has it."""
    spreads = table.get(f"{name}_std", pd.Series(float("nan"), table.index))
    return [percent(*pair) for pair in zip(table[name], spreads, strict=True)]


def measured(table: pd.DataFrame) -> list[str]:
    """The measures for which the table has a number."""
    return [name for name in MEASURES if name in table and table[name].notna().any()]


def labelled(table: pd.DataFrame, cells: dict[str, list[str]]) -> pd.DataFrame:
    """Cells behind the labels of the table's columns method, where it has one, and view."""
    heads = {"Method": [method_look(method).label for method in table["method"]]} if "method" in table else {}
    return pd.DataFrame(heads | {"View": [view_label(view, table["view"]) for view in table["view"]]} | cells)


def to_markdown(words: pd.DataFrame, style: str = "pipe") -> str:
    """A frame of text as a GitHub table, numbers to the right, cells exactly as they are; or in a style of tabulate."""
    if style == "pipe":
        words = words.map(lambda cell: re.sub(r"([\\|$*_<])", r"\\\1", cell))
    alignment = ["left" if name in NAMES else "right" for name in words]
    return words.to_markdown(index=False, disable_numparse=True, colalign=alignment, tablefmt=style) + "\n"
