"""Mining by class: how many are found (the paper's figure 4), best and worst classes (figure 5), CMR (figure 6)."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cprlib.data.manifest import Manifest
from cprlib.report.figures.strips import draw_strip
from cprlib.report.figures.style import RC, WIDTH, bar_look, draw_legend, method_order, method_style, new_figure

CLASSES_PER_COLUMN = 34  # 101 classes in three columns
OUTLINE = {"color": "none", "edgecolor": "#333333", "linewidth": 0.8}
ROW, HEADING = 0.92, 0.36  # inches of a class, and of the words above the best and the worst


@rc_context(RC)
def cmr_bars(cmr: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """CMR of every class (Eq. 5), best class of the last method on top, the median as a line.

    Args:
        cmr: method -> table of `class_mining_recall`, all of the same classes.
        title: e.g. "RGB network, by source video".
    """
    methods = sorted(cmr, key=method_order)
    wide = pd.DataFrame({m: 100 * cmr[m].set_index("class_name")["cmr"] for m in methods})
    wide = wide.sort_values(methods[::-1], ascending=False)
    figure, panels, parts = _class_panels(len(wide), len(methods), 0.06)
    for axes, part in zip(panels, parts, strict=True):
        _class_bars(axes, wide.iloc[part], wide.median(), rows=len(parts[0]))
    if title:
        figure.suptitle(title, fontsize=11)
    draw_legend(figure, panels, "lower")
    return figure


@rc_context(RC)
def found_bars(cmr: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """Distinct true positives of every class, method beside method; the class with the most of the last method on top.

    Args:
        cmr: method -> table of `class_mining_recall` by video, all of the same classes; an outline around the bars of a
            class shows how many videos there are.
        title: e.g. "RGB network".
    """
    methods = sorted(cmr, key=method_order)
    found = pd.DataFrame({m: cmr[m].set_index("class_name")["found"] for m in methods})
    found = found.sort_values(methods[::-1], ascending=False)
    sizes = cmr[methods[0]].set_index("class_name")["instances"].reindex(found.index)
    figure, panels, parts = _class_panels(len(found), len(methods), 0.08)
    for axes, part in zip(panels, parts, strict=True):
        _draw_found(axes, found.iloc[part], sizes.iloc[part], rows=len(parts[0]))
    if title:
        figure.suptitle(title, fontsize=11)
    draw_legend(figure, panels, "lower")
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

    Raises:
        ValueError: no table of this method.
    """
    if method not in cmr:
        raise ValueError(f"method is {method!r}; there are tables of {', '.join(cmr)}")
    order = cmr[method].sort_values(["cmr", "instances", "label"], ascending=[False, False, True])
    count = min(count, max(1, len(order) // 2))
    groups = {"Best": order.head(count), "Worst": order.tail(count)}
    height = 2 * (HEADING + count * ROW) + 0.1
    figure = new_figure(WIDTH, height)
    figure.set_layout_engine("none")
    slots = max(len(ids) for ids in videos.values())
    for group, (word, classes) in enumerate(groups.items()):
        top = group * (HEADING + count * ROW) + 0.05
        heading = f"{word} classes of {method_style(method).label}"
        figure.text(0.0125, 1 - (top + 0.05) / height, heading, fontsize=11, weight="bold", va="top")
        for place, row in enumerate(classes.itertuples()):
            bottom = 1 - (top + HEADING + (place + 1) * ROW - 0.08) / height
            bars = figure.add_axes((0.085, bottom, 0.2, 0.48 / height))
            _draw_recalls(bars, row.class_name, {m: cmr[m].set_index("label").cmr[row.label] for m in cmr})
            strip = figure.add_axes((0.37, bottom, 0.62, (ROW - 0.1) / height))
            images = [thumbnail(video) for video in videos[row.label]]
            draw_strip(strip, images, [True] * len(images), slots=slots)
    return figure


def class_videos(manifest: Manifest, count: int = 5) -> dict[int, list[int]]:
    """The first training videos of each class, each of another recording: label -> at most `count` video_ids."""
    train = manifest.table[manifest.table["split"] == "train"]
    first = train.drop_duplicates(["label", "source_id"]).groupby("label").head(count)
    return first.groupby("label")["video_id"].apply(list).to_dict()


def _class_panels(classes: int, methods: int, gap: float) -> tuple[Figure, np.ndarray, list[np.ndarray]]:
    """An empty figure for horizontal bars of every class and method, `gap` inches between two classes.

    Returns:
        the figure, its columns of axes, and for each of them the numbers of the classes that it shows.
    """
    columns = -(-classes // CLASSES_PER_COLUMN)
    parts = np.array_split(np.arange(classes), columns)
    inches = (0.11 if columns > 1 else 0.13) * methods + gap
    figure = new_figure(WIDTH * (1 if columns < 3 else 1.25), len(parts[0]) * inches + 1.2)
    return figure, figure.subplots(1, columns, sharex=True, squeeze=False)[0], parts


def _class_bars(axes: Axes, wide: pd.DataFrame, medians: pd.Series, rows: int) -> None:
    methods = list(wide.columns)
    for i, method in enumerate(methods):
        y = np.arange(len(wide)) + (i + 0.5) * 0.84 / len(methods) - 0.42
        axes.barh(y, wide[method], 0.84 / len(methods), **bar_look(method))
        style = method_style(method)
        axes.axvline(
            medians[method],
            color="black",
            linestyle=style.line,
            linewidth=1.2,
            label=f"Median {style.label}: {medians[method]:.1f} %",
        )
    axes.set(xlim=(0, 100), ylim=(rows - 0.4, -0.6), xlabel="CMR (%)")
    axes.set_yticks(range(len(wide)), wide.index, fontsize=9 if rows < 30 else 8)
    axes.grid(False, axis="y")


def _draw_found(axes: Axes, found: pd.DataFrame, sizes: pd.Series, rows: int) -> None:
    count = len(found.columns)
    for i, method in enumerate(found.columns):
        y = np.arange(len(found)) + (i + 0.5) * 0.8 / count - 0.4
        axes.barh(y, found[method], 0.8 / count, **bar_look(method))
    axes.barh(np.arange(len(found)), sizes, 0.86, label="Training videos", zorder=3, **OUTLINE)
    axes.set(ylim=(rows - 0.4, -0.6), xlabel="Distinct true positives mined")
    axes.set_yticks(range(len(found)), found.index, fontsize=9 if rows < 30 else 8)
    axes.grid(False, axis="y")


def _draw_recalls(axes: Axes, name: str, recalls: Mapping[str, float]) -> None:
    """A bar for each method, with its name and its number."""
    methods = sorted(recalls, key=method_order)
    for y, method in enumerate(methods):
        axes.barh(y, 100 * recalls[method], 0.8, **bar_look(method))
        axes.text(103, y, f"{100 * recalls[method]:.1f} %", va="center", fontsize=9)
    axes.set(xlim=(0, 100), ylim=(len(methods) - 0.5, -0.5), xticks=[])
    axes.set_yticks(range(len(methods)), [method_style(m).label for m in methods])
    axes.tick_params(left=False)
    axes.grid(False)
    axes.set_title(name, fontsize=10, loc="left", pad=3)
