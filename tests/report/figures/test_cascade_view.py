"""The cascade of one query: rows, shares and pictures, against loops over all rows."""

import numpy as np
import pytest
import torch

from cprlib.cascade import Stage, plan_stages
from cprlib.report.figures import cascade_view
from cprlib.report.figures.cascade_view import (
    KEPT,
    REMOVED,
    cascade_diagram,
    cascade_figure,
    trace,
    typical_query,
)
from cprlib.training.snapshots import Memory

NAMES = ["Dive", "JumpRope", "Walk"]


def random_memory(size=40, seed=0):
    """Three classes, four recordings each, two clips of each video."""
    draw = torch.Generator().manual_seed(seed)
    features = {v: torch.nn.functional.normalize(torch.randn(size, 8, generator=draw)) for v in ("flow", "rgb")}
    video = torch.arange(size) // 2
    return Memory(features, video, video % 12, video % 3)


def picture(video_id):
    return np.full((6, 8, 3), video_id, np.uint8)


def flow_picture(video_id):
    return np.full((6, 8, 3), 100 + video_id, np.uint8)


def slow_rows(memory, stages, query):
    """The rows left after each stage, by sorting lists."""
    rows = [[row for row in range(len(memory.label)) if memory.source_id[row] != memory.source_id[query]]]
    for view, keep in stages:
        scores = {row: float(memory.features[view][row] @ memory.features[view][query]) for row in rows[-1]}
        rows.append(sorted(rows[-1], key=lambda row: -scores[row])[:keep])
    return rows


def slow_pmr(memory, stages):
    found = [slow_rows(memory, stages, query)[-1] for query in range(len(memory.label))]
    return np.mean([np.mean([memory.label[r] == memory.label[q] for r in rows]) for q, rows in enumerate(found)])


def test_trace_equals_a_loop_over_all_rows():
    memory, stages = random_memory(), plan_stages(40, num_stages=3, top_k=4)
    found = trace(memory, stages, 7)
    assert [rows.tolist() for rows in found.rows] == slow_rows(memory, stages, 7)
    for rows, correct in zip(found.rows, found.correct, strict=True):
        assert correct.tolist() == [bool(memory.label[row] == memory.label[7]) for row in rows]
    assert found.pmr == pytest.approx(slow_pmr(memory, stages)) and found.queries == 40


def test_a_stage_that_keeps_more_than_the_allowed_rows_shows_no_forbidden_row():
    memory = random_memory()._replace(source_id=torch.tensor([0] * 38 + [1, 2]))
    found = trace(memory, [Stage("flow", 20), Stage("rgb", 5)], 0)
    assert [sorted(rows.tolist()) for rows in found.rows] == [[38, 39]] * 3
    alone = memory._replace(source_id=torch.zeros(40, dtype=torch.long))
    assert np.isnan(trace(alone, [Stage("flow", 5)], 0).pmr) and not len(trace(alone, [Stage("flow", 5)], 0).rows[0])
    with pytest.raises(ValueError, match="one recording"):
        typical_query(alone, [Stage("flow", 5)])


def test_large_memories_are_measured_on_evenly_spaced_rows(monkeypatch):
    memory, stages = random_memory(), plan_stages(40, num_stages=2, top_k=4)
    monkeypatch.setattr(cascade_view, "SIMILARITIES", 40 * 4)
    found = [slow_rows(memory, stages, query)[-1] for query in (0, 13, 26, 39)]
    shares = [
        np.mean([memory.label[r] == memory.label[q] for r in f]) for q, f in zip((0, 13, 26, 39), found, strict=True)
    ]
    found = trace(memory, stages, 5)
    assert found.pmr == pytest.approx(np.mean(shares)) and found.queries == 4
    assert "PMR of 4 queries" in cascade_figure(memory, stages, 5, NAMES, picture).texts[0].get_text()


def test_a_typical_query_has_the_median_pmr():
    memory, stages = random_memory(), plan_stages(40, num_stages=3, top_k=4)
    shares = [float(trace(memory, stages, query).correct[-1].float().mean()) for query in range(40)]
    median = sorted(shares)[19]
    drawn = {typical_query(memory, stages, seed) for seed in range(20)}
    assert {shares[query] for query in drawn} == {median} and len(drawn) > 1
    assert typical_query(memory, stages, 3) == typical_query(memory, stages, 3)


def framed(axes):
    """Positions with the red frame of another class."""
    return [patch.get_x() for patch in axes.patches if patch.get_linewidth() > 1]


def marks(axes):
    return sum(len(line.get_xdata()) for line in axes.lines if line.get_gid() == "wrong")


def pixels(axes):
    return [int(image.get_array().ravel()[0]) for image in axes.images]


