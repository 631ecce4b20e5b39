"""Tables and figures of an ablation, from numbers that can be computed by hand."""

import numpy as np
import pandas as pd
import pytest

from cprlib.report.figures.curves import ablation_curves
from cprlib.report.tables import ablation
from cprlib.report.tables.published import paper_table
from cprlib.report.tables.text import to_markdown

BASE = {"num_stages": 7, "ratio": 0.5, "top_k": 5, "anchor": "paper", "cycles": 1, "K": 320}
POINTS = [{"num_stages": n} for n in (1, 3, 5, 7)] + [{"num_stages": n, "ratio": 0.8} for n in (5, 7)]
OTHERS = [{"top_k": 10}, {"top_k": 1}, {"anchor": "released"}]
SEEDS = (-0.02, 0, 0.02)  # added to every measure; their standard deviation is 0.02


def value(point, view):
    """0.40, plus 0.01 per stage, minus 0.03 at ratio 0.8, plus 0.1 in flow, plus 0.01 per top_k."""
    height = 0.4 + 0.01 * point["num_stages"] + 0.01 * point["top_k"]
    return height - 0.03 * (point["ratio"] == 0.8) + 0.1 * (view == "flow")


def make_ablation(changes=(*POINTS, *OTHERS)):
    rows = []
    for change in changes:
        point = BASE | change
        name = " ".join(f"{setting}={value}" for setting, value in point.items())
        for seed, shift in enumerate(SEEDS):
            for view in ("rgb", "flow", "both"):
                number = value(point, view) + shift
                measures = {"pmr_end": np.nan if view == "both" else number, "r1": number}
                rows.append({"point": name, **point, "view": view, "seed": seed, **measures})
    return pd.DataFrame(rows)


def lines(axes):
    return {c.get_label(): (c.lines[0].get_xdata(), c.lines[0].get_ydata()) for c in axes.containers}


def error_lengths(container):
    return [segment[1, 1] - segment[0, 1] for segment in container.lines[2][0].get_segments()]


def test_summary_is_mean_and_spread_of_each_point_and_view():
    summary = ablation.ablation_summary(make_ablation())
    assert summary["view"].tolist()[:4] == ["rgb", "flow", "both", "rgb"]
    assert summary["num_stages"].tolist()[::3] == [1, 3, 5, 7, 5, 7, 7, 7, 7]
    assert (summary["runs"] == 3).all()
    first = summary.iloc[1]
    assert (first["pmr_end"], first["pmr_end_std"], first["r1"]) == pytest.approx((0.56, 0.02, 0.56))
    assert summary.loc[2, ["pmr_end", "pmr_end_std"]].isna().all()


def test_words():
    words = ablation.ablation_words(ablation.ablation_summary(make_ablation(POINTS[:2])))
    assert list(words) == ["Point", "View", "Runs", "PMR", "R@1"]
    name = "num_stages=1 ratio=0.5 top_k=5 anchor=paper cycles=1 K=320"
    assert words.iloc[0].tolist() == [name, "RGB", "3", "46.0 ± 2.0", "46.0 ± 2.0"]
    assert words.iloc[2].tolist()[1:] == ["Both views", "3", "–", "46.0 ± 2.0"]
    assert [cell[-1] for cell in to_markdown(words).splitlines()[1].strip("|").split("|")] == list("--:::")
    one = make_ablation(POINTS[:1]).query("seed == 1")
    assert ablation.ablation_words(ablation.ablation_summary(one))["PMR"].tolist() == ["46.0", "56.0", "–"]


def test_sweep_is_the_largest_group_that_differs_in_one_setting():
    frame = make_ablation()
    assert set(ablation.sweep(frame, "num_stages", "ratio")["point"]) == set(make_ablation(POINTS)["point"])
    assert set(ablation.sweep(frame, "top_k")["top_k"]) == {1, 5, 10}
    assert (ablation.sweep(frame, "top_k")["num_stages"] == 7).all()
    assert (ablation.sweep(frame, "num_stages")["ratio"] == 0.5).all()
    with pytest.raises(ValueError, match="can be drawn at .*: pass the rows of one of them"):
        ablation.sweep(make_ablation([{}, {"cycles": 2}]), "num_stages", "ratio")


