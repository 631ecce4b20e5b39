"""Explorers for JupyterLab: menus and sliders that redraw a figure.

All controls work by keyboard (Tab, then the arrow keys), and each move draws one picture or says why it cannot.
Without a kernel nothing moves, so notebooks show a static figure before each explorer.
"""

import html
import io
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from cprlib.cascade import plan_stages
from cprlib.data.manifest import Manifest
from cprlib.evaluation.retrieval import nearest_neighbours, prepare_views
from cprlib.report.figures.cascade_view import cascade_figure
from cprlib.report.figures.embedding import Projection, embedding_html, preview, project
from cprlib.report.figures.strips import Thumbnail, neighbour_figure
from cprlib.report.figures.style import data_uri
from cprlib.report.names import method_look, view_label
from cprlib.store.progress import progress
from cprlib.training.snapshots import Memory

WIDE = widgets.Layout(width="min(100% - 4px, 34em)")
DESCRIPTION = {"description_width": "9em"}


class Explorer(widgets.VBox):
    """Controls and a picture, or a line of text if there is no kernel."""

    def __repr__(self) -> str:
        return "Run this cell in JupyterLab to get controls; without a kernel there is only the figure above."


def explorer(draw: Callable[..., Figure | str], **controls: widgets.Widget) -> Explorer:
    """Controls above a picture; `draw` gets their values, a keyword each, and is called again whenever one changes.

    A ValueError or FileNotFoundError of `draw` is shown as text.
    """
    picture = widgets.HTML()

    def show(*_: Any) -> None:
        try:
            drawn = draw(**{name: control.value for name, control in controls.items()})
            picture.value = drawn if isinstance(drawn, str) else figure_html(drawn)
        except (ValueError, FileNotFoundError) as error:
            picture.value = f'<p role="alert"><b>Cannot be drawn:</b> {html.escape(str(error))}</p>'

    for name, control in controls.items():
        control.description = control.description or name.replace("_", " ")
        control.layout = WIDE
        if hasattr(control.style, "description_width"):  # not on buttons
            control.style = DESCRIPTION
        if hasattr(control, "continuous_update"):
            control.continuous_update = False  # one picture for each drag, not for each step of it
        control.observe(show, "value")
    show()
    return Explorer([*controls.values(), picture])


def figure_html(figure: Figure) -> str:
    """A figure as an HTML image with its titles as alternative text."""
    png, canvas = io.BytesIO(), FigureCanvasAgg(figure)
    canvas.draw()  # savefig would draw twice and compress harder, too slow for a slider
    Image.fromarray(np.asarray(canvas.buffer_rgba())).save(png, "PNG", compress_level=1)
    titles = [text.get_text() for text in figure.texts]
    titles += [axes.get_title(side) for axes in figure.axes for side in ("left", "center")]
    alt = html.escape("; ".join(" ".join(title.split()) for title in titles if title))
    return f'<img style="max-width:100%; background:white" alt="{alt}" src="{data_uri(png.getvalue(), "png")}">'


def cascade_explorer(
    memories: Mapping[int, Memory],
    names: Sequence[str],
    thumbnail: Thumbnail,
    query: int = 0,
    num_stages: int = 5,
    ratio: float = 0.5,
    top_k: int = 5,
) -> Explorer:
    """Mine in the memory of any epoch with any cascade.

    Args:
        memories: epoch -> memory of two views or more.
        names, thumbnail: see :func:`cprlib.report.figures.cascade_view.cascade_figure`.
        query, num_stages, ratio, top_k: initial values of the controls.
    """
    last = memories[max(memories)]
    views = list(last.features)
    orders = {" → ".join([*map(view_label, order), "…"]): order for order in (views, views[::-1])}
    orders |= {f"{view_label(view)} only": [view] for view in views}

    def draw(query: int, order: list[str], epoch: int = max(memories), **plan: Any) -> Figure:
        memory = memories[epoch]
        plan = plan_stages(len(memory.label), order, **plan)
        return cascade_figure(memory, plan, min(query, len(memory.label) - 1), names, thumbnail)

    epochs = {"epoch": widgets.SelectionSlider(options=sorted(memories), value=max(memories))}
    return explorer(
        draw,
        **(epochs if len(memories) > 1 else {}),
        query=widgets.IntSlider(query, 0, len(last.label) - 1),
        order=widgets.Dropdown(options=orders, description="order of views"),
        num_stages=widgets.IntSlider(num_stages, 1, max(9, num_stages), description="stages"),
        ratio=widgets.FloatSlider(ratio, min=min(0.1, ratio), max=max(0.9, ratio), step=0.05),
        top_k=widgets.IntSlider(top_k, 1, max(10, top_k), description="top k"),
    )