def test_cascade_figure_shows_the_funnel_and_both_strips(monkeypatch):
    monkeypatch.setattr(cascade_view, "SHOWN", 3)
    memory, stages = random_memory(), plan_stages(40, num_stages=3, top_k=4)
    figure = cascade_figure(memory, stages, 7, NAMES, picture)
    mined, single, funnel, query = figure.axes
    found, one = trace(memory, stages, 7), trace(memory, [Stage("flow", 4)], 7)
    counts, hits = [len(rows) for rows in found.rows], [int(c.sum()) for c in found.correct]
    assert [t.get_text() for t in funnel.get_yticklabels()] == ["Memory", "1 · Flow", "2 · RGB", "3 · Flow"]
    expected = [f"{n} rows, {h} true: {100 * h / n:.0f} %" for n, h in zip(counts, hits, strict=True)]
    assert [text.get_text() for text in funnel.texts] == expected
    whole, true = ([bar.get_width() for bar in bars] for bars in funnel.containers)
    assert whole == pytest.approx(np.log2(np.array(counts) + 1))
    assert np.divide(true, whole) == pytest.approx([h / n for n, h in zip(counts, hits, strict=True)])
    assert funnel.containers[1][0].get_hatch() and not funnel.containers[0][0].get_hatch()
    assert pixels(query) == [3] and query.get_title() == "Query: Dive"
    for axes, result, name in ((mined, found, "This cascade"), (single, one, "One stage,\nflow")):
        assert pixels(axes) == memory.video_id[result.rows[-1][:3]].tolist()
        assert marks(axes) == len(framed(axes)) == int((~result.correct[-1][:3]).sum())
        *captions, words = [text.get_text() for text in axes.texts]
        assert captions == [NAMES[int(memory.label[row])] for row in result.rows[-1][:3]]
        assert words == f"{name}\n{int(result.correct[-1].sum())} of 4 true\nPMR {100 * result.pmr:.1f} %"
    texts = [text.get_text() for text in figure.texts]
    assert texts == [f"PMR of 40 queries: {100 * found.pmr:.1f} %", "Flow 20 → RGB 10 → Flow 4"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_query_stands_above_the_strips(count):
    *strips, funnel, query = cascade_figure(random_memory(), plan_stages(40, num_stages=count), 7, NAMES, picture).axes
    lowest = min(axes.get_position().y0 for axes in (funnel, query))
    assert len(strips) == 2 and lowest > max(axes.get_position().y1 for axes in strips)


def test_cascade_figure_of_a_query_without_candidates():
    memory = random_memory()._replace(source_id=torch.zeros(40, dtype=torch.long))
    figure = cascade_figure(memory, plan_stages(40, num_stages=2), 0, NAMES, picture)
    assert figure.axes[2].texts[0].get_text() == "0 rows, 0 true: 0 %" and not figure.axes[0].images
    assert figure.texts[0].get_text() == "PMR of 40 queries: –"


def test_cascade_diagram_shows_what_each_stage_keeps_and_removes():
    memory, stages = random_memory(), plan_stages(40, num_stages=2, top_k=4)
    query, first, second, mined = cascade_diagram(memory, stages, 7, NAMES, picture, flow_picture).axes
    rows = slow_rows(memory, stages, 7)

    def distinct(some):
        return list(dict.fromkeys(int(memory.video_id[row]) for row in some))

    assert pixels(query) == [3, 103]  # in RGB, then in flow
    kept = distinct(rows[1])
    assert pixels(first)[:KEPT] == [100 + kept[i] for i in np.linspace(0, len(kept) - 1, KEPT).astype(int)]
    rgb, flow = memory.features["rgb"] @ memory.features["rgb"][7], memory.features["flow"] @ memory.features["flow"][7]
    removed = distinct(sorted(set(rows[0]) - set(rows[1]), key=lambda row: -rgb[row]))[:REMOVED]
    assert pixels(first)[KEPT:] == [int(255 - 0.4 * (255 - (100 + video))) for video in removed]
    removed = distinct(sorted(set(rows[1]) - set(rows[2]), key=lambda row: -flow[row]))[:REMOVED]
    assert pixels(second)[-REMOVED:] == [int(255 - 0.4 * (255 - video)) for video in removed]
    assert pixels(mined) == [int(memory.video_id[row]) for row in rows[2]]
    true = sum(int(memory.label[row] == memory.label[7]) for row in rows[2])
    words = [axes.texts[0].get_text() for axes in (query, first, second, mined)]
    assert words[0] == "Query\nDive" and words[1].startswith("1 · Flow\n20 rows, ")
    assert words[2:] == [f"{name}\n4 rows, {true} true: {25 * true} %" for name in ("2 · RGB", "Mined")]
    assert marks(mined) == len(framed(mined)) == 4 - true and not marks(query)
    crossed = framed(second)
    wrong = [memory.label[2 * video] != memory.label[7] for video in removed]
    assert len([x for x in crossed if x > KEPT]) == sum(wrong)


def test_cascade_diagram_leaves_out_the_middle_of_many_stages():
    memory, stages = random_memory(), plan_stages(40, num_stages=9, ratio=0.8, top_k=4)
    figure = cascade_diagram(memory, stages, 7, NAMES, picture, flow_picture)
    names = [axes.texts[0].get_text().split("\n")[0] for axes in figure.axes]
    assert names[1:-1] == [f"{n} · {'Flow' if n % 2 else 'RGB'}" for n in (1, 2, 3, 4, 7, 8, 9)]
