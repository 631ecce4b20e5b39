"""Videos divided among jobs: together they make bit for bit what one job makes."""

import re
import shutil

import pytest
import torch

from cprlib.data import frame_cache
from cprlib.data.frame_cache import build_cache
from cprlib.data.frames import open_frames
from cprlib.data.manifest import Manifest
from cprlib.data.parallel import read_shard
from cprlib.evaluation import feature_shard, kept
from cprlib.evaluation.features import network_features
from tests.pipeline import Pipeline


def test_a_cache_of_shards_equals_that_of_one_job_and_finished_shards_are_kept(toy_manifest, tmp_path, monkeypatch):
    manifest, views = Manifest.read(toy_manifest), ["rgb", "flow"]
    build_cache(manifest, tmp_path / "whole", views, 24, workers=1)
    decoded, decode = [], frame_cache._chunks
    monkeypatch.setattr(frame_cache, "_chunks", lambda *given: decoded.append(given[0]) or decode(*given))
    for shard in ((1, 2), (1, 2), (0, 2)):
        build_cache(manifest, tmp_path / "joined", views, 24, 1, shard)
    assert len(decoded) == len(set(decoded)) == 2 * len(manifest)
    build_cache(manifest, tmp_path / "joined", views, 24, workers=1)
    build_cache(manifest, tmp_path / "joined", views, 24, 1, (0, 2))  # a finished cache needs no shards
    assert len(decoded) == 2 * len(manifest)
    for view in views:
        a, b = (tmp_path / folder / f"{view}_24.bin" for folder in ("whole", "joined"))
        assert a.read_bytes() == b.read_bytes()
    assert not list((tmp_path / "joined").glob("part*"))
    with pytest.raises(ValueError, match=r"shard is \(2, 2\)"):
        build_cache(manifest, tmp_path / "joined", views, 24, 1, (2, 2))
    with pytest.raises(ValueError, match="shard: '2' is not i/n"):
        read_shard("2")


def test_features_of_shards_equal_those_of_one_job(small_run, toy_manifest, tmp_path, monkeypatch):
    manifest = Manifest.read(toy_manifest)
    left = shutil.ignore_patterns("features_*")  # of other tests, with other batches
    network = shutil.copytree(small_run / "infonce_flow", tmp_path / "flow", ignore=left)
    frames = open_frames(manifest, ["flow"], 36)
    whole = network_features(network, manifest, frames, "test", 32)
    for file in network.glob("features_*"):
        file.unlink()
    empty = network_features(network, manifest, frames, "test", 32, shard=(0, 20))  # with 18 videos, two jobs have none
    assert empty.shape == (0, whole.shape[1])
    words = ["feature_shard", str(network), "--manifest", str(toy_manifest), "--short-side", "36"]
    for shard in ("2/3", "0/3", "1/3"):
        monkeypatch.setattr("sys.argv", [*words, "--shard", shard])
        feature_shard.main()
    monkeypatch.setattr("cprlib.evaluation.features.extract_features", None)
    assert torch.equal(network_features(network, manifest, frames, "test", 32), whole)
    (file,) = network.glob("features_test*")
    kept.keep(file, torch.zeros_like(whole), "of another network")
    with pytest.raises(TypeError):  # not reused: extracting them again fails here
        network_features(network, manifest, frames, "test", 32)
    monkeypatch.setattr("sys.argv", [*words, "--shard", "3/2"])
    with pytest.raises(SystemExit, match=r"error: shard is \(3, 2\)"):
        feature_shard.main()


def test_the_pipeline_plans_one_job_per_shard(tmp_path):
    pipeline = Pipeline(tmp_path)
    status, printed = pipeline.run("--dry-run", shards=3, cache=tmp_path / "cache")
    assert status == 0, printed
    jobs = re.findall(r"^(?:local)?rule (\w+):$", printed, re.MULTILINE)
    assert [jobs.count(f"{step}_shard") for step in ("flow", "cache", "features")] == [3, 3, 3 * 5]
    assert [jobs.count(step) for step in ("flow", "cache", "retrieval", "infonce")] == [1, 1, 1, 2]
    assert not any(name.endswith("_shard") for name in pipeline.plan())
    status, printed = pipeline.run("--dry-run", shards=0)
    assert status == 1 and "shards: 0 must be at least 1" in printed
