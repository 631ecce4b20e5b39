"""Classifiers on a few video files: which weights train, exact resume, choice of the epoch, early errors."""

import dataclasses
import json

import pytest
import torch

from cprlib.data.manifest import Manifest
from cprlib.evaluation import finetune as module
from cprlib.evaluation.classification import held_out
from cprlib.evaluation.classifier import Classifier
from cprlib.evaluation.finetune import FinetuneConfig, finetune, predict
from cprlib.store.checkpoints import load_checkpoint, load_encoder
from cprlib.training.config import TrainingConfig
from cprlib.training.cotrain import untrained
from cprlib.training.loop import read_metrics


@pytest.fixture(scope="module")
def network(toy_manifest, tmp_path_factory):
    out = tmp_path_factory.mktemp("networks") / "random_rgb"
    shape = dict(backbone="tiny", dim=8, clip_len=4, clip_size=16)
    return str(untrained(TrainingConfig(manifest=str(toy_manifest), out=str(out), **shape)))


@pytest.fixture
def config(toy_manifest, network, tmp_path):
    small = dict(short_side=30, batch_size=6, epochs=3, lr_milestones=(2,), held_out=0.5)
    return FinetuneConfig(manifest=str(toy_manifest), out=str(tmp_path / "run"), network=network, **small)


def weights(folder, which="last"):
    saved = load_checkpoint(folder)
    return saved["last"] if which == "last" else saved["best"]["classifier"]


def test_fine_tuning_moves_all_weights_and_the_backbone_slowly(config, network):
    folder = finetune(config)
    before, after = load_encoder(network).state_dict(), weights(folder)
    moved = {name: (after[f"encoder.{name}"] - old).abs().max().item() for name, old in before.items()}
    assert all(moved[name] > 0 for name in before if name.startswith("backbone") and name.endswith("weight"))
    assert all(moved[name] == 0 for name in before if name.startswith("head"))
    metrics = read_metrics(folder)
    assert metrics.lr.tolist() == pytest.approx([1e-3, 1e-3, 1e-4]) and metrics.held_out.between(0, 1).all()
    model = Classifier(load_encoder(network), 12, frozen=False, dropout=0.9)
    groups = module.make_optimizer(config, model).param_groups
    rates = [(group["share"], sum(p.numel() for p in group["params"])) for group in groups]
    assert rates == [(0.1, sum(p.numel() for p in model.encoder.backbone.parameters())), (1.0, 12 * 129)]


def test_a_frozen_backbone_and_its_statistics_do_not_change(config, network):
    folder = finetune(dataclasses.replace(config, frozen=True, lr=0.1))
    after = weights(folder)
    assert all(torch.equal(after[f"encoder.{name}"], old) for name, old in load_encoder(network).state_dict().items())
    assert after["between.num_batches_tracked"] == 9  # 18 videos in batches of 6, three times
    start = Classifier(load_encoder(network), 12, frozen=True, dropout=0.9).linear.weight
    assert not torch.equal(start, after["linear.weight"])


def test_resume_equals_never_stopped(config, tmp_path, monkeypatch):
    whole = finetune(dataclasses.replace(config, out=str(tmp_path / "whole")))
    original = module.train_epoch

    def stop_in_the_second(*arguments):
        if arguments[-1] == 1:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(module, "train_epoch", stop_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        finetune(config)
    monkeypatch.setattr(module, "train_epoch", original)
    resumed = finetune(config)
    for which in ("last", "best"):
        a, b = weights(whole, which), weights(resumed, which)
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert read_metrics(whole).equals(read_metrics(resumed))
    monkeypatch.setattr(module, "train_epoch", None)  # would fail if called
    assert finetune(config) == resumed


def test_the_kept_epoch_is_the_best_on_held_out_recordings(config, toy_manifest):
    folder = finetune(config)
    kept = json.loads((folder / "metrics.json").read_text())["kept"]
    scores = read_metrics(folder).held_out
    assert scores[kept["epoch"]] == scores.max() == pytest.approx(kept["held_out"])
    train = Manifest.read(toy_manifest).split("train")
    held = held_out(train, 0.5, config.seed)
    assert 0 < held.sum() < len(train)
    last = dataclasses.replace(config, out=config.out + "-all", held_out=0.0)
    metrics = read_metrics(finetune(last))
    assert "held_out" not in metrics
    a, b = weights(last.out, "last"), weights(last.out, "best")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_predictions_are_probabilities_and_do_not_depend_on_the_batch(config, toy_manifest):
    folder, test = finetune(config), Manifest.read(toy_manifest).split("test")
    expected = predict(folder, test, "ten", batch_size=10)
    assert expected.shape == (18, 18) and torch.allclose(expected.sum(dim=1), torch.ones(18), atol=1e-5)
    assert torch.allclose(predict(folder, test, "ten", batch_size=33), expected, atol=1e-5)
    assert not torch.allclose(predict(folder, test, "centre"), expected, atol=1e-6)
    encoder = load_encoder(folder, "rgb")  # the fine-tuned backbone loads like any other
    assert torch.equal(encoder.backbone[0].weight, weights(folder, "best")["encoder.backbone.0.weight"])


def test_impossible_settings_are_named_before_training(config, tmp_path):
    for wrong, message in (
        ({"dropout": 1.0}, r"dropout: 1.0 must lie in \[0, 1\)"),
        ({"epochs": 0}, "epochs: 0 must be greater than 0"),
        ({"lr": "fast"}, "lr: expected float, got 'fast'"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(config, **wrong)
    with pytest.raises(FileNotFoundError, match="no checkpoint at .*nothing"):
        finetune(dataclasses.replace(config, network=str(tmp_path / "nothing")))


def test_a_manifest_with_other_classes_is_refused(config, toy_manifest):
    folder, table = finetune(config), Manifest.read(toy_manifest).table
    fewer = Manifest(table[table.label < 5].reset_index(drop=True))
    with pytest.raises(ValueError, match="has 18 classes, the manifest 5"):
        predict(folder, fewer.split("test"))
