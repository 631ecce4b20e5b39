"""Snakemake accepts the Slurm profile and plans a whole paper with it; nothing is run."""

import re
import subprocess
import sys

import pytest
import yaml

from cprlib.store.files import project_root

pytest.importorskip("snakemake_executor_plugin_slurm", reason="pip install -e '.[slurm]'")


def plan(*words):
    """The jobs of a dry run with the profile: name and description."""
    command = [sys.executable, "-m", "snakemake", "-n", "--profile", "profiles/slurm", *map(str, words)]
    done = subprocess.run(command, cwd=project_root(), capture_output=True, text=True)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    return re.findall(r"^rule ([^:\n]+):\n((?: .*\n)+)", printed, re.MULTILINE)


def test_every_training_of_the_paper_requests_a_gpu(tmp_path):
    jobs = plan("all", "tables", "--configfile", "params/toy.yaml", "--config", f"outputs={tmp_path}")
    trainings = [told for name, told in jobs if name in ("infonce", "ubernce", "coclr", "cpr", "finetune")]
    assert len(trainings) >= 11 and all("gpu=1" in told for told in trainings)
    assert all("runtime=2880" in told and "threads: 12" in told for name, told in jobs if name in ("infonce", "cpr"))
    assert {"data", "flow", "retrieval", "probe", "mining", "tables"} <= {name for name, _ in jobs}
    assert not list(tmp_path.iterdir())


def test_the_profile_sets_resources_of_a_papers_steps_by_name(tmp_path):
    given = {"runs": ["params/smoke.yaml"], "seeds": [0, 1], "outputs": str(tmp_path / "out"), "shards": 2}
    (tmp_path / "paper.yaml").write_text(yaml.safe_dump(given))
    jobs = plan("-s", "paper.smk", "--configfile", tmp_path / "paper.yaml")
    trainings = [told for name, told in jobs if name.endswith(("_infonce", "_ubernce", "_coclr", "_cpr"))]
    assert len(trainings) == 12
    assert all("runtime=2880" in told and "threads: 12" in told and "gpu=1" in told for told in trainings)
    shards = [told for name, told in jobs if name.endswith("_flow_shard")]
    assert len(shards) == 2 and all("runtime=2880" in told for told in shards)  # both runs share the videos
    assert sum(name.endswith("_features_shard") for name, _ in jobs) == 2 * 2 * 5
