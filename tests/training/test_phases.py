"""Progressive training: phases with growing top_k, each with a fresh schedule and the weights of the previous one."""

import dataclasses
import importlib

import pandas as pd
import pytest
import torch

from cprlib.evaluation.progress import cotraining_progress
from cprlib.store.checkpoints import load_checkpoint
from cprlib.store.files import read_json
from cprlib.training.config import TrainingConfig
from cprlib.training.cotrain import cotrain, untrained
from cprlib.training.fit import fit
from cprlib.training.loop import read_metrics
from tests.trainings import SMALL, interrupted

training = importlib.import_module("cprlib.training.fit")


@pytest.fixture
def config(toy_manifest, tmp_path):
    small = SMALL | dict(manifest=str(toy_manifest), K=21, momentum=0.9)
    inits = {view: str(tmp_path / f"infonce_{view}") for view in ("rgb", "flow")}
    for view, out in inits.items():
        untrained(TrainingConfig(out=out, view=view, **small))
    small |= dict(init=inits["rgb"], samplers={"flow": inits["flow"]}, method="cpr", epochs=2, lr_milestones=(1,))
    return TrainingConfig(out=str(tmp_path / "phases"), num_stages=2, top_k_phases=(1, 3), **small)


def test_phases_inherit_weights_and_restart_the_schedule(config, monkeypatch):
    seen, train_epoch = [], training.train_epoch

    def watch(config, state, *rest):
        before = {name: value.clone() for name, value in state.encoder.state_dict().items()}
        steps = len(state.optimizer.state)  # parameters that the optimiser has updated
        result = train_epoch(config, state, *rest)
        seen.append((before, steps, {name: value.clone() for name, value in state.encoder.state_dict().items()}))
        return result

    monkeypatch.setattr(training, "train_epoch", watch)
    folder = fit(config)
    metrics, log = read_metrics(folder), pd.read_parquet(folder / "mining.parquet")
    assert metrics.lr.tolist() == pytest.approx([1e-3, 1e-4, 1e-3, 1e-4])
    assert log.groupby("epoch")["rank"].max().tolist() == [0, 0, 2, 2]
    assert [steps > 0 for _, steps, _ in seen] == [False, True, False, True]
    for (*_, after), (before, *_) in zip(seen, seen[1:], strict=False):
        assert all(torch.equal(after[name], before[name]) for name in after)
    assert read_json(folder / "metrics.json")["epochs"] == 4


@pytest.mark.parametrize("stop", [2, 3], ids=["between phases", "inside one"])
def test_a_phase_is_resumed(config, tmp_path, stop):
    straight = fit(config)
    stopped = dataclasses.replace(config, out=str(tmp_path / "stopped"))
    with interrupted(training, stop):
        fit(stopped)
    a, b = load_checkpoint(straight), load_checkpoint(fit(stopped))
    assert all(torch.equal(a["encoder"][name], b["encoder"][name]) for name in a["encoder"])


def test_three_views_are_cotrained_in_phases(config, tmp_path):
    """RGB, flow and residual: each network's cascade starts in the two other views."""
    from cprlib.data.frames import open_frames
    from cprlib.data.manifest import Manifest

    inits = {view: str(tmp_path / f"three/infonce_{view}") for view in ("rgb", "flow", "residual")}
    first = dataclasses.replace(config, method="infonce", samplers={}, init=None, top_k_phases=())
    for view, out in inits.items():
        untrained(dataclasses.replace(first, view=view, out=out))
    run = dataclasses.replace(config, epochs=1, lr_milestones=(), keeps=(0.6, 8), out=str(tmp_path / "three"))
    last = cotrain(run, 1, inits)
    orders = {view: list(load_checkpoint(path)["config"]["samplers"]) + [view] for view, path in last.items()}
    assert orders == {
        "rgb": ["flow", "residual", "rgb"],
        "flow": ["rgb", "residual", "flow"],
        "residual": ["rgb", "flow", "residual"],
    }
    assert read_metrics(last["residual"]).pmr.notna().all()
    manifest = Manifest.read(config.manifest)
    frames = open_frames(manifest, list(inits), config.short_side)
    table = cotraining_progress(tmp_path / "three", ["cpr"], manifest, frames)
    assert set(table.view) == {*inits, "both"} and table.epoch.max() == 2  # two phases of one epoch
    pd.testing.assert_frame_equal(cotraining_progress(tmp_path / "three", ["cpr"], manifest, frames, devices=2), table)


def test_phases_are_checked_and_ignored_without_mining(config):
    with pytest.raises(ValueError, match="stage 2 keeps 5 rows, fewer than top_k = 7; use at most 2 stages"):
        dataclasses.replace(config, num_stages=3, top_k_phases=(1, 7))
    with pytest.raises(ValueError, match="top_k_phases is .1, 3., but your own miner decides"):
        fit(config, miner=lambda anchors, bank, exclude: None)
    infonce = dataclasses.replace(config, method="infonce", samplers={})
    assert infonce.all_epochs == 2 and config.all_epochs == 4
