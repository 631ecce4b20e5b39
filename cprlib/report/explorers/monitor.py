"""Watch a training in JupyterLab: losses, mining quality and state of all networks of a run."""

import asyncio
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd

from cprlib.report.explorers.widgets import Explorer, explorer, figure_html
from cprlib.report.figures.curves import QUANTITIES, training_curves
from cprlib.report.run import Run
from cprlib.training.loop import read_metrics


def training_monitor(run: str | Path, seconds: float = 5.0) -> Explorer:
    """Losses and mining quality of all networks of a run, finished or still being trained by another process."""
    looks = widgets.IntText(0)
    menu = widgets.Dropdown(options=[(title, name) for name, title in QUANTITIES.items()])
    quantity, _, picture = explorer(
        lambda quantity, looks: monitor_html(run, quantity), quantity=menu, looks=looks
    ).children
    look = widgets.Button(description="Look again")
    follow = widgets.Checkbox(description=f"follow, every {seconds:g} s", indent=False)
    tasks: list[asyncio.Task] = []  # one at most; a task that nobody holds may be collected

    def look_again(*_: Any) -> None:
        looks.value += 1

    async def following() -> None:
        while True:
            look_again()
            await asyncio.sleep(seconds)

    def switch(change: Any) -> None:
        while tasks:
            tasks.pop().cancel()
        if change.new:
            tasks.append(asyncio.ensure_future(following()))

    look.on_click(look_again)
    follow.observe(switch, "value")
    return Explorer([widgets.HBox([look, follow]), quantity, picture])


def monitor_html(run: str | Path, quantity: str = "loss") -> str:
    """The state of every network of a run in a table, and the curves of one of QUANTITIES, as HTML."""
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
