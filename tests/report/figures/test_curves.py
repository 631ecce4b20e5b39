"""The content of figures: numbers of bars and images, labels, marks; not their look."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from cprlib.methods import METHODS, Method
from cprlib.report.figures import curves as figures
from cprlib.report.figures.strips import clip_strip
from cprlib.report.figures.style import flow_colour, save_figure
from cprlib.report.names import method_look

IMAGES = np.arange(8 * 12 * 16 * 3, dtype=np.uint8).reshape(8, 12, 16, 3)


def mining_log(*hits_by_epoch):
    """A log with one query per epoch and four mined rows, the first `hits` correct."""
    rows = [
        {"epoch": epoch, "step": 0, "query": 0, "rank": rank, "correct": rank < hits}
        for epoch, hits in enumerate(hits_by_epoch)
        for rank in range(4)
    ]
    return pd.DataFrame(rows)


def legend_texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def line(axes, label):
    return next(line for line in axes.lines if line.get_label() == label)


def test_mining_curves_show_both_measures_of_each_network():
    flow = {"flow": mining_log(0, 0)}
    logs = {"cpr": {"rgb": mining_log(1, 2, 4), **flow}, "coclr": {"rgb": mining_log(0, 1), **flow}}
    figure = figures.mining_curves(logs)
    pmr_rgb, pmr_flow, r1_rgb, _ = figure.axes
    assert pmr_rgb.get_title() == "RGB network" and pmr_flow.get_title() == "Flow network"
    assert pmr_rgb.get_ylabel() == "PMR (%)" and r1_rgb.get_ylabel() == "Mining R@1 (%)"
    assert r1_rgb.get_xlabel() == "Epoch"
    assert line(pmr_rgb, "CPR").get_ydata().tolist() == [25, 50, 100]
    assert line(r1_rgb, "CoCLR").get_ydata().tolist() == [0, 100]
    assert legend_texts(figure) == ["CoCLR", "CPR"]


def test_methods_differ_without_colour_and_any_method_can_be_drawn(monkeypatch):
    looks = list(METHODS.values())
    assert len({look.line for look in looks}) == len({look.marker for look in looks}) == len(looks)
    assert len({(look.hatch, look.colour == "#cccccc") for look in looks}) == len(looks)  # random: pale; cpr: no hatch
    monkeypatch.setitem(METHODS, "mine", Method("Our miner", "#123456"))
    logs = {name: {"rgb": mining_log(1, 2)} for name in ("_other", "mine", "coclr")}
    figure = figures.mining_curves(logs)
    assert legend_texts(figure) == ["CoCLR", "Our miner", "other"]
    assert {line.get_color() for line in figure.axes[0].lines} == {"#0072b2", "#123456", method_look("x").colour}


def test_training_curves_concatenate_cycles():
    def metrics(*losses):
        return pd.DataFrame({"epoch": range(len(losses)), "loss": losses})

    figure = figures.training_curves(
        {
            "infonce_rgb": metrics(5, 4, 3),
            "cpr_rgb_cycle2": metrics(1, 0.5),
            "cpr_rgb_cycle1": metrics(None, 2),  # waits for a full queue: no loss yet
            "cpr_flow_cycle1": metrics(7),
        }
    )
    rgb, flow = figure.axes
    assert (rgb.get_title(), flow.get_title()) == ("RGB network", "Flow network")
    assert rgb.get_ylabel() == "Loss"
    assert line(rgb, "InfoNCE").get_ydata().tolist() == [5, 4, 3]
    assert line(rgb, "CPR").get_xydata().tolist() == [[1, 2], [2, 1], [3, 0.5]]


def test_recall_bars_have_one_bar_per_number():
    rows = [
        (method, view, k, 0.1 * i + 0.01 * k)
        for i, method in enumerate(["cpr", "random"])
        for view in ["both", "rgb"]
        for k in [1, 5, 10]
    ]
    figure = figures.recall_bars(pd.DataFrame(rows, columns=["method", "view", "k", "recall"]))
    rgb, both = figure.axes
    assert (rgb.get_title(), both.get_title()) == ("RGB", "Both views")
    three = [("cpr", view, 1, 0.5) for view in ("both", "depth", "flow", "rgb")]
    panels = figures.recall_bars(pd.DataFrame(three, columns=["method", "view", "k", "recall"])).axes
    assert [axes.get_title() for axes in panels] == ["RGB", "Flow", "depth", "All views"]
    assert [t.get_text() for t in rgb.get_xticklabels()] == ["1", "5", "10"]
    heights = {c.get_label(): [bar.get_height() for bar in c] for c in both.containers}
    assert heights["CPR"] == pytest.approx([1, 5, 10])
    assert heights["Random weights"] == pytest.approx([11, 15, 20])
    assert legend_texts(figure) == ["Random weights", "CPR"]


def test_clip_strip_shows_the_same_frames_of_each_view():
    flow = np.random.default_rng(0).normal(size=(7, 2, 12, 16))  # one frame less than RGB
    figure = clip_strip({"rgb": IMAGES, "flow": flow}, count=3)
    rgb, colours = figure.axes
    for axes, name in ((rgb, "RGB"), (colours, "Flow")):
        assert [text.get_text().replace("\n", " ") for text in axes.texts] == ["frame 0", "frame 3", "frame 6", name]
    assert np.array_equal(rgb.images[1].get_array(), IMAGES[3])
    coloured = flow_colour(flow)
    assert np.array_equal(colours.images[2].get_array(), coloured[6])
    levels = np.stack([flow[:, 0], flow[:, 1]], axis=-1)  # as they are stored
    stored = clip_strip({"flow": np.clip(127.5 + 40 * levels, 0, 255).astype(np.uint8)}, count=3)
    assert abs(stored.axes[0].images[2].get_array().astype(int) - coloured[6]).mean() < 12


def test_flow_colours_show_direction_and_speed():
    flow = np.zeros((2, 1, 4), np.float32)
    flow[0, 0, :2] = 5, -5  # right, left, at rest, slowly right
    flow[0, 0, 3] = 1
    colours = flow_colour(flow)
    assert colours.shape == (1, 4, 3) and colours.dtype == np.uint8
    right, left, rest, slow = colours[0].astype(int)
    assert (rest >= 254).all()
    assert right[0] > right[2] and left[2] > left[0]  # warm against cold
    assert slow.min() > right.min()  # paler


def test_saved_figures_are_small_and_reproducible_without_temporary_files(tmp_path):
    figure = figures.mining_curves({"cpr": {"rgb": mining_log(1, 2)}})
    first = save_figure(figure, tmp_path / "a", "curves", ("png", "pdf", "svg"))
    again = figures.mining_curves({"cpr": {"rgb": mining_log(1, 2)}})
    second = save_figure(again, tmp_path / "b", "curves", ("png", "pdf", "svg"))
    assert [path.name for path in first] == ["curves.png", "curves.pdf", "curves.svg"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert one.stat().st_size < 100_000
    assert len(list((tmp_path / "a").iterdir())) == 3
    assert Image.open(first[0]).size[0] == 880


def test_figures_are_not_kept_by_pyplot():
    before = plt.get_fignums()
    figures.mining_curves({"cpr": {"rgb": mining_log(1, 2)}})
    assert plt.get_fignums() == before


def test_flow_of_a_still_picture_stays_pale():
    noise = np.full((2, 4, 5), 0.01)
    assert np.array_equal(flow_colour(noise), flow_colour(100 * noise))  # relative to the fastest
    assert flow_colour(noise, least=1.0).min() > 245
    assert np.array_equal(flow_colour(100 * noise, least=1.0), flow_colour(noise))
