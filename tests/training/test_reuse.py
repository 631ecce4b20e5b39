"""A training is reused only if its inputs are unchanged: each changed input invalidates it, and nothing else does."""

import dataclasses
import functools
import importlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from cprlib.cascade import plan_stages
from cprlib.data.flow import extract_flow
from cprlib.data.frames import open_frames
from cprlib.data.manifest import UNLABELLED, Manifest
from cprlib.data.video import probe, read_clip, write_video
from cprlib.evaluation.features import network_features
from cprlib.evaluation.finetune import FinetuneConfig, finetune, predict
from cprlib.miners import cascade
from cprlib.store.checkpoints import load_checkpoint, load_encoder
from cprlib.store.fingerprint import Fingerprint, deciding_settings, hash_weights
from cprlib.training.config import TrainingConfig
from cprlib.training.cotrain import untrained
from cprlib.training.fit import check_same_videos, fit
from cprlib.training.loop import read_metrics
from tests.trainings import SMALL, interrupted

training = importlib.import_module("cprlib.training.fit")


@pytest.fixture
def videos(toy_manifest, tmp_path):
    """A copy of the data for a test to change: videos, flow and manifest in one folder."""
    return copy_of(toy_manifest, tmp_path / "data")


@pytest.fixture
def config(videos, tmp_path):
    more = dict(epochs=1, K=21, lr_milestones=(), top_k=2)
    return TrainingConfig(manifest=str(videos), out=str(tmp_path / "t"), **SMALL, **more)


def copy_of(manifest, folder):
    shutil.copytree(manifest.parent, folder)
    table = Manifest.read(manifest).table
    paths = {c: [str(p).replace(str(manifest.parent), str(folder)) for p in table[c]] for c in ("path", "flow_path")}
    Manifest(table.assign(**paths)).write(folder / "manifest.csv")
    return folder / "manifest.csv"


def change(manifest, **columns):
    Manifest(Manifest.read(manifest).table.assign(**columns)).write(manifest)


def swap_first_test_and_training_video(manifest):
    split = Manifest.read(manifest).table.split.tolist()
    test, train = split.index("test"), split.index("train")
    split[test], split[train] = "train", "test"
    change(manifest, split=split)


def replace_a_video(manifest):
    """Replace a training video by another one of the same length and size."""
    row = Manifest.read(manifest).split("train").table.iloc[0]
    write_video(row.path, read_clip(row.path, range(row.num_frames), reader=row.reader).flip(2), row.fps)
    assert probe(row.path).num_frames == row.num_frames


def join_two_recordings(manifest):
    table = Manifest.read(manifest).table
    first, second = table[table.split == "train"].source_id.unique()[:2]
    change(manifest, source_id=table.source_id.replace(second, first))


@pytest.mark.parametrize("alter", [swap_first_test_and_training_video, replace_a_video, join_two_recordings])
def test_changed_training_videos_under_the_same_path(config, videos, alter):
    fit(config)
    alter(videos)
    with pytest.raises(ValueError, match="other training videos"):
        fit(config)
    with pytest.raises(ValueError, match="was trained on other videos"):
        check_same_videos(config.out, Manifest.read(videos))
    before = load_checkpoint(config.out)["encoder"]
    fit(config, redo=True)
    after = load_checkpoint(config.out)["encoder"]
    if alter is not join_two_recordings:  # InfoNCE uses no recordings; a mining log would
        assert any(not torch.equal(before[name], after[name]) for name in before)


def test_other_flow_invalidates_flow_networks_and_no_others(config, videos, tmp_path):
    flow = dataclasses.replace(config, view="flow", out=str(tmp_path / "flow"))
    fit(config), fit(flow)
    extract_flow(Manifest.read(videos), videos.parent / "flow2", "dis", 2.0, workers=1).write(videos)
    with pytest.raises(ValueError, match=r"flow bound 8.0 -> 2.0; other flow files"):
        fit(flow)
    times = (tmp_path / "t/checkpoint.pt").stat().st_mtime_ns
    assert fit(config).joinpath("checkpoint.pt").stat().st_mtime_ns == times
    manifest = Manifest.read(videos)
    with pytest.raises(ValueError, match=r"trained on other flow \(bound 8.0 -> 2.0\)"):
        network_features(flow.out, manifest, open_frames(manifest, ["flow"], 30), "test")


def classifier_of(network, videos, tmp_path):
    short = dict(short_side=30, batch_size=6, epochs=1, lr_milestones=(), held_out=0.0)
    return FinetuneConfig(str(videos), str(tmp_path / "f"), network, **short)


