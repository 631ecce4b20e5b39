"""Probe, held-out recordings and accuracies on cases computed by hand, and against slow oracles."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from cprlib.data.manifest import Manifest
from cprlib.evaluation.classification import (
    class_accuracy,
    classification_table,
    confusion_matrix,
    held_out,
    linear_probe,
    prediction_table,
    probe_with_chosen_lr,
    top_k_accuracy,
    two_stream,
)


def videos_of(labels, sources):
    table = pd.DataFrame({"label": labels, "source_id": sources, "video_id": range(len(labels))})
    table["class_name"], table["path"] = [f"class {label}" for label in labels], [f"{i}.mp4" for i in range(len(table))]
    return Manifest(table)


def clusters(per_class=40, seed=0):
    g = torch.Generator().manual_seed(seed)
    centres = torch.eye(3, 6)
    labels = torch.arange(3).repeat_interleave(per_class)
    return centres[labels] + 0.05 * torch.randn(len(labels), 6, generator=g), labels


def test_probe_equals_the_layers_of_torch():
    """The explicit gradient, against autograd through BatchNorm1d and Linear, step by step."""
    train, labels = clusters(per_class=7)  # 21 rows, in batches of 8, 8 and 5
    test = clusters(per_class=3, seed=1)[0]
    found = linear_probe(train, labels, test, lr=0.3, epochs=4, milestones=(2,), batch_size=8, seed=5)

    g = torch.Generator().manual_seed(5)
    model = nn.Sequential(nn.BatchNorm1d(6, affine=False), nn.Linear(6, 3))
    model[1].weight.data = (torch.rand(3, 6, generator=g) * 2 - 1) / 6**0.5
    nn.init.zeros_(model[1].bias)
    sgd = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.MultiStepLR(sgd, [2])
    for _ in range(4):
        for rows in torch.randperm(21, generator=g).split(8):
            sgd.zero_grad()
            x = nn.functional.normalize(train[rows], dim=1)
            nn.functional.cross_entropy(model(x), labels[rows]).backward()
            sgd.step()
        schedule.step()
    with torch.no_grad():
        expected = model.eval()(nn.functional.normalize(test, dim=1)).softmax(dim=1)
    assert torch.allclose(found, expected, atol=1e-5)


def test_probe_by_hand():
    """Two points on a circle, one step at lr 1 from seeded weights: BatchNorm maps them to -1 and +1."""
    train, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
    g = torch.Generator().manual_seed(0)
    weight = (torch.rand(2, 2, generator=g) * 2 - 1) / 2**0.5
    x = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])  # (value - 0.5) / 0.5, up to the norm's eps
    error = (x @ weight.T).softmax(dim=1) - torch.eye(2)
    weight = weight - (error.T @ x / 2 + 1e-3 * weight)
    # running statistics after one batch of momentum 0.1: mean 0.05, variance 0.9 + 0.1 * 0.5
    tested = (train - 0.05) / (0.95 + 1e-5) ** 0.5
    expected = (tested @ weight.T).softmax(dim=1)
    found = linear_probe(train, labels, train, lr=1.0, epochs=1, milestones=())
    assert torch.allclose(found, expected, atol=1e-4)


def test_rates_trained_together_equal_those_trained_alone():
    (train, labels), (test, _) = clusters(), clusters(seed=1)
    together = linear_probe(train, labels, test, lr=(0.1, 1.0), epochs=3)
    assert together.shape == (2, 120, 3)
    g = torch.Generator().manual_seed(0)
    first = (torch.rand(6, 6, generator=g) * 2 - 1) / 6**0.5  # alone, the second would start from other weights
    assert not torch.allclose(first[:3], first[3:])
    assert [top_k_accuracy(p, labels) for p in together] == [1.0, 1.0]


def test_probe_learns_and_ignores_the_length_of_features():
    (train, labels), (test, truth) = clusters(), clusters(seed=1)
    found = linear_probe(train, labels, test, epochs=20)
    assert top_k_accuracy(found, truth) == 1 and torch.allclose(found.sum(dim=1), torch.ones(120))
    assert torch.allclose(found, linear_probe(7 * train, labels, 0.1 * test, epochs=20), atol=1e-5)
    with pytest.raises(ValueError, match="120, 6.* with 3 labels"):
        linear_probe(train, labels[:3], test)


def test_the_rate_is_chosen_without_test_videos():
    train, labels = clusters()
    videos = videos_of(labels.tolist(), [f"{label}-{i % 4}" for i, label in enumerate(labels.tolist())])
    _, rate = probe_with_chosen_lr(train, videos, train[:5], rates=(1.0, 1e-9), epochs=10, milestones=())
    assert rate == 1.0  # with 1e-9 nothing is learned
    probabilities, rate = probe_with_chosen_lr(train, videos, train, rates=(0.5,), epochs=10)
    assert rate == 0.5 and torch.equal(probabilities, linear_probe(train, labels, train, 0.5, epochs=10))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_held_out_videos_are_whole_recordings_of_every_class(share):
    labels = [label for label in range(4) for _ in range(30)]
    sources = [f"{label}-{i % 10}" for label in range(4) for i in range(30)]
    held = held_out(videos_of(labels, sources), share, seed=3)
    rows = pd.DataFrame({"label": labels, "source": sources, "held": held})
    assert (rows.groupby("source").held.nunique() == 1).all()
    assert (rows[rows.held].groupby("label").source.nunique() == round(10 * share)).all()
    assert not np.array_equal(held, held_out(videos_of(labels, sources), share, seed=4))


def test_holding_out_leaves_every_class_training_videos():
    shared = videos_of([0, 0, 1, 1, 2], ["film", "a", "film", "b", "c"])  # one film shows both classes
    for seed in range(8):
        held = held_out(shared, 0.5, seed)
        assert held[0] == held[2] and not held[4] and held.any()
        assert set(shared.table.label[~held]) == {0, 1, 2}
    with pytest.raises(ValueError, match="set held_out to 0"):
        held_out(videos_of([0, 1], ["a", "b"]), 0.5)
    assert not held_out(videos_of([0, 1], ["a", "b"]), 0.0).any()


def test_two_streams_and_accuracies_by_hand():
    rgb = torch.tensor([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.2, 0.3, 0.5]])
    flow = torch.tensor([[0.05, 0.8, 0.15], [0.1, 0.7, 0.2], [0.3, 0.3, 0.4]])
    labels = [0, 1, 2]
    table = classification_table("cpr", "probe", {"rgb": rgb, "flow": flow}, labels).set_index("view")
    assert table.top1.to_dict() == pytest.approx({"rgb": 2 / 3, "flow": 2 / 3, "both": 2 / 3})
    assert top_k_accuracy(flow, torch.tensor(labels), 2) == pytest.approx(2 / 3)  # class 0 comes last in the first row
    assert table.top5.eq(1).all()  # three classes only
    assert torch.allclose(two_stream({"rgb": rgb, "flow": flow})["both"][0], torch.tensor([0.325, 0.55, 0.125]))
    assert list(two_stream({"rgb": rgb})) == ["rgb"]


def test_predictions_confusions_and_classes_by_hand():
    videos = videos_of([0, 0, 1, 2], list("abcd"))
    predictions = prediction_table(torch.eye(3)[[0, 1, 1, 1]], videos)
    assert predictions.predicted.tolist() == ["class 0", "class 1", "class 1", "class 1"]
    assert predictions["p_class 1"].tolist() == [0, 1, 1, 1] and predictions.path.tolist() == videos.table.path.tolist()
    assert confusion_matrix(predictions, videos.class_names).to_numpy().tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]
    assert class_accuracy({"rgb": predictions}).rgb.tolist() == [0.5, 1.0, 0.0]
