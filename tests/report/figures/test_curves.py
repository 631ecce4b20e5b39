"""What is drawn: numbers of bars and images, labels, marks; not how it looks."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from PIL import Image

from cprlib.report.figures import curves as figures
from cprlib.report.figures.style import WRONG, method_style

IMAGES = np.arange(8 * 12 * 16 * 3, dtype=np.uint8).reshape(8, 12, 16, 3)


def mining_log(*hits_by_epoch):
    """A log with one query of four mined rows an epoch, the first `hits` of them right."""
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


def test_mining_curves_draw_both_measures_of_each_network():
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


def test_methods_differ_without_colour():
    styles = [method_style(m) for m in ("random", "infonce", "coclr", "cpr", "ubernce")]
    assert len({s.line for s in styles}) == len({s.marker for s in styles}) == 5
    bars = [(s.hatch, s.colour == "#cccccc") for s in styles]  # random: pale; cpr: no hatch
    assert len(set(bars)) == 5


def test_training_curves_put_cycles_one_after_the_other():
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


def test_recall_bars_have_a_bar_for_each_number():
    rows = [
        (method, view, k, 0.1 * i + 0.01 * k)
        for i, method in enumerate(["cpr", "random"])
        for view in ["both", "rgb"]
        for k in [1, 5, 10]
    ]
    figure = figures.recall_bars(pd.DataFrame(rows, columns=["method", "view", "k", "recall"]))
    rgb, both = figure.axes
    assert (rgb.get_title(), both.get_title()) == ("RGB", "Both views")
    assert [t.get_text() for t in rgb.get_xticklabels()] == ["1", "5", "10"]
    heights = {c.get_label(): [bar.get_height() for bar in c] for c in both.containers}
    assert heights["CPR"] == pytest.approx([1, 5, 10])
    assert heights["Random weights"] == pytest.approx([11, 15, 20])
    assert legend_texts(figure) == ["Random weights", "CPR"]


def drawn(axes):
    """Images of a strip, left to right, with what stands under each and whether it is marked as wrong."""
    captions = [text.get_text().replace("\n", "") for text in axes.texts[:-1]] or [""] * len(axes.images)
    crosses = [x for artist in axes.lines if artist.get_gid() == "wrong" for x in artist.get_xdata()]
    frames = [patch.get_x() for patch in axes.patches]  # red
    assert all(to_hex(patch.get_edgecolor()) == WRONG for patch in axes.patches)
    marked = [any(image.get_extent()[0] < x < image.get_extent()[1] for x in crosses) for image in axes.images]
    assert marked == [image.get_extent()[0] in frames for image in axes.images]
    return [image.get_array() for image in axes.images], captions, marked


def test_mined_strip_marks_the_wrong_ones():
    mined = {"coclr": IMAGES[1:4], "cpr": IMAGES[4:6]}
    correct = {"coclr": [True, False, False], "cpr": [True, True]}
    titles = {"coclr": ["Dive", "Jump", "Walk"], "cpr": ["Dive", "Dive"]}
    query, *rows = figures.mined_strip(IMAGES[0], mined, correct, titles, "Dive").axes
    assert np.array_equal(query.images[0].get_array(), IMAGES[0]) and query.texts[0].get_text() == "Dive"
    for axes, method in zip(rows, mined, strict=True):
        images, captions, marked = drawn(axes)
        assert np.array_equal(images, mined[method]) and captions == titles[method]
        assert marked == [not right for right in correct[method]]
    assert [axes.texts[-1].get_text() for axes in rows] == ["CoCLR", "CPR"]


def test_mined_strip_takes_clips_and_refuses_missing_flags():
    figure = figures.mined_strip(IMAGES[:3], {"cpr": [IMAGES[3:6]]}, {"cpr": [False]})
    assert np.array_equal(figure.axes[0].images[0].get_array(), IMAGES[1])
    assert np.array_equal(figure.axes[1].images[0].get_array(), IMAGES[4])
    with pytest.raises(ValueError, match="zip"):
        figures.mined_strip(IMAGES[0], {"cpr": IMAGES[:2]}, {"cpr": [True]})


def test_neighbour_strip_names_the_views():
    neighbours = {"rgb": IMAGES[1:3], "flow": IMAGES[3:5], "both": IMAGES[5:7]}
    correct = {"rgb": [True, False], "flow": [False, True], "both": [True, True]}
    _, *rows = figures.neighbour_strip(IMAGES[0], neighbours, correct).axes
    assert [drawn(axes)[2] for axes in rows] == [[False, True], [True, False], [False, False]]
    assert [axes.texts[-1].get_text() for axes in rows] == ["RGB", "Flow", "Both views"]


def test_clip_strip_shows_the_same_frames_of_each_view():
    flow = np.random.default_rng(0).normal(size=(7, 2, 12, 16))  # one frame less than RGB
    figure = figures.clip_strip({"rgb": IMAGES, "flow": flow}, count=3)
    assert [axes.get_title() for axes in figure.axes] == [
        "frame 0",
        "frame 3",
        "frame 6",
        "",
        "",
        "",
    ]
    assert np.array_equal(figure.axes[1].images[0].get_array(), IMAGES[3])
    coloured = figures.flow_colour(flow)
    assert np.array_equal(figure.axes[5].images[0].get_array(), coloured[6])
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == ["RGB", "Flow"]


def test_flow_colours_tell_directions_and_rest():
    flow = np.zeros((2, 1, 4), np.float32)
    flow[0, 0, :2] = 5, -5  # right, left, at rest, slowly right
    flow[0, 0, 3] = 1
    colours = figures.flow_colour(flow)
    assert colours.shape == (1, 4, 3) and colours.dtype == np.uint8
    right, left, rest, slow = colours[0].astype(int)
    assert (rest >= 254).all()
    assert right[0] > right[2] and left[2] > left[0]  # warm against cold
    assert slow.min() > right.min()  # paler


def test_saved_files_are_small_the_same_every_time_and_leave_nothing_behind(tmp_path):
    figure = figures.mining_curves({"cpr": {"rgb": mining_log(1, 2)}})
    first = figures.save_figure(figure, tmp_path / "a", "curves", ("png", "pdf", "svg"))
    again = figures.mining_curves({"cpr": {"rgb": mining_log(1, 2)}})
    second = figures.save_figure(again, tmp_path / "b", "curves", ("png", "pdf", "svg"))
    assert [path.name for path in first] == ["curves.png", "curves.pdf", "curves.svg"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert one.stat().st_size < 100_000
    assert len(list((tmp_path / "a").iterdir())) == 3
    assert Image.open(first[0]).size[0] == 880
    with pytest.raises(ValueError, match="gif.*curves.*png, pdf, svg"):
        figures.save_figure(figure, tmp_path, "curves", ("gif",))


def test_figures_are_not_kept_by_pyplot():
    before = plt.get_fignums()
    figures.mining_curves({"cpr": {"rgb": mining_log(1, 2)}})
    assert plt.get_fignums() == before


def test_flow_of_a_still_picture_stays_pale():
    noise = np.full((2, 4, 5), 0.01)
    assert np.array_equal(figures.flow_colour(noise), figures.flow_colour(100 * noise))  # relative to the fastest
    assert figures.flow_colour(noise, least=1.0).min() > 245
    assert np.array_equal(figures.flow_colour(100 * noise, least=1.0), figures.flow_colour(noise))
