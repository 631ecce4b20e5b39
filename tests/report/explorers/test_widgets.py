"""Explorers without a browser: what a control draws. test_browser uses a real browser."""

import ipywidgets
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch.nn.functional import normalize

from cprlib.data.frames import open_frames
from cprlib.data.manifest import Manifest
from cprlib.report.explorers import widgets
from cprlib.report.figures.strips import neighbour_figure, thumbnails
from cprlib.training.snapshots import Memory


def control(box, name):
    """The control with a description, at any depth."""
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


def test_explorer_redraws_when_a_control_moves_and_shows_errors():
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
    assert box._repr_mimebundle_()["text/plain"].startswith("Run this cell in JupyterLab")  # without widgets


def test_cascade_explorer_follows_its_controls(videos):
    manifest, frames = videos
    memories = {0: memory_of(manifest), 4: memory_of(manifest, seed=1)}
    box = widgets.cascade_explorer(memories, manifest.class_names, thumbnails(manifest, frames), num_stages=3, top_k=2)
    assert "Flow 27 → RGB 13 → Flow 2" in shown(box) and control(box, "epoch").value == 4
    control(box, "order of views").value = ["rgb", "flow"]
    assert "RGB 27 → Flow 13 → RGB 2" in shown(box)
    control(box, "order of views").value = ["flow"]
    control(box, "stages").value = 1
    one_stage = shown(box)
    assert "; Flow 2;" in one_stage
    control(box, "epoch").value = 0  # another memory: other PMR and rows
    assert shown(box) != one_stage
    assert manifest.class_names[0] in shown(box)
    control(box, "query").value = 35
    assert manifest.class_names[11] in shown(box)
    single = widgets.cascade_explorer(
        {0: memories[0]}, manifest.class_names, thumbnails(manifest, frames), num_stages=3
    )
    assert "epoch" not in [child.description for child in single.children[:-1]]


def test_embedding_explorer_shows_the_nearest_kept_epoch(videos):
    manifest, frames = videos
    kept = {"cpr_rgb_cycle1": {0: memory_of(manifest), 6: memory_of(manifest, seed=1)}}
    kept["infonce_rgb"] = {2: memory_of(manifest, views=("rgb",))}
    box = widgets.embedding_explorer(kept, manifest.class_names, manifest, frames)
    assert "infonce_rgb, epoch 2" in shown(box)
    control(box, "network").value = "cpr_rgb_cycle1"
    assert "cpr_rgb_cycle1, epoch 6" in shown(box)
    control(box, "epoch").value = 1
    assert "cpr_rgb_cycle1, epoch 0" in shown(box)
    assert shown(box).count('class="at"') == 54 and shown(box).count("data:image/webp") == 54
    by_class = shown(box)
    control(box, "coloured by").value = "source"
    assert shown(box) != by_class


def test_retrieval_explorer_shows_neighbours_of_the_method(videos, monkeypatch):
    manifest, frames = videos
    test, train = manifest.split("test"), manifest.split("train")
    asked, draw = [], widgets.neighbour_figure
    monkeypatch.setattr(widgets, "neighbour_figure", lambda *given: asked.append(given[:2]) or draw(*given))
    classes = torch.eye(18)
    features = {}
    for method, shift in (("cpr", 1), ("coclr", 0)):  # cpr confuses every class with the next one
        pair = (classes[torch.tensor(test.table.label)].roll(shift, dims=1), classes[torch.tensor(train.table.label)])
        features[method] = {"rgb": pair, "flow": pair}
    box = widgets.retrieval_explorer(features, test, train, thumbnails(manifest, frames))
    assert control(box, "method").value == "cpr" and control(box, "query").max == 17 and control(box, "k").max == 10
    control(box, "k").value = 3
    control(box, "query").value = 4
    (nearest, query), shown_last = asked[-1], shown(box)
    label = test.table.label[4]
    assert query == 4 and list(nearest) == ["rgb", "flow", "both"]
    assert all(train.table.label[rows.tolist()].tolist() == [(label + 1) % 18] * 3 for rows in nearest.values())
    control(box, "method").value = "coclr"
    assert all(train.table.label[rows.tolist()].tolist() == [label] * 3 for rows in asked[-1][0].values())
    assert shown(box) != shown_last


def test_neighbours_of_another_class_are_marked(videos):
    manifest, _ = videos
    test, train = manifest.split("test"), manifest.split("train")
    label = test.table.label[2]
    right, wrong = (train.table.index[same][0] for same in (train.table.label == label, train.table.label != label))
    nearest = {"rgb": torch.tensor([wrong, right]), "both": torch.tensor([right, right])}
    figure = neighbour_figure(nearest, 2, test, train, lambda video: np.full((6, 8, 3), video, np.uint8))
    asked, *strips = figure.axes
    assert asked.images[0].get_array()[0, 0, 0] == test.table.video_id[2]
    for strip, rows, crosses in zip(strips, nearest.values(), (1, 0), strict=True):
        assert [image.get_array()[0, 0, 0] for image in strip.images] == train.table.video_id[rows.tolist()].tolist()
        assert sum(len(line.get_xdata()) for line in strip.lines if line.get_gid() == "wrong") == crosses
    captions = [text.get_text().replace("\n", "") for text in strips[0].texts]
    assert captions == [*train.table.class_name[nearest["rgb"].tolist()], "RGB"]
