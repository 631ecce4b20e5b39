"""The figures and counts of the walkthrough, on a memory of six clips."""

import re

import torch
from matplotlib.colors import to_hex

from cprlib.data.manifest import Manifest
from cprlib.report.figures import lesson

NAMES = ["slide_ball", "slide_ball", "slide_star", "spin_ball", "spin_star", "slide_ball"]


def test_kinds_of_mined_rows_by_hand():
    mined = {"flow": torch.tensor([[1, 2], [0, 2], [4, 3], [0, 4], [3, 2], [4, 3]])}
    # of row 0: both, motion; 1: both, motion; 2: look, none; 3: look, motion; 4: motion, look; 5: none, look
    found = lesson.mined_kinds(mined, NAMES)["flow"]
    assert found.index.tolist() == ["motion and look: right (PMR)", "motion only", "look only", "neither"]
    assert found.tolist() == [16.7, 33.3, 33.3, 16.7]


def test_mean_similarity_leaves_out_self_similarity():
    x = torch.eye(6)
    x[1] = x[0]  # the only alike pair shares motion and look
    means = lesson.mean_similarity({"rgb": x}, NAMES)["rgb"]
    assert means["motion and look"] == round(2 / 6, 2)  # rows 0, 1 and 5: six ordered pairs
    assert means[["motion only", "look only", "neither"]].eq(0).all()


def test_similarities_are_written_in_their_cells():
    features = torch.tensor([[1.0, 0.0], [0.28, 0.96]])
    page = lesson.similarity_table(features, ["query", "same"], "Similarity in flow").to_html()
    assert re.findall(r">(-?\d\.\d\d)</td>", page) == ["1.00", "0.28", "0.28", "1.00"]
    assert "Similarity in flow" in page and "background-color: #000000" in page


def test_pull_draws_each_path_and_each_share():
    paths = {"Siblings alone": torch.tensor([[0.0, 0], [1, 1]]), "Cascade": torch.tensor([[0.0, 0], [2, 3]])}
    same = torch.tensor([True, False, True])
    found = {"Siblings alone": [0.2, 0.3], "Cascade": [0.2, 0.5]}
    places, shares = lesson.pull_figure(paths, torch.rand(3, 2), same, found).axes
    assert [len(part.get_offsets()) for part in places.collections] == [1, 2]
    ends = [line.get_xydata().tolist() for line in places.lines if len(line.get_xdata()) == 1]
    assert ends == [[[1, 1]], [[2, 3]], [[0, 0]]]  # where each path ends, and where all of them start
    drawn = {line.get_label(): line.get_ydata().tolist() for line in shares.lines}
    assert drawn == {"Siblings alone": [20, 30], "Cascade": [20, 50]}
    assert len({to_hex(line.get_color()) for line in shares.lines}) == 2
    assert len({line.get_linestyle() for line in shares.lines}) == 2


def test_clips_stand_side_by_side(toy_manifest):
    videos = Manifest.read(toy_manifest).split("train")
    page = lesson.side_by_side(videos, {"query": 0, "look": 30}, height=40)
    names = [f"{name}: {videos.table.class_name[row]}" for name, row in (("query", 0), ("look", 30))]
    assert page.count("<picture>") == 2 and all(name in page for name in names)
