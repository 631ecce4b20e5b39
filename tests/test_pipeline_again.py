"""The Snakefile called again: what was moved, what was made from something else, what was killed."""

import contextlib
import os
import shutil
import time

import pandas as pd
import psutil
import pytest

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
    networks_only = ("--until", "infonce")
    status, printed = moved.run(*networks_only, "--forceall")  # every step anew: all that it finds is still fit
    assert status == 0 and "made from something else" not in printed
    assert before == {view: path.read_bytes() for view, path in networks.items()}
    status, printed = moved.run(*networks_only, flow_bound=2.0)
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
    config = {"run": "killed", "methods": "[infonce,coclr]"}
    process = moved.start(**config)
    for line in process.stdout:
        if "03_coclr | started" in line:
            break
    log = moved.outputs / "killed/coclr_rgb_cycle1/metrics.jsonl"
    while process.poll() is None and not log.exists():  # until the first epoch has ended
        time.sleep(0.05)
    snakemake = psutil.Process(process.pid)
    for job in [snakemake, *snakemake.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            job.kill()
    process.communicate()
    assert not (moved.outputs / "killed/comparison.csv").exists()
    status, printed = moved.run(**config)
    assert status == 0, printed
    found = moved.results("killed")
    expected = moved.results().query("method in ['infonce', 'coclr']").reset_index(drop=True)
    assert found.finetune.isna().all()
    pd.testing.assert_frame_equal(found.drop(columns="finetune"), expected.drop(columns="finetune"))
