"""Strips of thumbnails: positions, marks, captions."""

import numpy as np
import pandas as pd

from cprlib.report.figures.strips import GAP, Strip, examples_figure, fit_captions, fitted, strips_figure

IMAGES = [np.full((6, 8, 3), shade, np.uint8) for shade in (10, 20, 30)]


def strip(*arguments):
    (axes,) = strips_figure([Strip("CPR", *arguments)], (6, 8, 3)).axes
    return axes


def test_images_are_side_by_side_and_wrong_ones_marked():
    axes = strip([*IMAGES[:2], None, IMAGES[2]], [True, False, True, True], ["a", "b", "", "c"])
    assert [im.get_extent()[0] for im in axes.images] == [0, 1 + GAP, 3 + 3 * GAP]
    assert [im.get_array()[0, 0, 0] for im in axes.images] == [10, 20, 30]
    (frame,) = [patch for patch in axes.patches if patch.get_linewidth() > 1]
    (cross,) = [line for line in axes.lines if line.get_gid() == "wrong"]
    assert frame.get_x() == 1 + GAP and frame.get_x() < cross.get_xdata()[0] < frame.get_x() + 1
    assert [text.get_text() for text in axes.texts] == ["a", "b", "", "c", "CPR"]
    assert axes.get_xlim()[1] == 5 * (1 + GAP)


def test_captions_take_two_lines_or_are_left_out():
    assert fit_captions(["Diving"], 1) == (["Diving"], 9)
    texts, size = fit_captions(["slide_ball_on_waves", "Diving"], 0.8)
    assert texts == ["slide_ball\n_on_waves", "Diving"] and size > 8
    assert fit_captions(["slide_ball_on_waves"], 0.4)[0] == []
    many = strip([*IMAGES, *[None] * 22], [True] * 25, ["slide_ball_on_waves"] * 3)
    assert [text.get_text() for text in many.texts] == ["CPR"]


def test_rows_share_one_scale_and_are_stacked():
    few, many = Strip("few", IMAGES[:1], [True], ["a"]), Strip("many", IMAGES * 3, [True] * 9)
    first, second = (axes.get_position() for axes in strips_figure([few, many], (6, 8, 3), above=1).axes)
    assert first.x0 == second.x0 and first.width == second.width and first.y0 > second.y1
    assert first.height == second.height


def test_images_of_another_shape_are_padded_with_white():
    wide = fitted(np.zeros((10, 40, 3), np.uint8), (6, 8, 3))
    assert wide.shape == (6, 8, 3) and (wide[[0, 1, 4, 5]] == 255).all() and (wide[2:4] == 0).all()
    assert fitted(IMAGES[0], (6, 8, 3)) is IMAGES[0]


def test_an_empty_strip():
    axes = strip([], [])
    assert not axes.images and not axes.patches


def test_examples_of_another_class_are_marked():
    videos = pd.DataFrame(
        {"video_id": [1, 2, 3, 4], "label": [0, 0, 1, 2], "class_name": ["Dive", "Dive", "Jump", "Walk"]}
    )
    found = {"One stage in flow": videos.iloc[[2, 1, 3]], "CPR": videos.iloc[[1]]}
    query, *strips = examples_figure(videos.iloc[0], found, lambda video: np.full((6, 8, 3), video, np.uint8)).axes
    assert query.images[0].get_array()[0, 0, 0] == 1 and query.texts[0].get_text() == "Dive"
    for axes, rows in zip(strips, found.values(), strict=True):
        assert [image.get_array()[0, 0, 0] for image in axes.images] == rows.video_id.tolist()
        wrong = [image.get_extent()[0] for image, label in zip(axes.images, rows.label, strict=True) if label != 0]
        crosses = [x for line in axes.lines if line.get_gid() == "wrong" for x in line.get_xdata()]
        assert [patch.get_x() for patch in axes.patches if patch.get_linewidth() > 1] == wrong
        assert [left < x < left + 1 for left, x in zip(wrong, crosses, strict=True)] == [True] * len(wrong)
    assert [axes.texts[-1].get_text() for axes in strips] == ["One stage\nin flow", "CPR"]
