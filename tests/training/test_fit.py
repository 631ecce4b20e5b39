"""Training: each method end to end on a few video files, exact resume, the paper's recipe, early errors."""

import dataclasses
import importlib

import pandas as pd
import pytest
import torch
import yaml

from cprlib.data.manifest import Manifest
from cprlib.encoders import momentum_copy
from cprlib.notebook.parameters import from_notebook
from cprlib.store.checkpoints import load_checkpoint, load_encoder
from cprlib.store.files import project_root
from cprlib.training.config import TrainingConfig
from cprlib.training.cotrain import cotrain, untrained
from cprlib.training.fit import fit, open_pairs
from cprlib.training.loop import read_metrics
from cprlib.training.snapshots import memory_epochs, network_snapshots, read_memory
from tests.trainings import SMALL, interrupted

pretrain = importlib.import_module("cprlib.training.fit")


@pytest.fixture
def config(toy_manifest, tmp_path):
    more = dict(epochs=2, lr_milestones=(1,), K=21, momentum=0.9, num_stages=2, top_k=2)
    return TrainingConfig(manifest=str(toy_manifest), out=str(tmp_path / "run"), **SMALL, **more)


def pre_trained(config, tmp_path):
    """View -> folder of an InfoNCE training."""
    inits = {view: str(tmp_path / f"infonce_{view}") for view in ("rgb", "flow")}
    for view, out in inits.items():
        untrained(dataclasses.replace(config, method="infonce", view=view, out=out))
    return inits


def same_weights(a, b):
    a, b = load_checkpoint(a), load_checkpoint(b)
    parts = ("encoder", "key_encoder", "queue")
    return all(torch.equal(a[part][name], b[part][name]) for part in parts for name in a[part])


@pytest.mark.parametrize("method", ["infonce", "ubernce", "coclr", "cpr"])
def test_every_method_trains_and_writes_all_files(config, tmp_path, method):
    inits = pre_trained(config, tmp_path)
    samplers = {"flow": inits["flow"]} if method in ("coclr", "cpr") else {}
    folder = fit(dataclasses.replace(config, method=method, init=inits["rgb"], samplers=samplers))
    metrics = read_metrics(folder)
    assert metrics.epoch.tolist() == [0, 1] and metrics.lr.tolist() == pytest.approx([1e-3, 1e-4])
    assert metrics.loss.notna().all() and (folder / "metrics.json").exists() and (folder / "environment.json").exists()
    before, after = load_checkpoint(inits["rgb"])["encoder"], load_checkpoint(folder)["encoder"]
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert (folder / "mining.parquet").exists() == (method in ("coclr", "cpr"))
    queue, memory = load_checkpoint(folder)["queue"], read_memory(folder)
    assert memory_epochs(folder) == [0, 1] and list(memory.features) == [*samplers, "rgb"]
    assert torch.equal(memory.features["rgb"], queue["features_rgb"].half().float())


def test_mining_log_is_correct(config, toy_manifest, tmp_path):
    inits = pre_trained(config, tmp_path)
    folder = fit(dataclasses.replace(config, method="cpr", init=inits["rgb"], samplers={"flow": inits["flow"]}))
    log, table = pd.read_parquet(folder / "mining.parquet"), Manifest.read(toy_manifest)
    rows = table.table.set_index("video_id")
    assert (
        log["correct"].to_numpy() == (rows.label[log["query"]].to_numpy() == rows.label[log["mined"]].to_numpy())
    ).all()
    assert (rows.source_id[log["query"]].to_numpy() != rows.source_id[log["mined"]].to_numpy()).all()  # no siblings
    assert set(rows.split[log["mined"]]) == {"train"} and log["rank"].max() == 1
    assert read_metrics(folder).pmr.iloc[1] == pytest.approx(log[log.epoch == 1].correct.mean())


def test_no_training_step_before_the_queue_is_full(config, tmp_path):
    """54 training videos in batches of 8 are 6 steps per epoch; 21 rows are full after three."""
    inits = pre_trained(config, tmp_path)
    folder = fit(dataclasses.replace(config, method="coclr", init=inits["rgb"], samplers={"flow": inits["flow"]}))
    log = pd.read_parquet(folder / "mining.parquet")
    assert log[log.epoch == 0].step.unique().tolist() == [3, 4, 5] and log[log.epoch == 1].step.nunique() == 6


