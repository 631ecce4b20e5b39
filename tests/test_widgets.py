"""Explorers without a browser: what a move of a control draws. The browser itself is in test_browser."""

import asyncio
import json

import ipywidgets
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch.nn.functional import normalize

from cprlib.data.manifest import Manifest
from cprlib.data.store import open_frames
from cprlib.report import widgets
from cprlib.report.examples import thumbnails
from cprlib.snapshots import Memory


def control(box, name):
    """The control with a description, wherever it stands."""
    found = [child for child in box.children if getattr(child, "description", "") == name]
    return found[0] if found else next(control(child, name) for child in box.children if hasattr(child, "children"))


def shown(box):
    return box.children[-1].value


@pytest.fixture(scope="module")
def videos(toy_manifest):
    manifest = Manifest.read(toy_manifest)
    return manifest, open_frames(manifest, ["rgb", "flow"], 30)


def memory_of(manifest, views=("flow", "rgb"), seed=0):
    train = manifest.split("train")
    generator = torch.Generator().manual_seed(seed)
    features = {view: normalize(torch.randn(len(train), 8, generator=generator), dim=1) for view in views}
    labels, ids = (torch.tensor(train.table[name].to_numpy()) for name in ("label", "video_id"))
    return Memory(features, ids, torch.tensor(train.source_codes), labels)


def names_of(manifest):
    return dict(zip(manifest.table.label, manifest.table.class_name, strict=True))


def test_explorer_draws_when_a_control_moves_and_says_what_cannot_be_drawn():
    asked = []

    def draw(x, by):
        asked.append((x, by))
        if x == 3:
            raise ValueError("x is 3 < 4")
        figure = Figure()
        figure.subplots().set_title(f"x {x}")
        return figure if by == "figure" else f"<i>{x}</i>"

    by = ipywidgets.Dropdown(options=["figure", "text"])
    box = widgets.explorer(draw, x=ipywidgets.IntSlider(1, 0, 5), by=by)
    assert asked == [(1, "figure")] and 'alt="x 1"' in shown(box) and "data:image/png;base64," in shown(box)
    control(box, "by").value = "text"
    assert shown(box) == "<i>1</i>"
    control(box, "x").value = 3
    assert "x is 3 &lt; 4" in shown(box) and 'role="alert"' in shown(box)
    control(box, "x").value = 4
    assert shown(box) == "<i>4</i>"
    assert not control(box, "x").continuous_update


def test_cascade_explorer_follows_its_controls(videos):
    manifest, frames = videos
    memories = {0: memory_of(manifest), 4: memory_of(manifest, seed=1)}
    box = widgets.cascade_explorer(memories, names_of(manifest), thumbnails(manifest, frames), num_stages=3, top_k=2)
    assert "Flow 18 → RGB 9 → Flow 2" in shown(box) and control(box, "epoch").value == 4
    control(box, "order of views").value = ["rgb", "flow"]
    assert "RGB 18 → Flow 9 → RGB 2" in shown(box)
    control(box, "order of views").value = ["flow"]
    control(box, "stages").value = 1
    one_look = shown(box)
    assert "; Flow 2;" in one_look
    control(box, "epoch").value = 0  # another memory: another PMR, other rows
    assert shown(box) != one_look
    assert names_of(manifest)[0] in shown(box)
    control(box, "query").value = 35
    assert names_of(manifest)[11] in shown(box)
    single = widgets.cascade_explorer({0: memories[0]}, names_of(manifest), thumbnails(manifest, frames), num_stages=3)
    assert "epoch" not in [child.description for child in single.children[:-1]]


def test_embedding_explorer_shows_the_nearest_epoch_that_was_kept(videos):
    manifest, frames = videos
    kept = {"cpr_rgb_cycle1": {0: memory_of(manifest), 6: memory_of(manifest, seed=1)}}
    kept["infonce_rgb"] = {2: memory_of(manifest, views=("rgb",))}
    listed = [names_of(manifest)[label] for label in range(12)]
    box = widgets.embedding_explorer(kept, listed, manifest, frames)
    assert "infonce_rgb, epoch 2" in shown(box)
    control(box, "network").value = "cpr_rgb_cycle1"
    assert "cpr_rgb_cycle1, epoch 6" in shown(box)
    control(box, "epoch").value = 1
    assert "cpr_rgb_cycle1, epoch 0" in shown(box)
    assert shown(box).count('class="at"') == 36 and shown(box).count("data:image/webp") == 36
    by_class = shown(box)
    control(box, "coloured by").value = "source"
    assert shown(box) != by_class


def test_retrieval_explorer_shows_neighbours_of_the_method(videos):
    manifest, frames = videos
    test, train = manifest.split("test"), manifest.split("train")
    features = {"coclr": {}, "cpr": {}}
    for method, sign in (("coclr", 1), ("cpr", -1)):  # cpr finds the farthest
        for view in ("rgb", "flow"):
            x, y = (torch.arange(len(part.table))[:, None] * torch.tensor([[1.0, 0.5]]) for part in (test, train))
            features[method][view] = (x, sign * y)
    box = widgets.retrieval_explorer(features, test, train, frames)
    assert control(box, "method").value == "cpr" and control(box, "query").max == 11
    before = shown(box)
    control(box, "method").value = "coclr"
    assert shown(box) != before and "alt=" in shown(box)
    before = shown(box)
    control(box, "k").value = 3
    assert shown(box) != before
    assert control(box, "k").max == 10


@pytest.fixture
def run(tmp_path):
    """Two networks, one finished; the other one has just begun."""
    for name, epochs, rows in (("infonce_rgb", 2, 2), ("cpr_rgb_cycle1", 5, 1)):
        folder = tmp_path / "run" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"epochs": epochs}))
        table = pd.DataFrame({"epoch": range(rows), "loss": np.linspace(3, 2, rows), "pmr": 0.5})
        (table if "cpr" in name else table.assign(pmr=None)).to_json(
            folder / "metrics.jsonl", orient="records", lines=True
        )
    (tmp_path / "run/infonce_rgb/metrics.json").write_text(json.dumps({"epochs": 2}))
    return tmp_path / "run"


def test_monitor_tells_the_state_of_each_network_and_draws_what_was_measured(run):
    page = widgets.monitor_html(run, "loss")
    assert "epoch 1 of 5" in page and "2 epochs" in page and "unfinished" in page
    assert "<td>infonce_rgb</td>" in widgets.monitor_html(run, "pmr")  # in the table, though it mines nothing
    with pytest.raises(ValueError, match="no network of .* has measured lr yet"):
        widgets.monitor_html(run, "lr")
    with pytest.raises(FileNotFoundError, match="start a training"):
        widgets.monitor_html(run / "nothing")


def test_monitor_looks_again_when_asked_and_while_it_follows(run):
    async def use():
        box = widgets.training_monitor(run, seconds=0.01)
        assert "epoch 1 of 5" in shown(box)
        path = run / "cpr_rgb_cycle1/metrics.jsonl"
        path.write_text(path.read_text() + '{"epoch":1,"loss":1.5,"pmr":0.6}\n')
        assert "epoch 1 of 5" in shown(box)
        control(box, "Look again").click()
        assert "epoch 2 of 5" in shown(box)
        path.write_text(path.read_text() + '{"epoch":2,"loss":1.2,"pmr":0.6}\n')
        follow = control(box, "follow, every 0.01 s")
        follow.value = True
        await asyncio.sleep(0.1)
        assert "epoch 3 of 5" in shown(box)
        follow.value = False

    asyncio.run(use())
