"""Results that no longer belong to what is there now: made again or refused, never silently used."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest
import torch

from cprlib.data.content import training_rows
from cprlib.data.flow import extract_flow
from cprlib.data.manifest import Manifest
from cprlib.evaluation.centre import training_centre
from cprlib.evaluation.finetune import FinetuneConfig, finetune, predict
from cprlib.evaluation.judged import check_descent
from cprlib.evaluation.video_encoder import load_encoder
from cprlib.features import feature_table
from cprlib.search import open_index, update_index
from cprlib.search import update as update_module
from cprlib.search.query import search
from cprlib.store.checkpoints import load_checkpoint
from cprlib.store.fingerprint import Fingerprint
from cprlib.store.folders import METRICS, is_finished, read_config
from cprlib.store.sealed import read_sealed
from cprlib.training.config import TrainingConfig
from cprlib.training.cotrain import cotrain, untrained
from cprlib.training.fit import fit


@pytest.fixture
def videos(toy_manifest, tmp_path):
    """A copy of a part of the data for a test to change: 15 training and 5 test videos; flow stays where it is."""
    table = Manifest.read(toy_manifest).table.query("label < 5")
    (tmp_path / "data/videos").mkdir(parents=True)
    paths = [shutil.copy(path, tmp_path / "data/videos" / f"{n}.mp4") for n, path in enumerate(table.path)]
    Manifest(table.assign(path=[*map(str, paths)], video_id=range(len(table)))).write(tmp_path / "data/manifest.csv")
    return tmp_path / "data/manifest.csv"


@pytest.fixture
def config(videos, tmp_path):
    small = dict(backbone="tiny", dim=8, clip_len=4, clip_size=16, short_side=30, batch_size=8, epochs=1, top_k=2)
    return TrainingConfig(manifest=str(videos), out=str(tmp_path / "run/t"), K=8, lr_milestones=(), **small)


def replaced(path):
    """Change a byte of a file; its size and time of change stay as they were."""
    content, times = bytearray(Path(path).read_bytes()), os.stat(path)
    content[-20] ^= 1
    Path(path).write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_the_order_of_samplers_is_that_of_the_cascade(config):
    out = Path(config.out)
    views = {v: str(untrained(dataclasses.replace(config, view=v, out=f"{out}_{v}"))) for v in ("residual", "flow")}
    usual = dataclasses.replace(config, method="coclr", epochs=3, samplers=dict(sorted(views.items())))
    weights = load_checkpoint(fit(usual))["encoder"]
    assert not Fingerprint.read(out).parts["order of samplers"]  # absent, as in earlier versions
    other = dataclasses.replace(usual, samplers=views)
    with pytest.raises(ValueError, match=r"order of samplers nothing -> \['residual', 'flow'\]"):
        fit(other)
    again = load_checkpoint(fit(other, redo=True))["encoder"]
    assert any(not torch.equal(weights[name], again[name]) for name in weights)


def test_a_classifier_of_equal_weights_that_see_other_clips(config, videos, tmp_path):
    network = untrained(config)
    short = dict(short_side=30, batch_size=6, epochs=1, lr_milestones=(), held_out=0.0)
    wanted = FinetuneConfig(str(videos), str(tmp_path / "f"), str(network), **short)
    folder = finetune(wanted)
    found = Fingerprint.read(folder)
    earlier = Fingerprint({name: part for name, part in found.parts.items() if name != "clips"})
    earlier.write(folder)  # as before clips were compared
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)
    torch.save(saved | {"fingerprint": earlier.hash}, folder / "checkpoint.pt")
    assert finetune(wanted) == folder and Fingerprint.read(folder) == earlier
    untrained(dataclasses.replace(config, clip_len=2), redo=True)  # the same weights
    with pytest.raises(ValueError, match="clips clip_len nothing -> 2"):
        finetune(wanted)


def test_a_classifier_that_moved_finds_the_cache_that_moved_with_it(config, videos, tmp_path):
    short = dict(short_side=30, batch_size=6, epochs=1, lr_milestones=(), held_out=0.0)
    cache = str(tmp_path / "data/cache")
    network = untrained(dataclasses.replace(config, cache=cache))
    finetune(FinetuneConfig(str(videos), str(tmp_path / "run/f"), str(network), cache=cache, **short))
    for name in ("data", "run"):
        shutil.move(tmp_path / name, tmp_path / "new" / name)
    test = Manifest.read(tmp_path / "new/data/manifest.csv").split("test")
    assert len(predict(tmp_path / "new/run/f", test, "centre")) == len(test)
    assert not (tmp_path / "data").exists()  # no second cache at the old place


def test_the_centre_of_untrained_weights_follows_the_videos(config, videos, tmp_path):
    rgb, flow = untrained(config), untrained(dataclasses.replace(config, view="flow", out=f"{config.out}_flow"))
    mean, bound = training_centre(rgb).mean, training_centre(flow).flow["bound"]
    assert torch.equal(training_centre(rgb).mean, mean) and bound == 8.0
    manifest = extract_flow(Manifest.read(videos), tmp_path / "flow", "dis", 2.0, workers=1)
    split = ["unused" if n == 0 else name for n, name in enumerate(manifest.table.split)]
    Manifest(manifest.table.assign(split=split)).write(videos)
    assert not torch.equal(training_centre(rgb).mean, mean) and training_centre(flow).flow["bound"] == 2.0
    shutil.rmtree(tmp_path / "data")
    assert training_centre(flow).flow["bound"] == 2.0  # it is usable without the videos


def test_networks_of_a_run_that_do_not_belong_together(config):
    run = Path(config.out).parent
    start = {v: str(untrained(dataclasses.replace(config, view=v, out=f"{run}/infonce_{v}"))) for v in ("rgb", "flow")}
    mining = dataclasses.replace(config, method="coclr", epochs=2, out=str(run))
    networks = cotrain(mining, 1, start)
    check_descent(run / "coclr", networks)
    made = read_config(networks["rgb"]) | {"seed": 3, "lr_milestones": (), "keeps": (), "top_k_phases": ()}
    fit(TrainingConfig(**made), redo=True)  # and stopped before that of flow
    for use in (load_encoder, feature_table):
        with pytest.raises(ValueError, match="coclr_flow_cycle1 was made from another coclr_rgb_cycle1 than there is"):
            use(run / "coclr")
    check_descent(networks["flow"], {"flow": networks["flow"]})  # on its own it is what its fingerprint says
    check_descent(networks["flow"] / "checkpoint.pt", {"flow": networks["flow"]})
    shutil.rmtree(networks["rgb"])
    check_descent(run / "coclr", {"flow": networks["flow"]})  # nobody can tell


def test_metrics_of_another_training_do_not_finish_this_one(config, tmp_path):
    metrics = fit(config) / METRICS
    shutil.copy(metrics, tmp_path)
    fit(dataclasses.replace(config, seed=1), redo=True)
    shutil.copy(tmp_path / METRICS, metrics)  # as Snakemake restores it after a failure
    assert not is_finished(config.out)
    fit(dataclasses.replace(config, seed=1))
    assert is_finished(config.out) and read_sealed(metrics)["fingerprint"] == Fingerprint.read(metrics.parent).hash


def test_a_file_replaced_by_one_of_equal_size_and_time(config, videos, tmp_path):
    manifest = Manifest.read(videos)
    before, path = training_rows(manifest), Path(manifest.split("train").table.path[0])
    untrained(config)
    index = [path.parent, config.out, tmp_path / "index", 1]
    update_index(*index)
    replaced(path)
    assert training_rows(manifest) != before
    assert update_index(*index)[1].new == 1


def test_an_index_and_networks_that_are_trained_again(config, videos, tmp_path, monkeypatch):
    folder, index = Path(Manifest.read(videos).table.path[0]).parent, tmp_path / "index"
    shutil.copy(sorted(folder.glob("*.mp4"))[0], tmp_path / "asked.mp4")
    replaced(tmp_path / "asked.mp4")  # so it is not in the index
    fit(config)
    update_index(folder, config.out, index, workers=1)
    moved = Path(config.out).rename(tmp_path / "run/moved")
    update_index(folder, moved, index, workers=1)
    assert len(search(open_index(index), tmp_path / "asked.mp4"))  # the index knows where they are now
    again = dataclasses.replace(config, seed=1, out=str(moved))
    fit(again, redo=True)
    with pytest.raises(ValueError, match="made with other networks"):  # in the same process
        update_index(folder, moved, index, workers=1)
    monkeypatch.setattr(update_module, "_open", lambda *_: fit(dataclasses.replace(again, seed=2), redo=True))
    with pytest.raises(RuntimeError, match="trained again meanwhile; run the same command again"):
        update_index(folder, moved, tmp_path / "second", workers=1)