@pytest.mark.parametrize("method", ["infonce", "cpr"])
def test_resume_equals_never_stopped(config, tmp_path, method):
    inits = pre_trained(config, tmp_path)
    settings = dict(
        method=method, epochs=3, init=inits["rgb"], samplers={"flow": inits["flow"]} if method == "cpr" else {}
    )
    straight = fit(dataclasses.replace(config, out=str(tmp_path / "straight"), **settings))
    stopped = dataclasses.replace(config, out=str(tmp_path / "stopped"), **settings)
    with interrupted(pretrain, 2):
        fit(stopped)
    assert not (tmp_path / "stopped" / "metrics.json").exists()
    resumed = fit(stopped)
    assert same_weights(straight, resumed)
    drop = ["clips_per_s", "seconds"]
    pd.testing.assert_frame_equal(read_metrics(straight).drop(columns=drop), read_metrics(resumed).drop(columns=drop))
    if method == "cpr":
        pd.testing.assert_frame_equal(*(pd.read_parquet(f / "mining.parquet") for f in (straight, resumed)))


def test_finished_runs_are_loaded_and_another_configuration_is_refused(config, tmp_path, monkeypatch):
    run = dataclasses.replace(config, method="infonce")
    folder = fit(run)
    monkeypatch.setattr(pretrain, "train_epoch", None)  # would fail if called
    assert fit(run) == folder
    with pytest.raises(ValueError, match=r"made from something else \(lr 0.001 -> 0.01\); choose another run name"):
        fit(dataclasses.replace(run, lr=1e-2))


def test_networks_of_other_videos_are_refused(config, toy_manifest, tmp_path):
    videos, path = Manifest.read(toy_manifest), tmp_path / "videos.csv"
    videos.write(path)
    config = dataclasses.replace(config, manifest=str(path))
    fit(config)
    videos.table.loc[0, "num_frames"] -= 1
    videos.write(path)
    with pytest.raises(ValueError, match="made from something else .other training videos.; .* delete the folder"):
        fit(config)


def test_cotraining_mines_with_the_newest_networks(config, tmp_path):
    inits = pre_trained(config, tmp_path)
    last = cotrain(dataclasses.replace(config, method="cpr", out=str(tmp_path), epochs=1), 2, inits)
    assert {v: f.name for v, f in last.items()} == {"rgb": "cpr_rgb_cycle2", "flow": "cpr_flow_cycle2"}
    names = ("cpr_rgb_cycle1", "cpr_flow_cycle1", "cpr_rgb_cycle2")
    configs = {name: load_checkpoint(tmp_path / name)["config"] for name in names}
    assert configs["cpr_rgb_cycle1"]["samplers"] == {"flow": inits["flow"]}
    assert configs["cpr_flow_cycle1"]["samplers"]["rgb"].endswith("cpr_rgb_cycle1")
    assert configs["cpr_rgb_cycle2"]["samplers"]["flow"].endswith("cpr_flow_cycle1")
    assert configs["cpr_rgb_cycle2"]["init"].endswith("cpr_rgb_cycle1")


def test_items_have_both_views_of_the_key(config, tmp_path):
    inits = pre_trained(config, tmp_path)
    item = open_pairs(dataclasses.replace(config, method="cpr", samplers={"flow": inits["flow"]}))[(0, 1)]
    assert set(item["q"]) == {"rgb"} and item["k"]["flow"].shape == (4, 16, 16, 2)


