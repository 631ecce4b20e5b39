"""Watch a training in JupyterLab: losses, mining quality and state of all networks of a run."""

from pathlib import Path

import ipywidgets as widgets
import pandas as pd

from cprlib.report.explorers.widgets import Explorer, explorer, figure_html
from cprlib.report.figures.curves import QUANTITIES, training_curves
from cprlib.report.run import Run
from cprlib.training.loop import read_metrics


def training_monitor(run: str | Path, seconds: float = 5.0) -> Explorer:
    """The curves and states of all networks of a run, finished or in training in another process.

    The play button starts reading them again every `seconds`.
    """
    quantity = widgets.Dropdown(options=[(title, name) for name, title in QUANTITIES.items()])
    follow = widgets.Play(max=10**6, interval=round(1000 * seconds), show_repeat=False)
    return explorer(lambda quantity, follow: monitor_html(run, quantity), quantity=quantity, follow=follow)


def monitor_html(run: str | Path, quantity: str = "loss") -> str:
    """A table of the networks' states, and the curves of a quantity (see QUANTITIES), as HTML."""
    run = Run(run)
    networks = [n for n in run.networks if n.is_main and n.last]
    if not networks:
        raise FileNotFoundError(f"{run.folder} has no network with an epoch yet: start a training (notebook 02)")
    metrics = {network.name: read_metrics(network.folder) for network in networks}
    drawn = {name: table for name, table in metrics.items() if table.get(quantity, pd.Series()).notna().any()}
    if not drawn:
        raise ValueError(f"no network of {run.folder} has measured {quantity} yet")
    rows = [(n.name, n.state, n.progress, f"{n.changed:%Y-%m-%d %H:%M:%S}") for n in networks]
    table = pd.DataFrame(rows, columns=["network", "state", "progress", "last change"])
    return table.to_html(index=False, border=0) + figure_html(training_curves(drawn, quantity))