def test_a_retrained_network_invalidates_what_was_built_on_it(config, videos, tmp_path):
    network = dataclasses.replace(config, out=str(tmp_path / "init"))
    later = dataclasses.replace(config, init=network.out)
    fit(network), fit(later)
    finetuning = classifier_of(network.out, videos, tmp_path)
    finetune(finetuning)
    manifest = Manifest.read(videos)
    frames = open_frames(manifest, ["rgb"], 30)
    features = network_features(network.out, manifest, frames, "test")
    shutil.rmtree(network.out)
    fit(network)  # from scratch with equal inputs: the same result
    assert fit(later) and torch.equal(network_features(network.out, manifest, frames, "test"), features)
    shutil.rmtree(network.out)
    fit(dataclasses.replace(network, seed=1))
    with pytest.raises(ValueError, match="made from something else .other init"):
        fit(later)
    with pytest.raises(ValueError, match="made from something else .other network"):
        finetune(finetuning)
    assert not torch.equal(network_features(network.out, manifest, frames, "test"), features)
    miner = dict(method="coclr", samplers={"flow": str(tmp_path / "sampler")}, epochs=2, out=str(tmp_path / "c"))
    for seed in (0, 1):
        sampler = dataclasses.replace(config, view="flow", seed=seed, out=str(tmp_path / "sampler"))
        untrained(sampler, redo=True)
        if seed:
            with pytest.raises(ValueError, match="other samplers flow"):
                fit(dataclasses.replace(config, **miner))
        else:
            fit(dataclasses.replace(config, **miner))


def test_classes_added_later_need_no_training_unless_they_are_the_positives(config, videos):
    known = Manifest.read(videos).table
    change(videos, label=0, class_name=UNLABELLED)
    labels_too = dataclasses.replace(config, method="ubernce", out=f"{config.out}-ubernce")
    folder = fit(config)
    fit(labels_too)
    weights = load_checkpoint(folder)["encoder"]
    mining = cascade(plan_stages(config.K, ("rgb",), 1, top_k=1))
    blind = fit(dataclasses.replace(config, epochs=2, out=f"{config.out}-blind"), miner=mining)
    assert len(list((blind / "mining.parquet").iterdir())) and read_metrics(blind).pmr.isna().all()
    change(videos, label=known.label, class_name=known.class_name)
    check_same_videos(folder, Manifest.read(videos))
    assert all(torch.equal(x, weights[name]) for name, x in load_checkpoint(fit(config))["encoder"].items())
    with pytest.raises(ValueError, match="other training videos"):
        fit(labels_too)
    change(videos, label=0, class_name=UNLABELLED)  # nor when classes are removed
    fit(config)


def test_features_are_made_at_the_requested_size(config, videos):
    untrained(config)
    manifest = Manifest.read(videos)
    found = {
        size: network_features(config.out, manifest, open_frames(manifest, ["rgb"], size), "test") for size in (30, 60)
    }
    assert not torch.allclose(found[30], found[60])
    assert torch.equal(found[30], network_features(config.out, manifest, open_frames(manifest, ["rgb"], 30), "test"))


def test_networks_are_not_tested_on_their_training_videos(config, videos, tmp_path):
    """A network and a classifier after a changed split: refused, naming a video."""
    fit(config)
    finetuning = classifier_of(config.out, videos, tmp_path)
    finetune(finetuning)
    swap_first_test_and_training_video(videos)
    manifest = Manifest.read(videos)
    with pytest.raises(ValueError, match=r"trained on 1 of the 18 test videos, .*\.mp4 among them"):
        network_features(config.out, manifest, open_frames(manifest, ["rgb"], 30), "test")
    with pytest.raises(ValueError, match=r"trained on 1 of the 18 test videos"):
        predict(tmp_path / "f", manifest.split("test"), "centre")
    with pytest.raises(ValueError, match=r"trained on 1 of the 18 test videos"):
        finetune(finetuning)


@pytest.mark.parametrize("state", ["interrupted", "finished"])
def test_changes_without_effect_are_not_compared(config, videos, tmp_path, monkeypatch, state):
    """Device, workers, a moved cache, moved videos, a moved training: it is resumed or loaded."""
    config = dataclasses.replace(config, epochs=2, cache=str(tmp_path / "cache"))
    whole = fit(dataclasses.replace(config, out=str(tmp_path / "whole")))
    if state == "interrupted":
        with interrupted(training, 1):
            fit(config)
    else:
        fit(config)
        monkeypatch.setattr(training, "train_epoch", None)  # would fail if it were called
    moved = copy_of(videos, tmp_path / "moved")
    shutil.rmtree(videos.parent)
    Path(config.out).rename(tmp_path / "renamed")
    now = dict(
        device="cpu", workers=1, cache=str(tmp_path / "cache2"), manifest=str(moved), out=str(tmp_path / "renamed")
    )
    shutil.move(tmp_path / "cache", tmp_path / "cache2")
    found = fit(dataclasses.replace(config, **now))
    assert hash_weights(load_encoder(found).state_dict()) == hash_weights(load_encoder(whole).state_dict())
    assert json.loads((found / "config.json").read_text())["workers"] == 1


