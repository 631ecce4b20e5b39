"""paper.smk: several runs and seeds as one pipeline that makes shared results once. Nothing is run here."""

import re
import subprocess
import sys

import yaml

from cprlib.store.files import project_root


def plan(tmp_path, **config):
    path = tmp_path / "paper.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "-n", "-s", "paper.smk", "--cores", "2", "--configfile", path]
    done = subprocess.run(command, cwd=project_root(), capture_output=True, text=True)
    printed = done.stdout + done.stderr
    return done.returncode, printed, re.findall(r"^(?:local)?rule ([^:\n]+):$", printed, re.MULTILINE)


def test_runs_and_seeds_are_one_plan(tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text((project_root() / "params/smoke.yaml").read_text().replace("run: smoke", "run: other"))
    given = {"runs": ["params/smoke.yaml", str(other)], "seeds": [0, 1], "outputs": str(tmp_path / "out")}
    status, printed, jobs = plan(tmp_path, **given)
    assert status == 0, printed
    runs = [f"{run}_seed{seed}" for run in ("smoke", "other") for seed in (0, 1)]
    for run in runs:
        for step in ("coclr", "cpr", "ablation num_stages=1", "retrieval", "mining", "comparison", "tables"):
            assert jobs.count(f"{run}_{step}") == 1, (run, step)
        assert jobs.count(f"{run}_infonce") == 2 and jobs.count(f"{run}_finetune") == 5
    for shared in ("data", "flow"):  # all runs here share the videos
        assert sum(job.endswith(f"_{shared}") for job in jobs) == 1
    assert not (tmp_path / "out").exists()


def test_a_run_evaluates_networks_that_another_run_of_the_paper_trains(tmp_path):
    smoke = (project_root() / "params/smoke.yaml").read_text()
    other = tmp_path / "other.yaml"
    other.write_text(f"{smoke.replace('run: smoke', 'run: other').split('ablation')[0]}pretrained: smoke\n")
    given = {"runs": ["params/smoke.yaml", str(other)], "seeds": [0], "outputs": str(tmp_path / "out")}
    status, printed, jobs = plan(tmp_path, **given)
    assert status == 0, printed
    assert jobs.count("smoke_seed0_cpr") == jobs.count("other_seed0_retrieval") == 1 and "other_seed0_cpr" not in jobs
    other.write_text(smoke.replace("run: smoke", "run: other").replace("flow_bound: 8.0", "flow_bound: 2.0"))
    status, printed, _ = plan(tmp_path, **given)
    assert status == 1 and "manifest.csv, with other settings; give each run a manifest of its own" in printed


def test_a_wrong_name_fails_at_once(tmp_path):
    status, printed, _ = plan(tmp_path, runs=["params/smoke.yaml"], seeds=[0], epcohs=3)
    assert status == 1 and "unknown parameter 'epcohs'. Did you mean 'epochs'?" in printed
    status, printed, _ = plan(tmp_path, runs=["params/smoke.yaml"] * 2, seeds=[0])
    assert status == 1 and "smoke-seed0 is named twice" in printed
