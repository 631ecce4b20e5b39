"""Class by class: what was mined (figures 4, 5 and 6 of the paper), which class is taken for which."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cprlib.data.manifest import Manifest
from cprlib.report.figures.strips import draw_strip
from cprlib.report.figures.style import RC, WIDTH, bar_look, draw_bars, draw_grid, draw_legend, new_figure, write_cells
from cprlib.report.names import method_look, method_order

CLASSES_PER_COLUMN = 34  # 101 classes in three columns
ROW, HEADING = 0.92, 0.36  # inches of a class, and of the words above the best and the worst
NUMBERS, NAMES = 15, 60  # a confusion matrix of so many classes shows its numbers, and names its classes


@rc_context(RC)
def cmr_bars(cmr: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """CMR of every class (Eq. 5), best class of the last method on top, the median over classes as a line.

    Args:
        cmr: method -> table of `class_mining_recall`, all of the same classes.
        title: e.g. "RGB network, by source video".
    """
    wide = 100 * _by_class(cmr, "cmr")
    figure = _class_figure(wide, title)
    for axes in figure.axes:
        for method, median in wide.median().items():
            look = method_look(method)
            label = f"Median {look.label}: {median:.1f} %"
            axes.axvline(median, color="black", linestyle=look.line, linewidth=1.2, label=label)
        axes.set(xlim=(0, 100), xlabel="CMR (%)")
    draw_legend(figure, figure.axes, "lower")
    return figure


@rc_context(RC)
def found_bars(cmr: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """As `cmr_bars`, distinct true positives of every class; an outline shows how many training videos it has."""
    figure = _class_figure(_by_class(cmr, "found"), title)
    sizes = next(iter(cmr.values())).set_index("class_name")["instances"]
    outline = {"color": "none", "edgecolor": "#333333", "linewidth": 0.8, "zorder": 3, "label": "Training videos"}
    for axes in figure.axes:
        names = [label.get_text() for label in axes.get_yticklabels()]
        axes.barh(range(len(names)), sizes[names], 0.86, **outline)
        axes.set(xlabel="Distinct true positives mined")
    draw_legend(figure, figure.axes, "lower")
    return figure


def _by_class(cmr: Mapping[str, pd.DataFrame], column: str) -> pd.DataFrame:
    """A row for each class, the largest of the last method first; a column for each method."""
    wide = pd.DataFrame({m: cmr[m].set_index("class_name")[column] for m in sorted(cmr, key=method_order)})
    return wide.sort_values(list(wide)[::-1], ascending=False)


def _class_figure(wide: pd.DataFrame, title: str) -> Figure:
    """Horizontal bars for every class and method in up to three columns."""
    columns = -(-len(wide) // CLASSES_PER_COLUMN)
    parts = np.array_split(np.arange(len(wide)), columns)
    inches = (0.11 if columns > 1 else 0.13) * wide.shape[1] + 0.07
    figure = new_figure(WIDTH * (1 if columns < 3 else 1.25), len(parts[0]) * inches + 1.2)
    for axes, part in zip(figure.subplots(1, columns, sharex=True, squeeze=False)[0], parts, strict=True):
        draw_bars(axes, wide.iloc[part], bar_look, across=True)
        axes.set_ylim(len(parts[0]) - 0.4, -0.6)
        axes.tick_params(axis="y", labelsize=9 if len(parts[0]) < 30 else 8)
    figure.suptitle(title, fontsize=11)
    return figure


@rc_context(RC)
def best_and_worst(
    cmr: Mapping[str, pd.DataFrame],
    videos: Mapping[int, Sequence[int]],
    thumbnail: Callable[[int], np.ndarray],
    method: str = "cpr",
    count: int = 3,
) -> Figure:
    """The classes of which a method finds the largest and the smallest share, with frames and every method's CMR.

    Args:
        cmr: method -> table of `class_mining_recall`, all of the same classes.
        videos: label -> video_ids to show, e.g. from :func:`class_videos`.
        thumbnail: video_id -> uint8 (H, W, 3).
        method: whose best and worst; of equal ones those with more instances, then with the smaller label.
        count: classes of either kind, at most half of all.
    """
    order = cmr[method].sort_values(["cmr", "instances", "label"], ascending=[False, False, True])
    count = min(count, max(1, len(order) // 2))
    height = 2 * (HEADING + count * ROW) + 0.1
    figure = new_figure(WIDTH, height, placed=True)
    slots = max(map(len, videos.values()))
    for group, (kind, classes) in enumerate({"Best": order.head(count), "Worst": order.tail(count)}.items()):
        top = group * (HEADING + count * ROW) + 0.05
        heading = f"{kind} classes of {method_look(method).label}"
        figure.text(0.0125, 1 - (top + 0.05) / height, heading, fontsize=11, weight="bold", va="top")
        for place, row in enumerate(classes.itertuples()):
            bottom = 1 - (top + HEADING + (place + 1) * ROW - 0.08) / height
            bars = figure.add_axes((0.085, bottom, 0.2, 0.48 / height))
            _draw_recalls(bars, row.class_name, {m: cmr[m].set_index("label").cmr[row.label] for m in cmr})
            strip = figure.add_axes((0.37, bottom, 0.62, (ROW - 0.1) / height))
            images = [thumbnail(video) for video in videos[row.label]]
            draw_strip(strip, images, [True] * len(images), slots=slots)
    return figure


def _draw_recalls(axes: Axes, name: str, recalls: Mapping[str, float]) -> None:
    """A bar for each method, with its name and its number."""
    wide = 100 * pd.Series(recalls)[sorted(recalls, key=method_order)]
    for y, (method, value) in enumerate(wide.items()):
        axes.barh(y, value, 0.8, **bar_look(method))
        axes.text(103, y, f"{value:.1f} %", va="center", fontsize=9)
    axes.set(xlim=(0, 100), ylim=(len(wide) - 0.5, -0.5), xticks=[])
    axes.set_yticks(range(len(wide)), [method_look(method).label for method in wide.index])
    axes.tick_params(left=False)
    axes.grid(False)
    axes.set_title(name, fontsize=10, loc="left", pad=3)


def class_videos(manifest: Manifest, count: int = 5) -> dict[int, list[int]]:
    """The first training videos of each class, each of another recording: label -> at most `count` video_ids."""
    train = manifest.table[manifest.table["split"] == "train"]
    first = train.drop_duplicates(["label", "source_id"]).groupby("label").head(count)
    return first.groupby("label")["video_id"].apply(list).to_dict()


@rc_context(RC)
def confusion_figure(matrix: pd.DataFrame, title: str = "") -> Figure:
    """Share of each class's videos (rows) that was taken for each class (columns), dark = many, in percent.

    Args:
        matrix: counts, as :func:`cprlib.evaluation.classification.confusion_matrix` makes it.
        title: e.g. "CPR, RGB".
    """
    share = 100 * matrix.to_numpy() / matrix.to_numpy().sum(axis=1, keepdims=True).clip(min=1)
    side = float(np.clip(0.45 * len(matrix) + 1.5, 4, WIDTH))
    figure = new_figure(side + 0.6, side)
    axes = figure.subplots()
    names = matrix.index if len(matrix) <= NAMES else ()
    image = draw_grid(axes, share, names, 0, 100, rotation=90, fontsize=9 if len(matrix) <= 20 else 5)
    figure.colorbar(image, shrink=0.8, label="Share of the class (%)")
    axes.set(title=title, xlabel="Predicted class", ylabel="True class")
    if len(matrix) <= NUMBERS:
        write_cells(image, ".0f", least=0.5, size=7.5)
    return figure
