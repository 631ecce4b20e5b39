"""Strips of thumbnails: what stands where, which marks, which captions."""

import numpy as np

from cprlib.report.figures.strips import GAP, draw_strip, fit_captions, fitted
from cprlib.report.figures.style import new_figure

IMAGES = [np.full((6, 8, 3), shade, np.uint8) for shade in (10, 20, 30)]


def strip(*arguments, **keywords):
    axes = new_figure(8, 1).add_axes((0, 0.2, 1, 0.8))
    draw_strip(axes, *arguments, **keywords)
    return axes


def test_images_stand_side_by_side_and_wrong_ones_are_marked():
    axes = strip(IMAGES, [True, False, True], ["a", "b", "c"], slots=5)
    assert [im.get_extent()[0] for im in axes.images] == [0, 1 + GAP, 2 + 2 * GAP]
    assert [im.get_array()[0, 0, 0] for im in axes.images] == [10, 20, 30]
    (frame,) = axes.patches
    (cross,) = [line for line in axes.lines if line.get_gid() == "wrong"]
    assert frame.get_x() == 1 + GAP and frame.get_x() < cross.get_xdata()[0] < frame.get_x() + 1
    assert [text.get_text() for text in axes.texts] == ["a", "b", "c"]
    assert axes.get_xlim()[1] == 5 * (1 + GAP)


def test_captions_take_two_lines_or_are_left_out():
    assert fit_captions(["Diving"], 1) == (["Diving"], 9)
    texts, size = fit_captions(["slide_ball_on_waves", "Diving"], 0.8)
    assert texts == ["slide_ball\n_on_waves", "Diving"] and size > 8
    assert fit_captions(["slide_ball_on_waves"], 0.4)[0] == []
    assert not strip(IMAGES, [True] * 3, ["slide_ball_on_waves"] * 3, slots=25).texts


def test_images_of_another_shape_are_fitted_with_white():
    wide = fitted(np.zeros((10, 40, 3), np.uint8), (6, 8, 3))
    assert wide.shape == (6, 8, 3) and (wide[[0, 1, 4, 5]] == 255).all() and (wide[2:4] == 0).all()
    assert fitted(IMAGES[0], (6, 8, 3)) is IMAGES[0]


def test_an_empty_strip():
    axes = strip([], [], slots=3)
    assert not axes.images and not axes.patches