def test_cascade_settings_do_not_matter_without_a_cascade(config, monkeypatch):
    """Also for a training of an earlier version, whose fingerprint holds all settings."""
    with monkeypatch.context() as earlier:
        earlier.setattr(training, "training_settings", lambda config, own_miner: deciding_settings(config))
        assert "num_stages" in Fingerprint.read(fit(config)).parts["settings"]
    monkeypatch.setattr(training, "train_epoch", None)  # would fail if it were called
    fit(dataclasses.replace(config, num_stages=2, top_k=1, siblings="ignore"))
    with pytest.raises(ValueError, match="K 21 -> 9"):
        fit(dataclasses.replace(config, num_stages=2, K=9))


def test_a_lower_rate_after_a_loss_that_is_not_finite(config, monkeypatch):
    config = dataclasses.replace(config, epochs=2)
    train_epoch = training.train_epoch

    def diverge(config, state, *rest):
        if state.epoch == 1 and config.lr == 1e-3:
            raise FloatingPointError
        return train_epoch(config, state, *rest)

    monkeypatch.setattr(training, "train_epoch", diverge)
    with pytest.raises(FloatingPointError):
        fit(config)
    lower = dataclasses.replace(config, lr=1e-4)
    with pytest.raises(ValueError, match="lr 0.001 -> 0.0001"):
        fit(lower)
    assert read_metrics(fit(lower, continue_with=["lr"])).lr.tolist() == pytest.approx([1e-3, 1e-4])
    assert fit(lower)


def test_a_checkpoint_of_another_training_is_refused(config, tmp_path):
    other = fit(dataclasses.replace(config, seed=1, out=str(tmp_path / "other")))
    folder = fit(config)
    shutil.copy(other / "checkpoint.pt", folder)
    (folder / "metrics.json").unlink()
    with pytest.raises(ValueError, match="belongs to another training"):
        fit(config)


def test_the_users_own_miner(config):
    from cprlib.cascade import Retrieval

    asked = []

    def first_allowed_rows(anchors, bank, exclude):
        asked.append((set(anchors), set(bank)))
        indices = exclude.int().argsort(dim=1, stable=True)[:, :3]
        return Retrieval(indices, ~exclude.gather(1, indices), ())

    folder = fit(dataclasses.replace(config, epochs=2), miner=first_allowed_rows)
    assert asked and asked[0] == ({"rgb"}, {"rgb"}) and read_metrics(folder).pmr.notna().any()
    assert json.loads((folder / "fingerprint.json").read_text())["parts"]["miner"].endswith("first_allowed_rows")
    with pytest.raises(ValueError, match="miner .* -> nothing"):
        fit(dataclasses.replace(config, epochs=2))


def test_a_miner_may_be_an_object_or_a_partial_call(config):
    class Last:
        def __call__(self, anchors, bank, exclude):
            return cascade(plan_stages(exclude.shape[1], ("rgb",), 1, top_k=1))(anchors, bank, exclude)

    def mine(stages, anchors, bank, exclude):
        return cascade(stages)(anchors, bank, exclude)

    stages = plan_stages(config.K, ("rgb",), 1, top_k=1)
    for miner, name in ((Last(), "Last"), (functools.partial(mine, stages), "mine")):
        folder = fit(dataclasses.replace(config, out=f"{config.out}/{name}"), miner=miner)
        assert json.loads((folder / "fingerprint.json").read_text())["parts"]["miner"].endswith(name)


def test_a_view_made_from_another_views_clips(config, videos):
    """The residual: trained and evaluated on frames of RGB, with the same photometric changes."""
    from cprlib.data.augmentation import to_inputs
    from cprlib.training.fit import open_pairs

    residual = dataclasses.replace(config, view="residual", short_side=30)
    item = open_pairs(residual)[(0, 1)]
    assert set(item["q"]) == set(item["k"]) == {"rgb"}
    manifest = Manifest.read(videos)
    features = network_features(fit(residual), manifest, open_frames(manifest, ["residual"], 30), "test")
    assert features.shape[0] == 18 and features.isfinite().all()
    clips = {"rgb": torch.randint(0, 256, (3, 4, 16, 16, 3), dtype=torch.uint8)}
    strong = torch.tensor([True, False, True])
    inputs = to_inputs(clips, ("residual", "rgb"), strong, torch.Generator().manual_seed(0))
    alone = to_inputs(clips, ("rgb",), strong, torch.Generator().manual_seed(0))
    assert torch.equal(inputs["rgb"], alone["rgb"])
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1, 1)
    assert torch.allclose(inputs["residual"][:, :, 1:], (inputs["rgb"] * std).diff(dim=2), atol=1e-5)
