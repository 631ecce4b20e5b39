"""Figures by class: their numbers and pictures."""

import numpy as np
import pandas as pd
import pytest

from cprlib.data.manifest import Manifest
from cprlib.report.figures.classes import MOST, best_and_worst, class_videos, cmr_bars
from tests.report.figures.test_curves import legend_texts, line


def table(found, instances, names=None):
    found, instances = np.array(found), np.array(instances)
    names = names or [f"C{i}" for i in range(len(found))]
    columns = {"label": range(len(found)), "class_name": names, "found": found, "instances": instances}
    return pd.DataFrame(columns | {"cmr": found / instances})


def widths(axes):
    return {c.get_label(): [bar.get_width() for bar in c] for c in axes.containers}


def test_bars_of_101_classes_are_in_columns():
    found = np.arange(101)
    figure = cmr_bars({"cpr": table(found, found + 5)})
    assert len(figure.axes) == 3
    names = [t.get_text() for axes in figure.axes for t in axes.get_yticklabels()]
    assert names == [f"C{i}" for i in reversed(range(101))]


def shown(figure):
    """Name, numbers and pictures of each class, from top to bottom."""
    return {axes.texts[-1].get_text(): [image.get_array()[0, 0, 0] for image in axes.images] for axes in figure.axes}


@pytest.mark.parametrize("classes", [4, 101])
def test_best_and_worst_classes_with_their_pictures(classes):
    draw = np.random.default_rng(0)
    cpr, coclr = (table(draw.permutation(classes), [classes] * classes) for _ in range(2))
    videos = {label: [label, label + 101] for label in range(classes)}
    cmr = {"cpr": cpr, "coclr": coclr}
    figure = best_and_worst(cmr, videos, lambda video: np.full((3, 4, 3), video, np.uint8))
    order, count = sorted(range(classes), key=lambda label: -cpr.cmr[label]), min(MOST, classes // 2)
    expected = {
        f"{kind}: C{i}\nCoCLR {100 * coclr.cmr[i]:.1f} %\nCPR {100 * cpr.cmr[i]:.1f} %": [i, i + 101]
        for kind, some in (("Best", order[:count]), ("Worst", order[-count:]))
        for i in some
    }
    assert shown(figure) == expected and list(shown(figure)) == list(expected)
    other = best_and_worst(cmr, videos, lambda video: np.zeros((3, 4, 3), np.uint8), method="coclr")
    named = [name.split("\n")[0] for name in shown(other)]
    assert (named[0], named[-1]) == (f"Best: C{coclr.cmr.idxmax()}", f"Worst: C{coclr.cmr.idxmin()}")


def test_no_class_is_both_best_and_worst():
    cmr = {"cpr": table([1, 2, 3], [3, 3, 3])}
    videos = {label: [label] for label in range(3)}
    found = shown(best_and_worst(cmr, videos, lambda video: np.zeros((3, 4, 3), np.uint8)))
    assert list(found) == ["Best: C2\nCPR 100.0 %", "Worst: C0\nCPR 33.3 %"]


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
