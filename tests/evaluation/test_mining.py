"""Mining measures on a log small enough to count by hand, and against slow loops."""

import numpy as np
import pandas as pd
import pytest

from cprlib.data.manifest import Manifest
from cprlib.evaluation.mining import (
    class_mining_recall,
    compare_methods,
    join_cycles,
    median_cmr,
    mining_recall_at_1,
    positive_mining_recall,
    read_mining_log,
    with_labels,
)

# video_id -> (label, source); 0-3 dive, 4-6 jump, 7 walks; 8 is a test video
VIDEOS = [(0, 0), (0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (1, 4), (2, 5), (0, 6)]
NAMES = ["Dive", "Jump", "Walk"]


@pytest.fixture
def manifest():
    table = pd.DataFrame(VIDEOS, columns=["label", "source"])
    table.insert(0, "video_id", range(len(table)))
    table["class_name"] = [NAMES[label] for label in table["label"]]
    table["source_id"] = "g" + table["source"].astype(str)
    table["split"] = ["train"] * 8 + ["test"]
    return Manifest(table)


def make_log(mined):
    """Log from {(epoch, step, query): mined video_ids, best first}."""
    rows = [
        {
            **{"epoch": epoch, "step": step, "query": query, "rank": rank, "mined": video},
            "correct": VIDEOS[query][0] == VIDEOS[video][0],
            **{"query_label": VIDEOS[query][0], "mined_label": VIDEOS[video][0]},
            **{"query_source": VIDEOS[query][1], "mined_source": VIDEOS[video][1]},
        }
        for (epoch, step, query), videos in mined.items()
        for rank, video in enumerate(videos)
    ]
    return pd.DataFrame(rows)


LOG = make_log(
    {
        (0, 0, 0): [4, 5],  # nothing right
        (0, 0, 4): [5, 6],  # both
        (1, 0, 0): [2, 4],  # 1 of 2, first right
        (1, 0, 2): [0, 1],  # 2 of 2: one source, two videos
        (1, 1, 4): [0],  # 0 of 1: a short mined set counts as much as a long one
        (1, 1, 5): [7, 4],  # 1 of 2, first wrong
    }
)


def test_labels_of_a_log_come_from_the_manifest(manifest):
    blind = LOG.assign(query_label=0, mined_label=0, correct=True)
    pd.testing.assert_frame_equal(with_labels(blind, manifest), LOG)


def test_pmr_by_hand():
    pmr = positive_mining_recall(LOG)
    assert pmr.index.tolist() == [0, 1]
    assert pmr.tolist() == pytest.approx([0.5, (0.5 + 1 + 0 + 0.5) / 4])


def test_mining_r1_by_hand():
    assert mining_recall_at_1(LOG).to_dict() == pytest.approx({0: 0.5, 1: 0.5})


def test_cmr_by_hand(manifest):
    by_source = class_mining_recall(LOG, manifest)
    assert list(by_source) == ["label", "class_name", "found", "instances", "cmr"]
    assert by_source["class_name"].tolist() == NAMES
    assert by_source["found"].tolist() == [2, 1, 0]  # Dive g0 g1, Jump g3; Walk only wrongly
    assert by_source["instances"].tolist() == [3, 2, 1]  # the test video's g6 is not counted
    assert by_source["cmr"].tolist() == pytest.approx([2 / 3, 1 / 2, 0])
    by_video = class_mining_recall(LOG, manifest, by="video")
    assert by_video["found"].tolist() == [3, 1, 0]
    assert by_video["instances"].tolist() == [4, 3, 1]
    assert median_cmr(by_video) == pytest.approx(1 / 3)


def test_cmr_of_an_earlier_epoch(manifest):
    assert class_mining_recall(LOG, manifest, "video", epoch=0)["found"].tolist() == [0, 2, 0]
    with pytest.raises(ValueError, match="epoch 2.*epochs 0-1"):
        class_mining_recall(LOG, manifest, epoch=2)


def test_measures_equal_slow_loops(manifest):
    rng = np.random.default_rng(0)
    mined = {
        (epoch, step, query): rng.choice(8, rng.integers(1, 5), replace=False).tolist()
        for epoch in range(3)
        for step in range(4)
        for query in rng.choice(8, 3, replace=False).tolist()
    }
    log = make_log(mined)
    for epoch in range(3):
        sets = [(q, videos) for (e, _, q), videos in mined.items() if e == epoch]
        right = [(q, v) for q, videos in sets for v in videos if VIDEOS[q][0] == VIDEOS[v][0]]
        pmr = np.mean([np.mean([VIDEOS[v][0] == VIDEOS[q][0] for v in vs]) for q, vs in sets])
        first = np.mean([VIDEOS[videos[0]][0] == VIDEOS[q][0] for q, videos in sets])
        assert positive_mining_recall(log)[epoch] == pytest.approx(pmr)
        assert mining_recall_at_1(log)[epoch] == pytest.approx(first)
        for label, total in enumerate([3, 2, 1]):
            sources = {VIDEOS[v][1] for _, v in right if VIDEOS[v][0] == label}
            cmr = class_mining_recall(log, manifest, epoch=epoch)["cmr"]
            assert cmr[label] == pytest.approx(len(sources) / total)


def test_order_of_the_log_does_not_matter(manifest):
    shuffled = LOG.sample(frac=1, random_state=3)
    assert positive_mining_recall(shuffled).tolist() == positive_mining_recall(LOG).tolist()
    assert class_mining_recall(shuffled, manifest).equals(class_mining_recall(LOG, manifest))


def test_wrong_arguments_are_named(manifest):
    with pytest.raises(ValueError, match="by='clip'"):
        class_mining_recall(LOG, manifest, by="clip")
    with pytest.raises(ValueError, match="empty"):
        class_mining_recall(LOG[:0], manifest)
    other = Manifest(manifest.table.assign(label=0))
    with pytest.raises(ValueError, match="manifest this run was trained on"):
        class_mining_recall(LOG, other)


def test_comparison_has_one_row_per_network(manifest):
    table = compare_methods({"coclr": {"rgb": LOG}, "cpr": {"rgb": LOG, "flow": LOG}}, manifest)
    assert table["method"].tolist() == ["coclr", "cpr", "cpr"]
    assert table["view"].tolist() == ["rgb", "rgb", "flow"]
    chances = [name for name in table if name.endswith("_chance")]
    assert len(chances) == 3 and table[chances].stack().between(0, 1).all()
    row = table.iloc[2, 2:].drop(chances).astype(float).to_dict()
    assert row == pytest.approx(
        {"pmr_start": 0.5, "pmr_end": 0.5, "mining_r1": 0.5, "cmr_source": 0.5, "cmr_video": 1 / 3}
    )


def test_epochs_of_cycles_are_numbered_on():
    joined = join_cycles([LOG, LOG, LOG[LOG["epoch"] == 1]])
    assert joined["epoch"].unique().tolist() == [0, 1, 2, 3, 4]
    pmr = positive_mining_recall(LOG)
    assert positive_mining_recall(joined).tolist() == [*pmr, *pmr, pmr[1]]


def test_log_is_read_from_its_parts(tmp_path):
    folder = tmp_path / "mining.parquet"
    folder.mkdir()
    for epoch, part in LOG.groupby("epoch"):
        part.to_parquet(folder / f"epoch-{epoch:04d}.parquet", index=False)
    (folder / ".epoch-0002-x.parquet").write_bytes(b"left by a killed process")
    pd.testing.assert_frame_equal(read_mining_log(tmp_path), LOG)


def test_a_missing_log_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="no training in .*cpr_rgb.*notebook"):
        read_mining_log(tmp_path / "cpr_rgb")
    with pytest.raises(FileNotFoundError, match="no mining log.*only CoCLR and CPR mine"):
        read_mining_log(tmp_path)
