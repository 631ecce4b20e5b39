"""Names from data are text: figures draw them literally, pages escape them. Labels and order of methods and views."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text

from cprlib.cascade import plan_stages
from cprlib.report.explorers.widgets import figure_html
from cprlib.report.figures.cascade_view import cascade_diagram, cascade_figure
from cprlib.report.figures.classes import best_and_worst, cmr_bars, confusion_figure
from cprlib.report.figures.embedding import embedding_html
from cprlib.report.figures.flow_view import looping_clip
from cprlib.report.figures.strips import examples_figure
from cprlib.report.names import method_look, method_order, view_label, view_order
from cprlib.training.snapshots import Memory

NAMES = ["$a_$", "50% & <b>", "_x^{"]  # the first and the last would be broken formulas


def picture(video):
    return np.full((30, 40, 3), video, np.uint8)


def figures():
    rows = torch.nn.functional.normalize(torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    number = torch.arange(12)
    memory, stages = Memory({"flow": rows, "rgb": -rows}, number, number, number % 3), plan_stages(12, num_stages=2)
    table = pd.DataFrame({"label": range(3), "class_name": NAMES, "found": [1, 2, 3], "instances": 3, "cmr": 0.5})
    videos = table.assign(video_id=range(3))
    yield cmr_bars({"cpr": table}, NAMES[0])
    yield best_and_worst({"cpr": table}, {label: [label] for label in range(3)}, picture)
    yield confusion_figure(pd.DataFrame(np.eye(3), NAMES, NAMES), NAMES[0])
    yield examples_figure(videos.iloc[0], {NAMES[0]: videos}, picture)
    yield from (cascade_figure(memory, stages, query, NAMES, picture) for query in range(3))
    yield from (cascade_diagram(memory, stages, query, NAMES, picture, picture) for query in range(3))


@pytest.mark.parametrize("number", range(10))
def test_names_are_not_parsed_as_formulas(number):
    figure = list(figures())[number]
    figure.savefig(io.BytesIO(), format="svg")  # a broken formula would be an error
    named = [text for text in figure.findobj(Text) if any(name in text.get_text() for name in NAMES)]
    assert named and not any(text.get_parse_math() for text in named)


def test_pages_escape_names():
    memory = Memory({}, *[torch.arange(3)] * 3)
    clip = {"rgb": np.zeros((2, 8, 8, 3), np.uint8)}
    pages = [embedding_html(np.eye(3)[:, :2], memory, NAMES, {}, title=NAMES[1]), looping_clip(clip, name=NAMES[1])]
    pages.append(figure_html(confusion_figure(pd.DataFrame(np.eye(3), NAMES, NAMES), NAMES[1])))
    for page in pages:
        assert "50% &amp; &lt;b&gt;" in page and "<b>" not in page


def test_order_and_labels_of_unknown_methods_and_views():
    assert sorted(["mine", "cpr", "random", "also_mine"], key=method_order) == ["random", "cpr", "also_mine", "mine"]
    assert sorted(["both", "depth", "flow", "rgb"], key=view_order) == ["rgb", "flow", "depth", "both"]
    assert (method_look("mine").label, method_look("mine").colour) == ("mine", "#009e73")
    assert view_label("depth") == "depth" and view_label("both", ["rgb", "flow", "both"]) == "Both views"
