"""Figures by class: numbers and pictures that are drawn."""

import numpy as np
import pandas as pd
import pytest

from cprlib.data.manifest import Manifest
from cprlib.report.figures.classes import best_and_worst, class_videos, cmr_bars, found_bars
from tests.report.figures.test_curves import legend_texts, line


def table(found, instances, names=None):
    found, instances = np.array(found), np.array(instances)
    names = names or [f"C{i}" for i in range(len(found))]
    columns = {"label": range(len(found)), "class_name": names, "found": found, "instances": instances}
    return pd.DataFrame(columns | {"cmr": found / instances})


def widths(axes):
    return {c.get_label(): [bar.get_width() for bar in c] for c in axes.containers}


def test_found_bars_stand_within_the_outline_of_all_instances():
    (axes,) = found_bars({"cpr": table([3, 5, 4], [8, 6, 7]), "coclr": table([2, 1, 7], [8, 6, 7])}, "RGB network").axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["C1", "C2", "C0"]  # by CPR
    assert widths(axes) == {"CoCLR": [1, 7, 2], "CPR": [5, 4, 3], "Training videos": [6, 7, 8]}
    outline = axes.containers[-1][0]
    assert outline.get_facecolor()[3] == 0 and outline.get_edgecolor()[3] == 1
    assert axes.yaxis_inverted() and axes.figure.get_suptitle() == "RGB network"


def test_found_bars_of_101_classes_fall_into_columns():
    found = np.arange(101)
    figure = found_bars({"cpr": table(found, found + 5)})
    assert len(figure.axes) == 3
    names = [t.get_text() for axes in figure.axes for t in axes.get_yticklabels()]
    assert names == [f"C{i}" for i in reversed(range(101))]


def shown(figure):
    """Class -> its numbers and the pictures beside it, from top to bottom."""
    panels = sorted(figure.axes, key=lambda axes: (-axes.get_position().y0, axes.get_position().x0))
    found = {}
    for bars, strip in zip(panels[::2], panels[1::2], strict=True):
        pictures = [image.get_array()[0, 0, 0] for image in strip.images]
        found[bars.get_title("left")] = [text.get_text() for text in bars.texts], pictures
    return found


@pytest.mark.parametrize("classes", [4, 101])
def test_best_and_worst_classes_with_their_pictures(classes):
    draw = np.random.default_rng(0)
    cpr, coclr = (table(draw.permutation(classes), [classes] * classes) for _ in range(2))
    videos = {label: [label, label + 101] for label in range(classes)}
    cmr = {"cpr": cpr, "coclr": coclr}
    figure = best_and_worst(cmr, videos, lambda video: np.full((3, 4, 3), video, np.uint8), count=2)
    order = sorted(range(classes), key=lambda label: -cpr.cmr[label])
    expected = {
        f"C{i}": ([f"{100 * coclr.cmr[i]:.1f} %", f"{100 * cpr.cmr[i]:.1f} %"], [i, i + 101])
        for i in order[:2] + order[-2:]
    }
    assert shown(figure) == expected and list(shown(figure)) == list(expected)
    assert [text.get_text() for text in figure.texts] == ["Best classes of CPR", "Worst classes of CPR"]
    other = best_and_worst(cmr, videos, lambda video: np.zeros((3, 4, 3), np.uint8), method="coclr", count=1)
    assert list(shown(other)) == [f"C{coclr.cmr.idxmax()}", f"C{coclr.cmr.idxmin()}"]


def test_no_class_is_both_best_and_worst():
    cmr = {"cpr": table([1, 2, 3], [3, 3, 3])}
    videos = {label: [label] for label in range(3)}
    assert list(shown(best_and_worst(cmr, videos, lambda video: np.zeros((3, 4, 3), np.uint8)))) == ["C2", "C0"]


def test_class_videos_come_from_different_recordings_of_the_training_split(toy_manifest):
    manifest = Manifest.read(toy_manifest)
    videos = class_videos(manifest, 2)
    rows = manifest.table.set_index("video_id")
    assert set(videos) == set(rows.label)
    for label, ids in videos.items():
        assert len(ids) == 2 and rows.source_id[ids].nunique() == 2
        assert (rows.label[ids] == label).all() and (rows.split[ids] == "train").all()


def test_cmr_bars_are_sorted_and_show_the_median():
    tables = {"cpr": table([2, 4, 0], [4] * 3, list("ABC")), "coclr": table([1, 2, 3], [4] * 3, list("ABC"))}
    figure = cmr_bars(tables, "RGB network")
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["B", "A", "C"]  # by CPR
    assert widths(axes) == {"CoCLR": [50, 25, 75], "CPR": [100, 50, 0]}
    assert line(axes, "Median CPR: 50.0 %").get_xdata() == [50, 50]
    assert axes.yaxis_inverted()  # the best class on top
    assert figure.get_suptitle() == "RGB network"
    assert set(legend_texts(figure)) == {"CoCLR", "CPR", "Median CoCLR: 50.0 %", "Median CPR: 50.0 %"}