def test_curves_draw_the_means_over_seeds():
    figure = ablation_curves(make_ablation())
    assert [axes.get_title() for axes in figure.axes] == ["RGB", "Flow"]  # "both" has no mining
    for axes, view in zip(figure.axes, ("rgb", "flow"), strict=True):
        drawn = lines(axes)
        assert list(drawn) == ["Ratio 0.5", "Ratio 0.8"]
        for ratio, stages in ((0.5, [1, 3, 5, 7]), (0.8, [1, 5, 7])):
            x, y = drawn[f"Ratio {ratio}"]
            assert [[1, 3, 5, 7][int(place)] for place in np.round(x.astype(float))] == stages
            # one stage has no ratio, so it belongs to both lines
            points = [BASE | {"num_stages": n, "ratio": ratio if n > 1 else 0.5} for n in stages]
            assert y == pytest.approx([100 * value(point, view) for point in points])
        assert error_lengths(axes.containers[0]) == pytest.approx([4] * 4)  # ± one standard deviation
        assert [label.get_text() for label in axes.get_xticklabels()] == ["1\n(CoCLR)", "3", "5", "7"]
        assert axes.get_xlabel() == "Number of stages"
    assert figure.axes[0].get_ylabel() == "PMR (%)"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Ratio 0.5", "Ratio 0.8"]
    looks = [container.lines[0] for container in figure.axes[0].containers]
    assert len({line.get_linestyle() for line in looks}) == len({line.get_marker() for line in looks}) == 2  # in grey


def test_curves_of_another_measure_have_a_panel_for_both_views():
    figure = ablation_curves(make_ablation(), "r1")
    assert [axes.get_title() for axes in figure.axes] == ["RGB", "Flow", "Both views"]
    assert figure.axes[0].get_ylabel() == "R@1 (%)"
    alone = ablation_curves(make_ablation(POINTS[:1]).query("seed == 0"))  # one point, one seed
    assert lines(alone.axes[0])["Ratio 0.5"][1].tolist() == pytest.approx([44])


def test_curves_of_another_setting():
    frame = make_ablation()
    figure = ablation_curves(frame, "r1", "top_k")
    assert [axes.get_title() for axes in figure.axes] == ["RGB", "Flow", "Both views"]
    for axes, view in zip(figure.axes, ("rgb", "flow", "both"), strict=True):
        assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "5", "10"]
        (x, y), *others = lines(axes).values()
        assert x == pytest.approx([0, 1, 2]) and not others and axes.get_xlabel() == "Top k"
        assert y == pytest.approx([100 * value(BASE | {"top_k": k}, view) for k in (1, 5, 10)])
        assert error_lengths(axes.containers[0]) == pytest.approx([4] * 3)
    anchors = ablation_curves(frame, setting="anchor").axes[0]
    assert [label.get_text() for label in anchors.get_xticklabels()] == ["paper", "released"]


def test_results_for_the_papers_tables():
    ours = ablation.ablation_results(make_ablation(), "built-in", "built-in", "tiny")
    table = paper_table(1, ours).query("View == 'Flow'")
    assert table["Stages"].tolist() == ["1", "3", "5", "7"]
    assert table["PMR end, built-in (ours, tiny)"].tolist() == [f"{v}.0 ± 2.0" for v in (56, 58, 60, 62)]
    table = paper_table(2, ours).query("View == 'RGB'")
    assert list(zip(table["Stages"], table["Ratio"], strict=True)) == [(s, r) for s in "57" for r in ("0.5", "0.8")]
    assert table["R@1, built-in (ours, tiny)"].str[:4].tolist() == ["50.0", "47.0", "52.0", "49.0"]


def test_a_duplicate_seed_is_refused():
    with pytest.raises(ValueError, match="view rgb, seed 0 is there twice"):
        ablation.ablation_summary(pd.concat([make_ablation()] * 2))
