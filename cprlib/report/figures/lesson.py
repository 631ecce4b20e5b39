"""What only the walkthrough needs: pictures of a few clips, of what was mined, and of where a loss pulls a query."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import Tensor

from cprlib.data.manifest import Manifest
from cprlib.report.figures.curves import mined_strip
from cprlib.report.figures.flow_view import look, looping_clip
from cprlib.report.figures.style import RC, WIDTH, draw_legend, new_figure, view_label

# colour-blind-safe, of different lightness and line style; none of them is a method's
_LOOKS = [("#999999", ":", "v"), ("#0072b2", "--", "s"), ("#e69f00", "-", "o"), ("#111111", "-.", "D")]


def side_by_side(videos: Manifest, rows: Mapping[str, int], height: int = 110) -> str:
    """HTML: clips moving in a loop, RGB beside flow.

    Args:
        videos: with flow.
        rows: name -> row of `videos`.
        height: of a clip, in pixels.
    """
    table = videos.table.iloc[list(rows.values())]
    clips = []
    for name, video_id, class_name in zip(rows, table.video_id.tolist(), table.class_name, strict=True):
        seen = look(videos, video_id)
        clips.append(looping_clip({"rgb": seen.frames, "flow": seen.flow}, height=height, name=f"{name}: {class_name}"))
    return f'<div style="display:flex; flex-wrap:wrap; gap:1em">{"".join(clips)}</div>'


def mean_similarity(bank: Mapping[str, Tensor], class_names: Sequence[str]) -> pd.DataFrame:
    """How alike two different clips are on average, by what they share, a column for each view.

    Args:
        bank: view -> (N, D) float, L2-normalised.
        class_names: of the N rows, "<motion>_<look>".
    """
    others = ~np.eye(len(class_names), dtype=bool)
    every = np.arange(len(class_names))[None, :].repeat(len(class_names), 0)
    shared = {kind: pairs & others for kind, pairs in _shared(every, class_names).items()}
    return pd.DataFrame(
        {
            view: {kind: round(float((x @ x.T).numpy()[pairs].mean()), 2) for kind, pairs in shared.items()}
            for view, x in bank.items()
        }
    )


def _shared(rows: np.ndarray, class_names: Sequence[str]) -> dict[str, np.ndarray]:
    """What rows (N, k) share with row 0, 1, … N - 1, as masks: the two parts of a class name, one of them, none."""
    parts = pd.Series(class_names).str.split("_", n=1, expand=True).to_numpy()  # (N, 2)
    moves, looks = (parts[rows] == parts[:, None]).transpose(2, 0, 1)
    kinds = {"motion and look": moves & looks, "motion only": moves & ~looks, "look only": ~moves & looks}
    return kinds | {"neither": ~moves & ~looks}


def mined_kinds(mined: Mapping[str, Tensor], class_names: Sequence[str]) -> pd.DataFrame:
    """What was mined, in percent: rows that have motion and look of their query, one of the two, or none.

    Args:
        mined: name of the miner -> (N, k) int64, rows mined for every row.
        class_names: of the N rows, "<motion>_<look>" as the built-in classes are called.

    Returns:
        a column for each miner.
    """
    shared = {name: _shared(rows.numpy(), class_names) for name, rows in mined.items()}
    shares = {name: {kind: round(100 * x.mean(), 1) for kind, x in kinds.items()} for name, kinds in shared.items()}
    return pd.DataFrame(shares).rename({"motion and look": "motion and look: right (PMR)"})


def mined_rows(
    videos: Manifest, query: int, mined: Mapping[str, Tensor], thumbnail: Callable[[int], np.ndarray]
) -> Figure:
    """What several miners found for one query, wrong ones marked.

    Args:
        videos: those that were mined.
        query: row of `videos`.
        mined: name of the miner -> (k,) int64, rows, best first.
        thumbnail: video_id -> picture.
    """
    table, asked = videos.table, videos.table.iloc[query]
    found = {name: table.iloc[rows.tolist()] for name, rows in mined.items()}
    return mined_strip(
        thumbnail(int(asked.video_id)),
        {name: [thumbnail(i) for i in rows.video_id.tolist()] for name, rows in found.items()},
        {name: (rows.label == asked.label).tolist() for name, rows in found.items()},
        {name: rows.class_name.tolist() for name, rows in found.items()},
        asked.class_name,
    )


@rc_context(RC)
def similarity_figure(similarities: Mapping[str, Tensor], names: Sequence[str]) -> Figure:
    """How alike a few clips are, a panel for each view, dark = alike, with the numbers.

    Args:
        similarities: view -> (N, N) float in [-1, 1].
        names: of the N clips.
    """
    figure = new_figure(WIDTH, 3.9)
    panels = figure.subplots(1, len(similarities), sharey=True, squeeze=False)[0]
    for axes, (view, values) in zip(panels, similarities.items(), strict=True):
        axes.imshow(np.asarray(values), cmap="Greys", vmin=-0.2, vmax=1)
        axes.set_title(f"Similarity in {view_label(view)}")
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.grid(False)
        for (row, column), value in np.ndenumerate(np.asarray(values)):
            colour = "white" if value > 0.6 else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)
    return figure


@rc_context(RC)
def pull_figure(
    paths: Mapping[str, Tensor], points: Tensor, same: Tensor, found: Mapping[str, Sequence[float]]
) -> Figure:
    """Where the gradient of the loss takes a query, for several sets of positives.

    Args:
        paths: name of the set of positives -> (S, 2) places of one query on a map, start first.
        points: (K, 2) the memory on the same map.
        same: (K,) bool, whether a row is of the query's class.
        found: name -> after each step the share, in [0, 1], of all queries whose nearest row is of their class.
    """
    figure = new_figure(WIDTH, 3.9)
    places, shares = figure.subplots(1, 2)
    places.scatter(*points[~same].T, s=14, color="#cccccc", label="Other classes")
    places.scatter(*points[same].T, s=26, color="#009e73", marker="^", label="The query's class")
    for (name, path), (colour, line, marker) in zip(paths.items(), _LOOKS, strict=False):
        places.plot(*path.T, color=colour, linestyle=line)
        places.plot(*path[-1], color=colour, marker=marker, markersize=8, markeredgecolor="white")
        steps = np.arange(len(found[name]))
        every = max(1, len(steps) // 6)
        shares.plot(
            steps, 100 * np.asarray(found[name]), line, color=colour, marker=marker, markevery=every, label=name
        )
    places.plot(*next(iter(paths.values()))[0], "P", color="black", markersize=10, label="The query at the start")
    places.set(title="One query on a map of the memory", xticks=[], yticks=[])
    shares.set(title="All queries", xlabel="Step", ylabel="Nearest row is right (%)", ylim=(0, None))
    draw_legend(figure, [places, shares])
    return figure
