"""Mining of each class (figures 4 to 6 of the paper), and confusion of classes."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cprlib.data.manifest import Manifest
from cprlib.report.figures.strips import Strip, Thumbnail, strips_figure
from cprlib.report.figures.style import WIDTH, draw_bars, draw_legend, new_figure, styled
from cprlib.report.names import method_look, method_order

CLASSES_PER_COLUMN = 34  # 101 classes in three columns
MOST = 3  # best and worst classes
NUMBERS, NAMES = 15, 60  # most classes with numbers, and with names, in a confusion matrix


@styled
def cmr_bars(cmr: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """CMR of every class (Eq. 5), the last method's best class on top, the median over classes as a line.

    Args:
        cmr: method -> table of `class_mining_recall`, all of the same classes.
    """
    wide = 100 * pd.DataFrame({m: cmr[m].set_index("class_name")["cmr"] for m in sorted(cmr, key=method_order)})
    wide = wide.sort_values(list(wide)[::-1], ascending=False)
    columns = -(-len(wide) // CLASSES_PER_COLUMN)
    parts = np.array_split(np.arange(len(wide)), columns)
    inches = (0.11 if columns > 1 else 0.13) * wide.shape[1] + 0.07
    figure = new_figure(WIDTH * (1 if columns < 3 else 1.25), len(parts[0]) * inches + 1.2)
    for axes, part in zip(figure.subplots(1, columns, sharex=True, squeeze=False)[0], parts, strict=True):
        draw_bars(axes, wide.iloc[part], across=True)
        for method, median in wide.median().items():
            look = method_look(method)
            label = f"Median {look.label}: {median:.1f} %"
            axes.axvline(median, color="black", linestyle=look.line, linewidth=1.2, label=label)
        axes.set(xlim=(0, 100), ylim=(len(parts[0]) - 0.4, -0.6), xlabel="CMR (%)")
        axes.tick_params(axis="y", labelsize=9 if len(parts[0]) < 30 else 8)
    figure.suptitle(title, fontsize=11)
    draw_legend(figure, figure.axes, "lower")
    return figure


def best_and_worst(
    cmr: Mapping[str, pd.DataFrame], videos: Mapping[int, Sequence[int]], thumbnail: Thumbnail, method: str = "cpr"
) -> Figure:
    """The classes with the highest and the lowest CMR of a method, with every method's CMR and frames.

    Args:
        cmr: method -> table of `class_mining_recall`, all of the same classes.
        videos: label -> video_ids to show, e.g. from :func:`class_videos`.
        method: ties go to the class with more instances, then to the smaller label.
    """
    order = cmr[method].sort_values(["cmr", "instances", "label"], ascending=[False, False, True])
    count = min(MOST, max(1, len(order) // 2))
    strips = []
    for kind, classes in {"Best": order.head(count), "Worst": order.tail(count)}.items():
        for row in classes.itertuples():
            recalls = {m: cmr[m].set_index("label").cmr[row.label] for m in sorted(cmr, key=method_order)}
            words = [f"{method_look(m).label} {100 * recall:.1f} %" for m, recall in recalls.items()]
            words.insert(0, f"{kind}: {row.class_name}")
            strips.append(Strip("\n".join(words), [thumbnail(video) for video in videos[row.label]]))
    return strips_figure(strips, strips[0].images[0].shape)


def class_videos(manifest: Manifest, count: int = 5) -> dict[int, list[int]]:
    """The first training videos of each class, one a recording: label -> at most `count` video_ids."""
    train = manifest.table[manifest.table["split"] == "train"]
    first = train.drop_duplicates(["label", "source_id"]).groupby("label").head(count)
    return first.groupby("label")["video_id"].apply(list).to_dict()


@styled
def confusion_figure(matrix: pd.DataFrame, title: str = "") -> Figure:
    """Percent of each class's videos (rows) that were taken for each class (columns), darker for more.

    Args:
        matrix: counts, from :func:`cprlib.evaluation.classification.confusion_matrix`.
    """
    share = 100 * matrix.to_numpy() / matrix.to_numpy().sum(axis=1, keepdims=True).clip(min=1)
    side = float(np.clip(0.45 * len(matrix) + 1.5, 4, WIDTH))
    figure = new_figure(side + 0.6, side)
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Greys", vmin=0, vmax=100)
    names = matrix.index if len(matrix) <= NAMES else ()
    size = 9 if len(matrix) <= 20 else 5
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set(title=title, xlabel="Predicted class", ylabel="True class")
    axes.grid(False)
    figure.colorbar(image, shrink=0.8, label="Share of the class (%)")
    for row, column in np.argwhere((share >= 0.5) & (len(matrix) <= NUMBERS)):
        colour, number = "white" if share[row, column] > 60 else "black", f"{share[row, column]:.0f}"
        axes.text(column, row, number, color=colour, fontsize=7.5, ha="center", va="center")
    return figure
