"""One look for all figures: sizes, lines and bars that differ in grey, too, legends, files."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cprlib.report.names import method_look
from cprlib.store.files import atomic_path, resolve

WIDTH = 8.0  # inches; at 110 dpi as wide as a README column
DPI = 110
WRONG = "#c1121f"
BAR = {"edgecolor": "white", "linewidth": 0.5}

RC = {
    "text.parse_math": False,  # names of classes and videos are text: "$a$" is no formula
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titley": 1.0,  # skips matplotlib's slow search for a free place: nothing stands above a plot
    "axes.labelsize": 10,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 2,
    "hatch.linewidth": 0.8,
    "image.interpolation": "antialiased",
}
styled = rc_context(RC)  # decorator of every function that makes a figure


def new_figure(width: float, height: float, placed: bool = False) -> Figure:
    """An empty figure, sizes in inches; `placed`: the caller places the axes, which is faster than a layout engine."""
    figure = plt.figure(figsize=(width, height), dpi=DPI, layout="none" if placed else "constrained")
    plt.close(figure)  # else a notebook shows it a second time at the end of the cell
    return figure


def panel_row(count: int, height: float) -> tuple[Figure, Sequence[Axes]]:
    """A figure of panels side by side; height in inches."""
    figure = new_figure(WIDTH, height)
    return figure, figure.subplots(1, count, sharey=True, squeeze=False)[0]


def show_image(axes: Axes, image: np.ndarray, title: str = "") -> None:
    """Draw a uint8 (H, W, 3) image with a thin frame, without ticks."""
    axes.imshow(image)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set(visible=True, color="#555555", linewidth=0.8)
    axes.set_title(title, fontsize=9, pad=3)


def draw_curve(axes: Axes, method: str, line: pd.DataFrame) -> None:
    """Draw the column mean over the index (epochs) in the look of a method, and shade ± the column std, if any."""
    values = line["mean"]
    look = method_look(method)
    style = {"color": look.colour, "linestyle": look.line, "label": look.label, "marker": look.marker}
    mark = {"markevery": max(1, len(values) // 10), "markersize": 5, "markeredgecolor": "white"}
    axes.plot(values.index, values.to_numpy(), **style, **mark)
    if "std" in line:
        low, high = values - line["std"], values + line["std"]
        axes.fill_between(values.index, low, high, color=look.colour, alpha=0.2, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_bars(axes: Axes, wide: pd.DataFrame, across: bool = False) -> None:
    """Draw a group of bars for each row, with a bar for each column (a method); `across`: horizontal bars."""
    width, places = 0.82 / wide.shape[1], np.arange(len(wide))
    for i, method in enumerate(wide):
        look = method_look(method)
        style = {"color": look.colour, "hatch": look.hatch, "label": look.label, **BAR}
        (axes.barh if across else axes.bar)(places + (i + 0.5) * width - 0.41, wide[method], width, **style)
    (axes.set_yticks if across else axes.set_xticks)(places, wide.index.map(str))
    axes.grid(False, axis="y" if across else "x")


def draw_legend(figure: Figure, panels: Any, place: str = "upper") -> None:
    """One legend above ("upper") or below ("lower") all panels, each name once."""
    entries: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    figure.legend(entries.values(), entries, loc=f"outside {place} center", ncols=min(4, len(entries)))


def flow_colour(flow: Any, least: float = 0.0) -> np.ndarray:
    """Flow ([T,] 2, H, W) as colours, uint8 ([T,] H, W, 3): hue is the direction, saturation the speed.

    Full saturation is the largest speed in `flow`, or `least` if that is larger, which keeps noise pale.
    """
    from torchvision.utils import flow_to_image

    flow = torch.nn.functional.pad(torch.as_tensor(flow, dtype=torch.float32), (0, 1))
    flow[..., 0, :, -1] = least  # in an extra column, which is cut off below
    return flow_to_image(flow)[..., :-1].movedim(-3, -1).numpy()


def save_figure(figure: Figure, folder: str | Path, name: str, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Write a figure as png, pdf or svg, atomically and without dates: the same figure gives the same files."""
    undated = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    paths = [resolve(folder) / f"{name}.{suffix}" for suffix in formats]
    for path, suffix in zip(paths, formats, strict=True):
        extra = {"pil_kwargs": {"optimize": True}} if suffix == "png" else {}
        with rc_context({"svg.hashsalt": name, "pdf.fonttype": 42}), atomic_path(path) as tmp:  # journals want type 42
            figure.savefig(tmp, dpi=DPI, metadata=undated[suffix], **extra)
    return paths


def data_uri(picture: bytes, kind: str = "webp") -> str:
    """A picture as an address that holds its bytes; kind: "webp", "png" or "svg+xml"."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
