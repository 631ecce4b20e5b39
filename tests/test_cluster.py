"""The Slurm profile is one that Snakemake takes, and a whole paper is planned with it: nothing is run."""

import re
import subprocess
import sys

import pytest

from cprlib.store.files import project_root

pytest.importorskip("snakemake_executor_plugin_slurm", reason="pip install -e '.[slurm]'")


def test_every_training_of_the_paper_asks_for_a_gpu(tmp_path):
    command = [sys.executable, "-m", "snakemake", "-n", "all", "tables", "--nolock", "--profile", "profiles/slurm"]
    command += ["--configfile", "params/toy.yaml", "--config", f"outputs={tmp_path}"]
    done = subprocess.run(command, cwd=project_root(), capture_output=True, text=True)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    jobs = re.findall(r"^rule ([^:\n]+):\n((?: .*\n)+)", printed, re.MULTILINE)
    trainings = [told for name, told in jobs if name in ("infonce", "ubernce", "coclr", "cpr", "finetune")]
    assert len(trainings) >= 11 and all("gpu=1" in told for told in trainings)
    assert {"data", "flow", "retrieval", "probe", "mining", "tables"} <= {name for name, _ in jobs}
    assert not list(tmp_path.iterdir())
