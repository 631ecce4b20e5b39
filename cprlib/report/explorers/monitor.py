"""Watch a training in JupyterLab: losses, mining quality and state of all networks of a run."""

import asyncio
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd

from cprlib.report.explorers.widgets import Explorer, explorer, figure_html
from cprlib.report.figures.curves import QUANTITIES, training_curves
from cprlib.report.run_state import is_main, networks_of
from cprlib.store.files import resolve
from cprlib.training.fit import read_metrics


def training_monitor(run: str | Path, seconds: float = 5.0) -> Explorer:
    """Losses and mining quality of all networks of a run, finished or still being trained by another process.

    Args:
        run: the run folder, e.g. "outputs/toy".
        seconds: time between two looks while "follow" is ticked.
    """

    def draw(quantity: str, looks: int) -> str:
        return monitor_html(run, quantity)

    looks = widgets.IntText(0)
    monitor = explorer(
        draw, quantity=widgets.Dropdown(options=[(title, name) for name, title in QUANTITIES.items()]), looks=looks
    )
    look = widgets.Button(description="Look again")
    follow = widgets.Checkbox(description=f"follow, every {seconds:g} s", indent=False)

    def again(*_: Any) -> None:
        looks.value += 1

    async def following() -> None:
        while True:
            again()
            await asyncio.sleep(seconds)

    tasks: list[asyncio.Task] = []  # one at most; a task that nobody holds may be collected

    def switched(change: Any) -> None:
        while tasks:
            tasks.pop().cancel()
        if change.new:
            tasks.append(asyncio.ensure_future(following()))

    look.on_click(again)
    follow.observe(switched, "value")
    quantity, _, picture = monitor.children
    return Explorer([widgets.HBox([look, follow]), quantity, picture])


def monitor_html(run: str | Path, quantity: str = "loss") -> str:
    """The state of every network of a run in a table, and the curves of a quantity, as HTML.

    Args:
        run: the run folder.
        quantity: one of :data:`cprlib.report.figures.curves.QUANTITIES`.

    Raises:
        FileNotFoundError: nothing has been trained in this folder.
        ValueError: no network has measured the quantity yet.
    """
    networks = [n for n in networks_of(resolve(run)) if n.state != "not started" and n.last]
    if not networks:
        raise FileNotFoundError(f"{resolve(run)} has no network with an epoch yet: start a training (notebook 02)")
    metrics = {n.name: read_metrics(n.folder) for n in networks if is_main(n)}
    drawn = {name: table for name, table in metrics.items() if table.get(quantity, pd.Series()).notna().any()}
    if not drawn:
        raise ValueError(f"no network of {resolve(run)} has measured {quantity} yet")
    words = [
        {"network": n.name, "state": n.state, "progress": n.progress, "last change": f"{n.changed:%Y-%m-%d %H:%M:%S}"}
        for n in networks
        if n.name in metrics
    ]
    return pd.DataFrame(words).to_html(index=False, border=0) + figure_html(training_curves(drawn, quantity))
