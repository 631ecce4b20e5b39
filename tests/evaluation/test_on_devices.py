"""Evaluation in two processes gives the result of one."""

import dataclasses

import pytest
import torch

from cprlib.data.frames import open_frames
from cprlib.data.manifest import Manifest
from cprlib.evaluation.features import network_features
from cprlib.evaluation.finetune import FinetuneConfig, finetune, predict
from cprlib.evaluation.on_devices import on_devices
from cprlib.store.checkpoints import load_checkpoint
from cprlib.training.config import TrainingConfig
from cprlib.training.cotrain import untrained
from cprlib.training.loop import read_metrics
from tests.trainings import in_two

CALLED = "cprlib.evaluation.features:network_features"


@pytest.fixture
def network(toy_manifest, tmp_path):
    shape = dict(backbone="tiny", dim=8, clip_len=4, clip_size=16)
    return untrained(TrainingConfig(manifest=str(toy_manifest), out=str(tmp_path / "random_rgb"), **shape))


def test_features_of_two_processes_equal_those_of_one(network, toy_manifest):
    manifest = Manifest.read(toy_manifest)
    frames = open_frames(manifest, ["rgb"], 30)
    one = network_features(network, manifest, frames, "test")
    (kept,) = network.glob("features_test_*.pt")
    kept.unlink()
    two = network_features(network, manifest, frames, "test", devices=2)
    assert torch.allclose(one, two, atol=1e-6) and kept.exists()
    assert torch.equal(network_features(network, manifest, frames, "test"), two)  # cached like that of one process
    with pytest.raises(ValueError, match="devices: frames of your own cannot be sent"):
        on_devices(CALLED, network, manifest, object(), 2, split="test")


def test_fine_tuning_in_two_processes_equals_one(network, toy_manifest, tmp_path):
    small = dict(network=str(network), short_side=30, batch_size=6, epochs=2, lr_milestones=(1,), held_out=0.5)
    one = FinetuneConfig(str(toy_manifest), str(tmp_path / "one"), dropout=0.5, **small)
    ones = one, dataclasses.replace(one, out=str(tmp_path / "frozen"), frozen=True)
    twos = [dataclasses.replace(one, out=f"{one.out}_two", devices=2) for one in ones]
    in_two("cprlib.evaluation.finetune:finetune", twos)
    for one, two in zip(ones, twos, strict=True):
        assert (read_metrics(finetune(one)) - read_metrics(two.out)).abs().to_numpy().max() < 1e-5
        a, b = (load_checkpoint(config.out)["last"] for config in (one, two))
        assert all(torch.allclose(values, b[name], atol=1e-5) for name, values in a.items())
    test = Manifest.read(toy_manifest).split("test")
    said = [predict(twos[0].out, test, "centre", devices=devices) for devices in (1, 2)]
    assert said[0].shape == (18, 18) and torch.allclose(*said, atol=1e-6)


def test_indivisible_batches_are_refused(network, toy_manifest, tmp_path):
    with pytest.raises(ValueError, match="devices: 4 share a batch equally; batch_size 6"):
        FinetuneConfig(str(toy_manifest), str(tmp_path), str(network), batch_size=6, devices=4)