@pytest.mark.parametrize("name", ["ucf101", "hmdb51"])
def test_one_step_of_the_papers_recipe(name):
    """S3D, 32 x 128 x 128, K 2048, 7 stages: values from paper.md, one step on the CPU."""
    from cprlib.memory import FeatureQueue
    from cprlib.methods import build_miner
    from cprlib.training.step import TrainState, train_step

    values = yaml.safe_load((project_root() / "params" / f"{name}.yaml").read_text())
    fields = {field.name for field in dataclasses.fields(TrainingConfig)}
    settings = {k: v for k, v in values.items() if k in fields} | {"precision": "fp32", "device": "cpu"}
    config = from_notebook(TrainingConfig, settings, method="cpr", out="unused", samplers={"flow": "unused"})
    shape = config.clip_len, config.clip_size, config.K, config.num_stages, config.momentum
    assert shape == (32, 128, 2048, 7, 0.999)
    assert (config.lr, config.weight_decay, config.epochs, config.lr_milestones) == (1e-3, 1e-5, 100, (80,))
    assert (values["infonce_epochs"], values["infonce_milestones"]) == (300, [250, 280])
    torch.manual_seed(0)
    encoder = pretrain.build_encoder(config.backbone, config.dim)
    sampler = pretrain.build_encoder(config.backbone, config.dim).eval().requires_grad_(False)
    queue = FeatureQueue(config.K, config.dim, config.views)
    full = {view: torch.nn.functional.normalize(torch.randn(config.K, config.dim), dim=1) for view in config.views}
    ids = torch.arange(config.K)
    queue.enqueue(full, ids + 10, ids + 10, ids % 101)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    state = TrainState(encoder, momentum_copy(encoder), {"flow": sampler}, queue, optimizer)
    clips = {v: torch.randint(0, 256, (2, 32, 128, 128, c), dtype=torch.uint8) for v, c in (("rgb", 3), ("flow", 2))}
    batch = {
        "q": {"rgb": clips["rgb"]},
        "k": clips,
        "strong_q": torch.tensor([True, False]),
        "strong_k": torch.ones(2) > 0,
    }
    batch |= {name: torch.tensor([0, 1]) for name in ("video_id", "source_id", "label")}
    miner = build_miner("cpr", config.views, config.K, config.num_stages, config.ratio, config.top_k)
    before = encoder.head[0].weight.clone()
    loss, log = train_step(config, state, miner, batch, torch.Generator().manual_seed(0))
    assert torch.isfinite(loss) and log["valid"].sum() == 2 * config.top_k
    assert not torch.equal(before, encoder.head[0].weight) and int(queue.enqueued) == config.K + 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(view="depth"), "view: 'depth' is not one of rgb, flow"),
        (dict(method="moco"), "method: 'moco' is not one of"),
        (dict(epochs="ten"), r"epochs: expected int, got 'ten' \(str\)"),
        (dict(lr=-1.0), "lr: -1.0 must be greater than 0"),
        (dict(momentum=1.5), "momentum: 1.5 must lie between 0 and 1"),
        (dict(method="cpr", K=64, num_stages=9), "use at most 6 stages"),
        (dict(samplers={"rgb": "x"}), "samplers: 'rgb' is the trained view"),
    ],
)
def test_bad_settings_fail_before_anything_starts(config, change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(config, **change)


def test_bad_inputs_fail_early_and_say_what_to_do(config, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.csv"):
        fit(dataclasses.replace(config, manifest=str(tmp_path / "nowhere.csv")))
    table = Manifest.read(config.manifest).table.assign(flow_path="")
    Manifest(table).write(tmp_path / "noflow.csv")
    with pytest.raises(ValueError, match="no flow yet .* run notebook 01_flow_extraction"):
        fit(dataclasses.replace(config, method="infonce", view="flow", manifest=str(tmp_path / "noflow.csv")))
    with pytest.raises(ValueError, match="coclr mines in another view"):
        fit(dataclasses.replace(config, method="coclr"))
    with pytest.raises(FileNotFoundError, match="no checkpoint at .*train that network first"):
        fit(dataclasses.replace(config, method="coclr", samplers={"flow": str(tmp_path / "gone")}))
    inits = pre_trained(config, tmp_path)
    with pytest.raises(ValueError, match="is a rgb network, but a flow network is needed"):
        fit(dataclasses.replace(config, method="coclr", samplers={"flow": inits["rgb"]}))
    with pytest.raises(ValueError, match="K: a queue of 500 rows never fills in 2 epochs of 48 clips"):
        fit(dataclasses.replace(config, method="coclr", samplers={"flow": inits["flow"]}, K=500))
    assert not (tmp_path / "run").exists()


def test_scalars_go_to_tensorboard_unless_switched_off(config, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = fit(dataclasses.replace(config, method="infonce"))
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [0, 1]
    assert events.Scalars("loss")[1].value == pytest.approx(read_metrics(folder).loss[1], rel=1e-5)
    monkeypatch.setenv("CPR_TENSORBOARD", "0")
    assert not (fit(dataclasses.replace(config, out=str(tmp_path / "quiet"))) / "tensorboard").exists()


def test_network_snapshots_are_kept(config, tmp_path):
    inits = pre_trained(config, tmp_path)
    kept = dict(method="cpr", epochs=4, init=inits["rgb"], samplers={"flow": inits["flow"]})
    folder = fit(dataclasses.replace(config, **kept))
    assert list(network_snapshots(folder)) == [1, 2, 3]
    weights = [load_encoder(path, "rgb").state_dict() for path in network_snapshots(folder).values()]
    assert not torch.equal(weights[0]["head.0.weight"], weights[2]["head.0.weight"])
