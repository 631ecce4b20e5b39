"""Which classes are taken for which: the confusion matrix as a figure."""

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from cprlib.report.figures.style import RC, WIDTH, new_figure

NUMBERS = 15  # up to so many classes every cell shows its number
NAMES = 60  # up to so many classes the axes name them


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
    image = axes.imshow(share, cmap="Greys", vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, shrink=0.8, label="Share of the class (%)")
    axes.set(title=title, xlabel="Predicted class", ylabel="True class")
    axes.grid(False)
    if len(matrix) <= NAMES:
        size = 9 if len(matrix) <= 20 else 5
        axes.set_xticks(range(len(matrix)), matrix.columns, rotation=90, fontsize=size)
        axes.set_yticks(range(len(matrix)), matrix.index, fontsize=size)
    if len(matrix) <= NUMBERS:
        for row, column in np.argwhere(share >= 0.5):
            colour = "white" if share[row, column] > 55 else "black"
            axes.text(column, row, f"{share[row, column]:.0f}", ha="center", va="center", color=colour, fontsize=7.5)
    return figure
