"""Which figures of the catalogue a run has the data for.

Each function takes `(run, seed)` and yields, for each figure, what fills the {fields} of its name and a function that
draws it. It raises FileNotFoundError or ValueError if the run lacks the data.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from cprlib.evaluation.classification import confusion_matrix
from cprlib.methods import ALL_VIEWS, MEASURES
from cprlib.report.figures.cascade_view import cascade_diagram, typical_query
from cprlib.report.figures.classes import best_and_worst, class_videos, cmr_bars, confusion_figure
from cprlib.report.figures.curves import ablation_curves, cotraining_curves, mining_curves
from cprlib.report.figures.strips import Thumbnail, common_queries, mined_figure, thumbnails
from cprlib.report.names import measures, method_look, method_order, view_label, within_line
from cprlib.report.run import MEMORIES, Run
from cprlib.report.tables.ablation import read_ablation
from cprlib.report.tables.comparison import read_table
from cprlib.store.tables import read_csv

Found = Iterator[tuple[dict[str, str], Callable[[], Any]]]


def _pictures(run: Run, view: str = "rgb") -> Thumbnail:
    return thumbnails(run.manifest, run.frames(view), view)


def cascades(run: Run, seed: int) -> Found:
    def draw(view: str) -> Any:
        memory, stages = run.cascade(view)
        query, pictures = typical_query(memory, stages, seed), (_pictures(run), _pictures(run, "flow"))
        return cascade_diagram(memory, stages, query, run.manifest.class_names, *pictures)

    views = [view for view in run.views if run.trainings("cpr", view, MEMORIES)]
    if not views:
        raise FileNotFoundError("no memory of a CPR network was kept; train it, or train it again, in notebook 04")
    return (({"view": view}, partial(draw, view)) for view in views)


def mined(run: Run, seed: int) -> Found:
    for view, logs in run.logs.items():
        for number, query in enumerate(common_queries(logs, 3, seed)):
            yield (
                {"view": view, "number": str(number)},
                lambda v=view, q=query: mined_figure(run.logs[v], run.manifest, _pictures(run), q),
            )


def curves(run: Run, seed: int) -> Found:
    logs: dict[str, dict] = {}
    for view, by_method in run.logs.items():
        for method, log in by_method.items():
            logs.setdefault(method, {})[view] = log
    yield {}, partial(mining_curves, logs)


def classes(run: Run, seed: int) -> Found:
    for view, logs in run.logs.items():
        method = max(logs, key=method_order)
        yield (
            {"view": view, "method": method},
            lambda v=view, m=method: best_and_worst(
                run.recalls(v, "source"), class_videos(run.manifest), _pictures(run), m
            ),
        )


def recalls(run: Run, seed: int) -> Found:
    for view, by in product(run.logs, ("source", "video")):
        title = f"{view_label(view)} network, by {by}"
        yield {"view": view, "by": by}, lambda v=view, b=by, t=title: cmr_bars(run.recalls(v, b), t)


def cotraining(run: Run, seed: int) -> Found:
    table = read_table(run.folder / "tables" / "cotraining.csv", ["k"], "05_retrieval")
    yield {}, partial(cotraining_curves, table[table["k"] == 1])


def ablation(run: Run, seed: int) -> Found:
    path = run.folder / "tables" / "ablation.csv"
    if not path.is_file():
        raise FileNotFoundError("no tables/ablation.csv; name its points (`ablation`) in the parameters, `make tables`")
    yield from ablation_figures(read_ablation(path))


def ablation_figures(points: pd.DataFrame) -> Found:
    """Four measures over the number of stages, and PMR over each other setting, if it varies."""
    for name in ("pmr_end", "cmr_source", "r1", "probe"):
        if points["num_stages"].nunique() > 1 and name in points and points[name].notna().any():
            yield {"sweep": f"stages_{name}"}, partial(ablation_curves, points, name)
    for name in ("top_k", "anchor", "cycles"):
        if points[name].nunique() > 1:
            yield {"sweep": name}, partial(ablation_curves, points, setting=name)


def confusions(run: Run, seed: int) -> Found:
    """Of every method, in all views together."""

    def draw(path: Path, title: str) -> Any:
        predictions = read_csv(path)
        names = [column.removeprefix("p_") for column in predictions if column.startswith("p_")]
        return confusion_figure(confusion_matrix(predictions, names), title)

    found = []
    for kind in measures("classification"):
        start, end = f"predictions_{kind}_", f"_{ALL_VIEWS}"
        paths = {p.stem[len(start) : -len(end)]: p for p in run.folder.glob(f"tables/{start}*{end}.csv")}
        found += [(kind, method, paths[method]) for method in sorted(paths, key=method_order)]
    if not found:
        raise FileNotFoundError("no tables/predictions_…_both.csv; notebook 06 makes them of runs with two views")
    for kind, method, path in found:
        words = within_line(MEASURES[kind].label), within_line(view_label(ALL_VIEWS, run.views))
        title = ", ".join([method_look(method).label, *words])
        yield {"protocol": kind, "method": method, "view": ALL_VIEWS}, partial(draw, path, title)
