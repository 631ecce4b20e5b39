"""Figures and tables of the walkthrough."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler
from torch import Tensor

from cprlib.data.manifest import Manifest
from cprlib.report.figures.flow_view import look, looping_clip
from cprlib.report.figures.style import WIDTH, draw_legend, new_figure, styled

# colour-blind-safe, of different lightness, not used for methods
_LOOKS = [("#999999", ":", "v"), ("#0072b2", "--", "s"), ("#e69f00", "-", "o"), ("#111111", "-.", "D")]


def side_by_side(videos: Manifest, rows: Mapping[str, int], height: int = 110) -> str:
    """Animated clips as HTML, RGB beside flow; rows: name -> row of `videos`; height in pixels."""
    clips = []
    for name, row in rows.items():
        seen = look(videos, int(videos.table.video_id.iloc[row]))
        title = f"{name}: {seen.row.class_name}"
        clips.append(looping_clip({"rgb": seen.frames, "flow": seen.flow}, height=height, name=title))
    return f'<div style="display:flex; flex-wrap:wrap; gap:1em">{"".join(clips)}</div>'


def similarity_table(features: Tensor, names: Sequence[str], caption: str) -> Styler:
    """Similarities of a few clips, darker for similar; features: (N, D) float, L2-normalised."""
    table = pd.DataFrame((features @ features.T).numpy(), names, names)
    return table.style.background_gradient("Greys", vmin=-0.2, vmax=1).format(precision=2).set_caption(caption)


def mean_similarity(bank: Mapping[str, Tensor], class_names: Sequence[str]) -> pd.DataFrame:
    """Mean similarity of two clips by what their classes share, a column for each view.

    Args:
        bank: view -> (N, D) float, L2-normalised.
        class_names: of the N rows, "<motion>_<look>" like the built-in classes.
    """
    others = ~np.eye(len(class_names), dtype=bool)
    shared = _shared(np.tile(np.arange(len(class_names)), (len(class_names), 1)), class_names)
    means = {v: {k: (x @ x.T).numpy()[pairs & others].mean() for k, pairs in shared.items()} for v, x in bank.items()}
    return pd.DataFrame(means).astype(float).round(2)


def mined_kinds(mined: Mapping[str, Tensor], class_names: Sequence[str]) -> pd.DataFrame:
    """Percent of mined rows with the query's motion and look, with one of the two or neither, a column for each miner.

    Args:
        mined: name of the miner -> (N, k) int64, rows mined for every row.
        class_names: as for :func:`mean_similarity`.
    """
    shares = {name: {k: x.mean() for k, x in _shared(r.numpy(), class_names).items()} for name, r in mined.items()}
    return (100 * pd.DataFrame(shares)).round(1).rename({"motion and look": "motion and look: right (PMR)"})


def _shared(rows: np.ndarray, class_names: Sequence[str]) -> dict[str, np.ndarray]:
    """What rows (N, k) share with row 0, 1, … N - 1: masks (N, k)."""
    parts = pd.Series(class_names).str.split("_", n=1, expand=True).to_numpy()  # (N, 2)
    moves, looks = (parts[rows] == parts[:, None]).transpose(2, 0, 1)
    kinds = {"motion and look": moves & looks, "motion only": moves & ~looks, "look only": ~moves & looks}
    return kinds | {"neither": ~moves & ~looks}


@styled
def pull_figure(
    paths: Mapping[str, Tensor], points: Tensor, same: Tensor, found: Mapping[str, Sequence[float]]
) -> Figure:
    """Where the gradient of the loss moves a query, for several sets of positives.

    Args:
        paths: name of a set of positives -> (S, 2) positions of one query on a map, start first.
        points: (K, 2), the memory on the same map.
        same: (K,) bool, whether a row has the query's class.
        found: name -> share of all queries, in [0, 1], whose nearest row has their class, after each step.
    """
    figure = new_figure(WIDTH, 3.9)
    places, shares = figure.subplots(1, 2)
    places.scatter(*points[~same].T, s=14, color="#cccccc", label="Other classes")
    places.scatter(*points[same].T, s=26, color="#009e73", marker="^", label="The query's class")
    for (name, path), (colour, line, marker) in zip(paths.items(), _LOOKS, strict=False):
        places.plot(*path.T, color=colour, linestyle=line)
        places.plot(*path[-1], color=colour, marker=marker, markersize=8, markeredgecolor="white")
        percent = 100 * np.asarray(found[name])
        mark = {"marker": marker, "markevery": max(1, len(percent) // 6)}
        shares.plot(range(len(percent)), percent, line, color=colour, label=name, **mark)
    places.plot(*next(iter(paths.values()))[0], "P", color="black", markersize=10, label="The query at the start")
    places.set(title="One query on a map of the memory", xticks=[], yticks=[])
    shares.set(title="All queries", xlabel="Step", ylabel="Nearest row is right (%)", ylim=(0, None))
    draw_legend(figure, [places, shares])
    return figure
