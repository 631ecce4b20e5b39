"""One look for all figures: sizes, colours, line styles and hatches that also work in grey."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torchvision.utils import flow_to_image

from cprlib.store.files import atomic_path, resolve

WIDTH = 8.0  # inches; at 110 dpi as wide as a README column
DPI = 110
WRONG = "#c1121f"

# for matplotlib.rc_context: put on every public figure function
RC = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titley": 1.0,  # no search for room, which is slow: nothing stands above a plot
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


class MethodStyle(NamedTuple):
    """How a method looks; colour-blind-safe colours (Okabe and Ito) of different lightness."""

    label: str
    colour: str
    line: str
    marker: str
    hatch: str


METHODS = {
    "random": MethodStyle("Random weights", "#cccccc", ":", "v", ""),
    "infonce": MethodStyle("InfoNCE", "#56b4e9", "-.", "^", "..."),
    "coclr": MethodStyle("CoCLR", "#0072b2", "--", "s", "///"),
    "cpr": MethodStyle("CPR", "#e69f00", "-", "o", ""),
    "ubernce": MethodStyle("UberNCE", "#444444", (0, (1, 1)), "D", "xxx"),
}
PROTOCOLS = {"probe": "Linear probe", "finetune": "Fine-tuned", "frozen": "Frozen backbone"}
VIEWS = {"rgb": "RGB", "flow": "Flow", "residual": "Residual", "both": "Both views"}


def method_style(method: str) -> MethodStyle:
    """The look of a method; one that is not of the paper gets its own name and a neutral green."""
    return METHODS.get(method, MethodStyle(method, "#009e73", "-", "P", "\\\\\\"))


def view_label(view: str) -> str:
    """The name of a view in titles."""
    return VIEWS.get(view, view)


def view_word(view: str) -> str:
    """The name of a view within a line: flow, RGB, both views."""
    label = view_label(view)
    return label if label.isupper() else label.lower()


def method_order(method: str) -> int:
    """Sort key: random, infonce, coclr, cpr, then the others."""
    return [*METHODS, method].index(method)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure in inches that Jupyter shows once, as the value of a cell or by `display`."""
    figure = plt.figure(figsize=(width, height), dpi=DPI, layout="constrained")
    plt.close(figure)  # pyplot forgets it, else a notebook shows it a second time
    return figure


def show_image(axes: Axes, image: np.ndarray, title: str = "", size: float = 9) -> None:
    """Draw a thumbnail without ticks; of a clip (T, H, W, 3) its middle frame."""
    axes.imshow(middle_frame(image))
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set(visible=True, color="#555555", linewidth=0.8)
    if title:
        axes.set_title(title, fontsize=size, pad=3)


def middle_frame(image: np.ndarray) -> np.ndarray:
    """The image itself, or the middle frame of a clip (T, H, W, 3)."""
    image = np.asarray(image)
    return image[len(image) // 2] if image.ndim == 4 else image


def draw_curve(axes: Axes, method: str, values: pd.Series) -> None:
    """Draw values over their index, the epochs, in the look of a method."""
    style = method_style(method)
    axes.plot(
        values.index,
        values.to_numpy(),
        color=style.colour,
        linestyle=style.line,
        marker=style.marker,
        markevery=max(1, len(values) // 10),
        markersize=5,
        markeredgecolor="white",
        label=style.label,
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def bar_look(method: str) -> dict[str, Any]:
    """Keywords of `Axes.bar` for a method."""
    style = method_style(method)
    return {
        "color": style.colour,
        "hatch": style.hatch,
        "edgecolor": "white",
        "linewidth": 0.5,
        "label": style.label,
    }


def draw_legend(figure: Figure, panels: Any, place: str = "upper") -> None:
    """One legend above ("upper") or below ("lower") all panels, each name once."""
    entries: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    figure.legend(entries.values(), entries, loc=f"outside {place} center", ncols=min(4, len(entries)))


def flow_colour(flow: Any, least: float = 0.0) -> np.ndarray:
    """Flow as colours: hue is the direction, saturation the speed (white = at rest).

    Args:
        flow: float (2, H, W) or (T, 2, H, W), pixels per frame.
        least: a slower picture is paler, so that the noise of a still one does not look like motion.

    Returns:
        uint8 (H, W, 3) or (T, H, W, 3); full saturation is the largest speed in `flow`, or `least`.
    """
    flow = torch.nn.functional.pad(torch.as_tensor(flow, dtype=torch.float32), (0, 1))
    flow[..., 0, :, -1] = least  # in a column of its own, which is cut off again
    return flow_to_image(flow)[..., :-1].movedim(-3, -1).numpy()


def save_figure(figure: Figure, folder: str | Path, name: str, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Write a figure, atomically and without dates, so that the same figure gives the same file.

    Args:
        figure: the figure.
        folder: where to, e.g. `outputs/toy/figures`; made if missing.
        name: file name without suffix.
        formats: of "png" (compressed hard), "pdf", "svg".

    Returns:
        the files written.

    Raises:
        ValueError: another format.
    """
    undated = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    unknown = set(formats) - set(undated)
    if unknown:
        raise ValueError(f"formats {sorted(unknown)} of figure {name}: choose from png, pdf, svg")
    paths = [resolve(folder) / f"{name}.{suffix}" for suffix in formats]
    for path, suffix in zip(paths, formats, strict=True):
        extra = {"pil_kwargs": {"optimize": True}} if suffix == "png" else {}
        with rc_context({"svg.hashsalt": name}), atomic_path(path) as tmp:
            figure.savefig(tmp, dpi=DPI, metadata=undated[suffix], **extra)
    return paths
