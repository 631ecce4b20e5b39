"""Labels, looks and order of methods and views, including those that :mod:`cprlib.methods` does not list."""

from collections.abc import Collection

import pandas as pd

from cprlib.methods import ALL_VIEWS, MEASURES, METHODS, VIEWS, Method


def method_look(method: str) -> Method:
    """Label and look of a method; an unknown one keeps its name and is drawn in green."""
    return METHODS.get(method, Method(method.lstrip("_") or method, "#009e73", "-", "P", "\\\\\\"))


def view_label(view: str, views: Collection[str] = ()) -> str:
    """The label of a view; that of all views together depends on how many `views` the table or figure has.

    >>> view_label("flow"), view_label("both"), view_label("both", ["rgb", "flow", "residual", "both"])
    ('Flow', 'Both views', 'All views')
    """
    if view == ALL_VIEWS:
        return "All views" if len({*views} - {ALL_VIEWS}) > 2 else "Both views"
    return VIEWS[view].label if view in VIEWS else view


def within_line(label: str) -> str:
    """A label in the middle of a sentence: "Flow" becomes "flow", "RGB" stays."""
    return label if label.isupper() else label[:1].lower() + label[1:]


def method_order(method: str) -> tuple:
    """Sort key: the order of METHODS, then unknown ones by name."""
    return list(METHODS).index(method) if method in METHODS else len(METHODS), method


def view_order(view: str) -> tuple:
    """Sort key: the order of VIEWS, then unknown ones by name, then all views together."""
    return view == ALL_VIEWS, list(VIEWS).index(view) if view in VIEWS else len(VIEWS), view


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Sort rows by the columns method and view."""
    keys = {"method": method_order, "view": view_order}
    return table.sort_values(["method", "view"], key=lambda c: c.map(keys[c.name]), ignore_index=True)


def measures(kind: str) -> list[str]:
    """The measures of a kind: "mining", "retrieval" or "classification"."""
    return [name for name, measure in MEASURES.items() if measure.kind == kind]
