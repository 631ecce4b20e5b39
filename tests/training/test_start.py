"""Trainings that start from the network of another run, and networks used in place of a training."""

from dataclasses import replace

import pytest
import torch

from cprlib.evaluation.video_encoder import network_of
from cprlib.notebook import runner
from cprlib.store.checkpoints import load_encoder
from cprlib.store.files import project_root
from cprlib.store.fingerprint import Fingerprint
from cprlib.training import TrainingConfig, fit
from cprlib.training.cotrain import from_released

SHAPE = {"backbone": "tiny", "dim": 8, "clip_len": 4, "clip_stride": 2, "clip_size": 32, "short_side": 36}
SETTINGS = SHAPE | {"K": 16, "epochs": 1, "lr_milestones": ()}


def same(a, b):
    pairs = zip(load_encoder(a).state_dict().values(), load_encoder(b).state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_a_training_starts_from_another_network_of_the_same_kind(small_run, toy_manifest, tmp_path):
    start = network_of(small_run, "rgb")
    config = TrainingConfig(str(toy_manifest), str(tmp_path / "on"), init=str(start), **SETTINGS)
    assert not same(fit(config), start)
    assert Fingerprint.read(tmp_path / "on").parts["init"]
    assert same(from_released(replace(config, out=str(tmp_path / "taken")), start), start)
    for other in ({"dim": 9}, {"backbone": "r3d_18"}):
        with pytest.raises(ValueError, match="is not a network with backbone"):
            fit(replace(config, out=str(tmp_path / "other"), **other))
    with pytest.raises(FileNotFoundError, match="has no finished flow network; its views are rgb"):
        network_of(start, "flow")


def test_the_notebook_uses_the_networks_of_a_run_unchanged(small_run, toy_manifest, tmp_path):
    options = SHAPE | {"outputs": small_run.parent, "init_run": "small", "infonce_epochs": 0, "K": 16, "cache": "''"}
    options |= {"run": "taken", "view": "flow", "manifest": toy_manifest}
    words = [str(word) for name, value in options.items() for word in ("-p", name, value)]
    notebook = project_root() / "notebooks/02_infonce_pretraining.ipynb"
    assert runner.main([str(notebook), str(tmp_path / "02.ipynb"), *words]) == 0
    taken = small_run.parent / "taken"
    assert same(network_of(taken, "flow"), network_of(small_run, "flow"))
    assert not same(taken / "random_flow", taken / "infonce_flow")
