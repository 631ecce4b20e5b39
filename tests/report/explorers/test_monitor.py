"""The training monitor without a browser: what it shows of a run, and when it refreshes."""

import json

import numpy as np
import pandas as pd
import pytest

from cprlib.report.explorers import monitor
from tests.report.explorers.test_widgets import control, shown


@pytest.fixture
def run(tmp_path):
    """Two networks, one finished, one just begun."""
    for name, epochs, rows in (("infonce_rgb", 2, 2), ("cpr_rgb_cycle1", 5, 1)):
        folder = tmp_path / "run" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"epochs": epochs}))
        table = pd.DataFrame({"epoch": range(rows), "loss": np.linspace(3, 2, rows), "pmr": 0.5})
        (table if "cpr" in name else table.assign(pmr=None)).to_json(
            folder / "metrics.jsonl", orient="records", lines=True
        )
    (tmp_path / "run/infonce_rgb/metrics.json").write_text(json.dumps({"epochs": 2}))
    (tmp_path / "run/infonce_rgb/checkpoint.pt").touch()
    return tmp_path / "run"


def test_monitor_shows_the_state_and_curves_of_each_network(run):
    page = monitor.monitor_html(run, "loss")
    assert "epoch 1 of 5" in page and "2 epochs" in page and "unfinished" in page
    assert "<td>infonce_rgb</td>" in monitor.monitor_html(run, "pmr")  # in the table, although it does not mine
    (run / "infonce_rgb").rename(run / "frozen_infonce_rgb")  # a classifier: its loss is not comparable
    assert "frozen" not in monitor.monitor_html(run, "loss")
    (run / "frozen_infonce_rgb").rename(run / "infonce_rgb")
    with pytest.raises(ValueError, match="no network of .* has measured lr yet"):
        monitor.monitor_html(run, "lr")
    with pytest.raises(FileNotFoundError, match="start a training"):
        monitor.monitor_html(run / "nothing")


def test_monitor_refreshes_while_it_follows(run):
    box = monitor.training_monitor(run, seconds=2.5)
    assert "epoch 1 of 5" in shown(box)
    path = run / "cpr_rgb_cycle1/metrics.jsonl"
    path.write_text(path.read_text() + '{"epoch":1,"loss":1.5,"pmr":0.6}\n')
    follow = control(box, "follow")
    assert follow.interval == 2500
    follow.value += 1  # as the browser does at each interval
    assert "epoch 2 of 5" in shown(box)
