"""Chance levels against simulations and values computed by hand."""

import numpy as np
import pandas as pd
import pytest

from cprlib.data.manifest import Manifest
from cprlib.evaluation.chance import chance_cmr, chance_pmr, chance_recall, interval, is_better
from cprlib.report.tables.notes import notes


def manifest_of(sources, labels):
    count = len(labels)
    about = {"video_id": range(count), "path": [f"/v/{i}.mp4" for i in range(count)], "label": labels}
    about |= {"class_name": [f"c{label}" for label in labels], "source_id": sources, "split": "train"}
    about |= {"num_frames": 9, "width": 9, "height": 9, "fps": 9.0, "flow_path": "", "reader": "pyav"}
    return Manifest(pd.DataFrame(about)).validate()


def test_recall_of_a_random_order_equals_a_simulation():
    rng = np.random.default_rng(0)
    gallery, query = np.repeat([0, 1, 2], [2, 5, 13]), np.array([0, 1, 2, 2])
    hits = [(rng.permutation(gallery)[:3] == label).any() for _ in range(4000) for label in query]
    assert chance_recall(query, gallery, 3) == pytest.approx(np.mean(hits), abs=0.01)
    assert chance_recall([0], gallery, 19) == 1.0  # 18 others


def test_chance_pmr_leaves_out_siblings():
    """12 videos of 3 classes, recordings of one class each: less than 1 in 3 of the other rows have the class."""
    labels = [0] * 4 + [1] * 4 + [2] * 4
    alone = manifest_of([str(i) for i in range(12)], labels)
    assert chance_pmr(alone) == pytest.approx(3 / 11)
    pairs = manifest_of([str(i // 2) for i in range(12)], labels)
    assert chance_pmr(pairs) == pytest.approx(2 / 10)
    persons = manifest_of([str(i % 4) for i in range(12)], labels)  # a recording spans all classes
    assert chance_pmr(persons) == pytest.approx(3 / 9)


def test_chance_cmr_grows_with_top_k():
    videos = manifest_of([str(i // 2) for i in range(12)], [0] * 4 + [1] * 4 + [2] * 4)
    few, many = (chance_cmr(videos, k) for k in (1, 5))
    assert (few < many).all() and few.between(0, 1).all()
    assert chance_cmr(videos, 1, "video_id").iloc[0] == pytest.approx(1 - (1 - 1 / 11) ** 2)  # two others mine
    assert few.iloc[0] == pytest.approx(1 - (1 - 1 / 11) ** 4)  # for one of two videos


def test_interval_and_comparison():
    assert interval(0.0, 10)[0] == pytest.approx(0, abs=1e-9) and interval(1.0, 10)[1] == pytest.approx(1)
    low, high = interval(0.3, 216)
    assert low < 0.3 < high and high - low == pytest.approx(2 * 1.96 * (0.3 * 0.7 / 216) ** 0.5, abs=0.005)
    assert is_better(0.5, 0.3, 200) and not is_better(0.32, 0.3, 200) and not is_better(0.1, 0.3, 200)


def test_notes_name_methods_no_better_than_untrained(tmp_path):
    shares = {("random", "rgb"): 0.30, ("infonce", "rgb"): 0.22, ("cpr", "rgb"): 0.60, ("ubernce", "rgb"): 0.50}
    rows = [(m, v, 1, share, 0.056, 216) for (m, v), share in shares.items()]
    (tmp_path / "tables").mkdir()
    table = pd.DataFrame(rows, columns=["method", "view", "k", "recall", "chance", "queries"])
    table.to_csv(tmp_path / "tables/retrieval.csv", index=False)
    chance, untrained, worse, advice, bound = notes([tmp_path])
    assert chance.startswith("Chance: R@1 5.6. With 216 test videos")
    assert untrained == "No better than untrained (R@1): InfoNCE RGB."
    assert worse == "Training made R@1 worse than random weights: InfoNCE RGB (22.0 against 30.0, perhaps by chance)."
    assert advice.startswith("What to try: more epochs, more videos; for RGB larger clips")
    assert bound == "UberNCE is no upper bound here: R@1 of others is higher (RGB)."
    views = pd.concat([table.assign(view=view) for view in ("rgb", "flow", "residual", "both")])
    views.to_csv(tmp_path / "tables/retrieval.csv", index=False)
    told = notes([tmp_path])
    assert told[1].endswith("InfoNCE residual, InfoNCE all views.")
    assert told[-1].endswith("(RGB, flow, residual, all views).")


def test_notes_name_methods_worse_than_their_start(tmp_path):
    shares = {("random", "flow"): 0.10, ("infonce", "flow"): 0.60, ("coclr", "flow"): 0.40, ("cpr", "flow"): 0.61}
    rows = [(m, v, 1, share, 0.056, 216) for (m, v), share in shares.items()]
    (tmp_path / "tables").mkdir()
    table = pd.DataFrame(rows, columns=["method", "view", "k", "recall", "chance", "queries"])
    table.to_csv(tmp_path / "tables/retrieval.csv", index=False)
    _, worse, advice = notes([tmp_path])
    assert worse == "Training made R@1 worse than the InfoNCE start: CoCLR flow (40.0 against 60.0)."
    assert "for flow another flow_bound" in advice


def test_with_few_test_videos_all_videos_are_queries(tmp_path):
    (tmp_path / "tables").mkdir()
    rows = [("cpr", view, 1, 0.5, 0.2, 8) for view in ("rgb", "flow", "both")]
    table = pd.DataFrame(rows, columns=["method", "view", "k", "recall", "chance", "queries"])
    table.to_csv(tmp_path / "tables/retrieval.csv", index=False)
    all_asked = pd.DataFrame([("cpr", view, share, 0, 0, 40, 20) for view, share in (("rgb", 0.2), ("both", 0.5))])
    all_asked.columns = ["method", "view", "recall", "low", "high", "videos", "groups"]
    all_asked.to_csv(tmp_path / "tables/left_out.csv", index=False)
    assert notes([tmp_path])[-1] == (
        "R@1 with all 40 videos as queries, training videos included, each among the videos of other recordings; "
        "the 95 % interval is that of 20 recordings: CPR both views 50.0 (29.9 to 70.1)."
    )
    table.assign(queries=100).to_csv(tmp_path / "tables/retrieval.csv", index=False)
    assert "other recordings" not in " ".join(notes([tmp_path]))
