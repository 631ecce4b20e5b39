"""Retrieval against a slow loop, and on features made from angles."""

import numpy as np
import pytest
import torch

from cprlib.evaluation.chance import interval
from cprlib.evaluation.retrieval import (
    join_views,
    left_out_table,
    nearest_neighbours,
    prepare_features,
    prepare_views,
    recall_at_k,
    retrieval_table,
)


def at_angles(*degrees):
    radians = torch.deg2rad(torch.tensor(degrees, dtype=torch.float32))
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def random_split(queries=23, gallery=57, dim=6, classes=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    return (
        torch.randn(queries, dim, generator=g),
        torch.randint(classes, (queries,), generator=g),
        torch.randn(gallery, dim, generator=g),
        torch.randint(classes, (gallery,), generator=g),
    )


def slow_recall(query, query_labels, gallery, gallery_labels, k):
    found = 0
    for q, label in zip(query, query_labels, strict=True):
        order = sorted(range(len(gallery)), key=lambda i: -float(q @ gallery[i]))
        found += any(gallery_labels[i] == label for i in order[:k])
    return found / len(query)


def test_recall_equals_a_slow_loop():
    split = random_split()
    ks = (1, 2, 5, 10, 57)
    expected = {k: slow_recall(*split, k) for k in ks}
    assert recall_at_k(*split, ks=ks) == pytest.approx(expected, abs=1e-6)
    arrays = (x.numpy() for x in split)
    assert recall_at_k(*arrays, ks=ks) == pytest.approx(expected, abs=1e-6)


def test_recall_from_angles():
    query, gallery = at_angles(0, 90), at_angles(10, 20, 30, 80)
    labels = [0, 0], [1, 0, 1, 1]  # query 0: second nearest is right; query 90: third nearest (20)
    recalls = recall_at_k(query, labels[0], gallery, labels[1], ks=(3, 1, 2))
    assert recalls == {3: 1.0, 1: 0.0, 2: 0.5} and list(recalls) == [3, 1, 2]


def test_ranks_by_dot_product_of_the_given_features():
    gallery = torch.tensor([[5.0, 0.0], [0.9, 0.0]])
    indices, similarities = nearest_neighbours(at_angles(0), gallery, 2)
    assert indices.tolist() == [[0, 1]]
    assert similarities.tolist()[0] == pytest.approx([5.0, 0.9])


def test_negative_similarities_still_rank():
    assert recall_at_k(at_angles(0), [1], at_angles(170, 100), [0, 1], ks=(1,)) == {1: 1.0}


def test_chunks_do_not_matter():
    query, _, gallery, _ = random_split()
    whole = nearest_neighbours(query, gallery, 7)
    parts = nearest_neighbours(query, gallery, 7, chunk=4)
    assert torch.equal(whole[0], parts[0]) and torch.allclose(whole[1], parts[1])


def test_prepared_features_follow_the_formula():
    x = random_split()[0].numpy() + 3
    centred = x - x.mean(axis=0)
    expected = centred / np.sqrt((centred**2).sum(axis=1, keepdims=True))
    assert np.allclose(prepare_features(x), expected, atol=1e-6)
    assert (prepare_features(torch.ones(4, 3)) == 0).all()  # a collapsed encoder, not NaN


def test_joined_views_add_their_similarities():
    query, _, gallery, _ = random_split()
    q = {"rgb": prepare_features(query), "flow": prepare_features(query.flip(0))}
    g = {"flow": prepare_features(gallery.flip(0)), "rgb": prepare_features(gallery)}
    total = q["rgb"] @ g["rgb"].T + q["flow"] @ g["flow"].T
    assert torch.allclose(join_views(q) @ join_views(g).T, total, atol=1e-6)


def test_table_has_every_method_view_and_both():
    query, query_labels, gallery, gallery_labels = random_split(gallery=12)
    pair = (query, gallery)
    features = {"random": {"rgb": pair}, "cpr": {"rgb": pair, "flow": pair}}
    table = retrieval_table(features, query_labels, gallery_labels)
    assert list(table) == ["method", "view", "k", "recall", "chance", "queries"]
    assert (table["queries"] == len(query)).all()
    assert set(table["k"]) == {1, 5, 10}  # 20 and 50 exceed the gallery
    rows = table.set_index(["method", "view", "k"])["recall"]
    assert len(rows) == 4 * 3 and ("random", "both", 1) not in rows.index
    prepared = prepare_features(query), query_labels, prepare_features(gallery), gallery_labels
    assert rows["cpr", "flow", 5] == pytest.approx(slow_recall(*prepared, 5))
    assert rows["cpr", "both", 5] == rows["cpr", "rgb", 5]  # the same view twice changes nothing


def test_bad_input_is_named():
    query, query_labels, gallery, gallery_labels = random_split()
    with pytest.raises(ValueError, match="k=58.*gallery of 57"):
        recall_at_k(query, query_labels, gallery, gallery_labels, ks=(1, 58))
    with pytest.raises(ValueError, match="every k >= 1"):
        recall_at_k(query, query_labels, gallery, gallery_labels, ks=(0, 1))
    with pytest.raises(ValueError, match="6 columns, gallery features 5"):
        nearest_neighbours(query, gallery[:, :5], 1)
    with pytest.raises(ValueError, match=r"gallery: labels of shape \(56,\) for 57"):
        recall_at_k(query, query_labels, gallery, gallery_labels[1:])
    gallery[3, 2] = torch.nan
    with pytest.raises(ValueError, match="gallery: NaN"):
        recall_at_k(query, query_labels, gallery, gallery_labels)


def test_queries_may_be_centred_like_the_gallery():
    """Two queries of one class: their own mean removes what they share; the gallery's keeps it."""
    gallery = torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]])
    query = torch.tensor([[1.0, 0.2], [1.0, -0.2]])
    split, _ = prepare_views({"rgb": (query, gallery)})
    own, _ = prepare_views({"rgb": (query, gallery)}, centre="gallery")
    assert torch.allclose(split["rgb"], torch.tensor([[0.0, 1.0], [0.0, -1.0]]))
    assert torch.allclose(own["rgb"], torch.nn.functional.normalize(query, dim=1))
    one, _ = prepare_views({"rgb": (query[:1], gallery)}, centre="gallery")
    assert torch.allclose(one["rgb"], own["rgb"][:1])  # a single query gives the same as many
    with pytest.raises(ValueError, match="centre is 'test'; choose one of split, gallery"):
        prepare_views({"rgb": (query, gallery)}, centre="test")


@pytest.mark.parametrize("views", [("rgb",), ("rgb", "flow")])
def test_r1_without_the_own_recording_equals_a_slow_loop(views):
    query, query_labels, gallery, gallery_labels = random_split()
    features = {"cpr": {view: (query + i, gallery - i) for i, view in enumerate(views)}}
    labels, groups = torch.cat([query_labels, gallery_labels]).tolist(), [f"g{i % 17}" for i in range(80)]
    table = left_out_table(features, labels, groups).set_index("view")
    assert len(table) == 2 * len(views) - 1
    prepared = {view: prepare_features(torch.cat(pair)) for view, pair in features["cpr"].items()}
    x, right = join_views(prepared), 0
    for i in range(80):
        others = [j for j in range(80) if groups[j] != groups[i]]
        right += labels[max(others, key=lambda j: float(x[i] @ x[j]))] == labels[i]
    row = table.iloc[-1]
    assert row.recall == pytest.approx(right / 80) and (row.videos, row.groups) == (80, 17)
    assert (row.low, row.high) == interval(row.recall, 17)
    assert left_out_table(features, labels, ["one"] * 80).empty
