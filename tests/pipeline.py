"""Call the Snakefile with params/smoke.yaml or another file, keeping everything in one temporary folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd

from cprlib.store.files import project_root

ROOT = project_root()
# What a browser fetches when it opens a page.
FETCHES = re.compile(r"""(?:src|href)=["']?(?:https?:)?//|url\(["']?https?:|from ["']https?:""")


class Pipeline:
    """Runs, by default with the smoke settings, that keep everything in one temporary folder."""

    def __init__(self, folder: Path, params: str = "params/smoke.yaml"):
        self.params = ROOT / params
        self.outputs = folder / "outputs"
        self.folder = folder

    def command(self, *arguments, **config):
        config = {"outputs": self.outputs, "run": "smoke"} | config
        options = ["--configfile", self.params, "--cores", "2"]
        options += ["--directory", self.folder, "--config"]
        pairs = [f"{name}={value}" for name, value in config.items()]
        snakemake = [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile"]
        return [*map(str, [*snakemake, *arguments, *options]), *pairs]

    def start(self, *arguments, **config):
        return subprocess.Popen(
            self.command(*arguments, **config),
            cwd=ROOT,
            # The steps run in `folder`: without this they would import the checkout that was installed.
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments, **config):
        """Run it; returns exit status and output."""
        process = self.start(*arguments, **config)
        printed, _ = process.communicate()
        return process.returncode, printed

    def plan(self, *arguments, **config):
        """Names of the rules that would run."""
        status, printed = self.run("--dry-run", *arguments, **config)
        assert status == 0, printed
        return set(re.findall(r"^(?:local)?rule (\w+):", printed, re.MULTILINE))

    def results(self, run="smoke"):
        """The comparison table of a run."""
        return pd.read_csv(self.outputs / run / "comparison.csv")
