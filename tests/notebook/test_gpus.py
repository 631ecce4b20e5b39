"""Pipeline steps share out GPUs; tested with a list of GPU numbers, so that none is needed."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from cprlib.notebook import gpus
from cprlib.notebook.gpus import take, visible
from tests.pipeline import ROOT, Pipeline

TELL = "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'), flush=True); input()"


@pytest.mark.parametrize(
    ("given", "expected"), [("0,2", ["0", "2"]), ("GPU-ab, 1", ["GPU-ab", "1"]), ("-1", []), ("", [])]
)
def test_a_job_uses_only_its_own_gpus(monkeypatch, given, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible() == expected


def test_the_parts_of_a_divided_gpu_are_listed(monkeypatch, tmp_path):
    listed = "GPU 0: A (UUID: GPU-0a)\n  MIG 3g Device  0: (UUID: MIG-1)\n  MIG 3g Device  1: (UUID: MIG-GPU-0a/2/0)\n"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus.shutil, "which", lambda name: name)
    monkeypatch.setattr(gpus.tempfile, "tempdir", str(tmp_path))
    for told, expected in ((listed, ["MIG-1", "MIG-GPU-0a/2/0"]), ("GPU 0: A\nGPU 1: A\n", ["0", "1"]), ("failed", [])):
        monkeypatch.setattr(gpus.subprocess, "run", lambda *_, told=told, **__: SimpleNamespace(stdout=told))
        assert visible() == expected == take(len(expected))


def test_commands_get_free_gpus(tmp_path):
    running = []

    def start(number, gpus="5,7"):
        env = {**os.environ, "CUDA_VISIBLE_DEVICES": gpus, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "cprlib.notebook.gpus", str(number), sys.executable, "-c", TELL]
        running.append(subprocess.Popen(command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        return running[-1].stdout.readline().strip()

    try:
        assert [start(1), start(1)] == ["5", "7"]
        assert start(1) == "5"  # a third command shares
        running[1].kill()
        running[1].wait()
        assert start(1) == "7"  # free again
        assert start(2) == "7,5"  # the least used first
        assert sorted(start(3)) == sorted("5,7") and start(1, "") == ""
    finally:
        for process in running:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("words", [[], ["x", "echo"], ["1"], ["1", "no-such-command"]])
def test_a_wrong_command_is_told(monkeypatch, capsys, words):
    monkeypatch.setattr(sys, "argv", ["gpus", *words])
    with pytest.raises(SystemExit):
        gpus.main()
    assert "python -m cprlib.notebook.gpus: error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gpus", "config", "expected"),
    [
        ("0,1", {}, "1"),
        ("0,1", {"devices": 2, "batch_size": 16}, "2"),
        ("0", {"devices": 2}, "1"),
        ("0,1", {"device": "cpu"}, "0"),
    ],
)
def test_trainings_ask_the_pipeline_for_gpus(tmp_path, monkeypatch, gpus, config, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    status, printed = Pipeline(tmp_path).run("--dry-run", **config)
    assert status == 0, printed
    jobs = dict(re.findall(r"^rule (\w+):\n(?: .*\n)*?    resources: (.*)\n", printed, re.MULTILINE))
    asked = {name: (re.findall(r"\bgpu=(\d)", told) or ["none"])[0] for name, told in jobs.items()}
    assert {asked[name] for name in ("infonce", "coclr", "cpr", "retrieval", "probe")} == {expected}
    assert asked.get("flow", "none") == "none"