def embedding_explorer(
    memories: Mapping[str, Mapping[int, Memory]], names: Sequence[str], manifest: Manifest, frames: Any
) -> Explorer:
    """The memory of every network on a plane, epoch by epoch; a clip plays under the mouse.

    All clips are read at the start, so that a move only draws.

    Args:
        memories: network, e.g. "cpr_rgb_cycle1" -> epoch -> memory of a few hundred rows, see
            :func:`cprlib.training.snapshots.follow`; its last view is the network's own.
        names: class names, indexed by label.
    """
    lengths = dict(zip(manifest.table.video_id, manifest.table.num_frames, strict=True))
    seen = sorted({video for by_epoch in memories.values() for m in by_epoch.values() for video in m.video_id.tolist()})

    def clip(video: int) -> dict[str, np.ndarray]:
        shown = np.linspace(0, lengths[video] - 1, 6).astype(int).tolist()
        return {"rgb": np.asarray(frames.frames(video, "rgb", shown))}

    previews = {video: preview(clip(video)) for video in progress(seen, "reading clips")}

    @cache
    def plane(network: str) -> Projection:
        return project(memories[network], list(memories[network][max(memories[network])].features)[-1])

    def draw(network: str, epoch: int, by: str) -> str:
        kept = min(memories[network], key=lambda other: abs(other - epoch))  # not all epochs have a memory
        memory, projection = memories[network][kept], plane(network)
        title = f"{network}, epoch {kept}: {projection.share:.0%} of the variance"
        return embedding_html(projection.points[kept], memory, names, previews, by, title, projection.limits)

    last = max(epoch for epochs in memories.values() for epoch in epochs)
    return explorer(
        draw,
        network=widgets.Dropdown(options=list(memories), value=list(memories)[-1]),
        epoch=widgets.IntSlider(last, 0, last),
        by=widgets.Dropdown(options=["class", "source"], description="coloured by"),
    )


def retrieval_explorer(
    features: Mapping[str, Mapping[str, tuple[Tensor, Tensor]]],
    test: Manifest,
    train: Manifest,
    thumbnail: Thumbnail,
) -> Explorer:
    """The nearest training videos of any test video, by any method, in every view and in all together.

    Args:
        features: method -> view -> raw (test, train) features, as for `retrieval_table`.
        thumbnail: of the videos of both splits.
    """
    most = min(10, len(train))

    @cache
    def prepared(method: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return prepare_views(features[method])

    def draw(method: str, query: int, k: int) -> Figure:
        asked, gallery = prepared(method)
        nearest = {v: nearest_neighbours(x[[query]], gallery[v], k)[0][0] for v, x in asked.items()}
        return neighbour_figure(nearest, query, test, train, thumbnail)

    return explorer(
        draw,
        method=widgets.Dropdown(
            options=[(method_look(m).label, m) for m in features],
            value="cpr" if "cpr" in features else list(features)[-1],  # as in the figures of notebook 05
        ),
        query=widgets.IntSlider(0, 0, len(test) - 1),
        k=widgets.IntSlider(min(5, most), 1, most),
    )
