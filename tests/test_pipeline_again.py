"""The Snakefile called again: what was moved, what was made from something else, what was killed."""

import contextlib
import os
import shutil
import time

import pandas as pd
import psutil
import pytest
import torch

from cprlib.store.checkpoints import load_checkpoint
from cprlib.training.loop import read_metrics
from tests.pipeline import Pipeline


@pytest.fixture
def moved(finished, tmp_path):
    """The smoke run in another folder, of which Snakemake itself knows nothing."""
    shutil.copytree(finished, tmp_path / "outputs")
    return Pipeline(tmp_path)


def test_flow_of_another_bound_retrains_what_sees_flow(moved):
    """The fault that silently kept a network: its folder is recognised as made from something else."""
    networks = {view: moved.outputs / f"smoke/infonce_{view}/checkpoint.pt" for view in ("rgb", "flow")}
    before = {view: path.read_bytes() for view, path in networks.items()}
    # every step anew: all that it finds is still fit
    status, printed = moved.run("--forceall", networks["flow"].with_name("metrics.json"))
    assert status == 0 and "made from something else" not in printed and "02_infonce_flow | finished" in printed
    assert before == {view: path.read_bytes() for view, path in networks.items()}
    status, printed = moved.run("--until", "infonce", flow_bound=2.0)
    assert status == 0, printed
    assert "infonce_flow: made from something else before (flow bound 8.0 -> 2.0" in printed
    after = {view: path.read_bytes() for view, path in networks.items()}
    assert before["rgb"] == after["rgb"] and before["flow"] != after["flow"]


def test_other_settings_are_noticed_where_the_run_was_moved(moved):
    """Snakemake's own notes of settings stay behind; the marks of the steps move along."""
    assert not moved.plan()
    assert {"flow", "infonce", "coclr", "cpr"} <= moved.plan(flow_bound=2.0)
    assert moved.plan(probe_epochs=6) == {"all", "probe", "comparison"}


def test_files_of_tomorrow_are_named_before_anything_is_done(moved):
    (moved.outputs / "smoke/comparison.csv").unlink()
    table = moved.outputs / "smoke/tables/retrieval.csv"
    os.utime(table, (time.time() + 86400,) * 2)
    status, printed = moved.run()
    assert status == 1 and "tables/retrieval.csv is of 20" in printed and "set the clock right" in printed, printed
    assert "modification time" not in printed and not (moved.outputs / "smoke/comparison.csv").exists()
    table.touch()
    assert moved.run("comparison")[0] == 0


def test_killed_in_the_middle_and_called_again_it_ends_with_the_same_result(moved):
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
