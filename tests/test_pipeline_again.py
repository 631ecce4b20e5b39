"""Calling the Snakefile again: after a move, after changed inputs, after a kill."""

import contextlib
import os
import shutil
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch

from cprlib.data.manifest import Manifest
from cprlib.store.checkpoints import load_checkpoint
from cprlib.training.loop import read_metrics
from tests.pipeline import Pipeline


@pytest.fixture
def moved(finished, tmp_path):
    """The smoke run in another folder, unknown to Snakemake."""
    shutil.copytree(finished, tmp_path / "outputs")
    return Pipeline(tmp_path)


def test_another_flow_bound_retrains_networks_that_use_flow(moved):
    """Regression: such a network was once kept silently; its folder is now recognised as made from other flow."""
    networks = {view: moved.outputs / f"smoke/infonce_{view}/checkpoint.pt" for view in ("rgb", "flow")}
    before = {view: path.read_bytes() for view, path in networks.items()}
    # rerun every step: everything found is still valid
    status, printed = moved.run("--forceall", networks["flow"].with_name("metrics.json"))
    assert status == 0 and "made from something else" not in printed and "02_infonce_flow | finished" in printed
    assert before == {view: path.read_bytes() for view, path in networks.items()}
    status, printed = moved.run("--until", "infonce", flow_bound=2.0)
    assert status == 0, printed
    assert "infonce_flow: made from something else before (flow bound 8.0 -> 2.0" in printed
    after = {view: path.read_bytes() for view, path in networks.items()}
    assert before["rgb"] == after["rgb"] and before["flow"] != after["flow"]


def test_settings_from_before_a_failure_are_made_again(moved):
    """Regression: their mark and the restored metrics.json once stood for the folder that the failure had emptied."""
    status, printed = moved.run("--until", "infonce", lr=1e30)
    assert status == 1 and "FloatingPointError" in printed, printed
    assert (moved.outputs / "smoke/infonce_rgb/metrics.json").exists() and "infonce" in moved.plan()


def test_changed_settings_are_noticed_after_a_move(moved):
    """Snakemake's own record of settings stays behind; the steps' marks move with the run."""
    assert not moved.plan()
    assert {"flow", "infonce", "coclr", "cpr"} <= moved.plan(flow_bound=2.0)
    assert moved.plan(probe_epochs=6) == {"all", "probe", "comparison"}
    assert moved.plan("tables", probe_epochs=6) == {"probe", "ablation", "tables"}
    assert moved.plan("tables", finetune_epochs=3) == {"finetune", "tables"}
    assert moved.plan("tables", ablation="[num_stages=1]") == {"ablation", "tables"}


def test_videos_that_moved_are_listed_again(toy_manifest, tmp_path):
    for path in Manifest.read(toy_manifest).table.query("label < 2").path:
        place = tmp_path / "videos" / Path(path).stem[:4] / Path(path).name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    pipeline, data = Pipeline(tmp_path, "params/own_videos.yaml"), tmp_path / "outputs/data"
    first, second = ({"manifest": data / name} for name in ("manifest.csv", "manifest2.csv"))
    for table in (first, second):  # side by side
        status, printed = pipeline.run("data", videos=tmp_path / "videos", **table)
        assert status == 0, printed
    assert not pipeline.plan("data", videos=tmp_path / "videos", **first)
    (tmp_path / "videos").rename(tmp_path / "moved")
    shutil.rmtree(tmp_path / ".snakemake")  # what Snakemake knows of settings is lost when outputs move
    assert pipeline.plan("data", videos=tmp_path / "moved", **first) == {"data"}


def test_files_from_the_future_are_named_before_anything_runs(moved):
    (moved.outputs / "smoke/comparison.csv").unlink()
    table = moved.outputs / "smoke/tables/retrieval.csv"
    os.utime(table, (time.time() + 86400,) * 2)
    status, printed = moved.run()
    assert status == 1 and "tables/retrieval.csv is of 20" in printed and "set the clock right" in printed, printed
    assert "modification time" not in printed and not (moved.outputs / "smoke/comparison.csv").exists()
    table.touch()
    assert moved.run("comparison")[0] == 0


def test_a_killed_pipeline_resumes_to_the_same_result(moved):
    folders = [moved.outputs / f"smoke/coclr_{view}_cycle1" for view in ("rgb", "flow")]
    before = []
    for folder in folders:
        before.append((load_checkpoint(folder)["encoder"], read_metrics(folder)))
        shutil.rmtree(folder)
    process = moved.start("--until", "coclr")
    while process.poll() is None and not (folders[0] / "metrics.jsonl").exists():  # until the first epoch has ended
        time.sleep(0.05)
    snakemake = psutil.Process(process.pid)
    for job in [snakemake, *snakemake.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            job.kill()
    process.communicate()
    assert not (folders[0] / "metrics.json").exists()
    status, printed = moved.run("--until", "coclr")
    assert status == 0, printed
    for folder, (encoder, metrics) in zip(folders, before, strict=True):
        after = load_checkpoint(folder)["encoder"]
        assert all(torch.equal(values, after[name]) for name, values in encoder.items())
        measured = ["epoch", "loss", "pmr"]
        pd.testing.assert_frame_equal(read_metrics(folder)[measured], metrics[measured])
