"""Two processes with half a batch each equal one with the whole; killing one ends both, and they resume."""

import dataclasses
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch

from cprlib.store.checkpoints import load_checkpoint
from cprlib.training import launch
from cprlib.training.config import TrainingConfig
from cprlib.training.cotrain import untrained
from cprlib.training.fit import fit
from cprlib.training.iic import IICConfig, fit_iic
from cprlib.training.loop import read_metrics
from tests.trainings import SMALL, in_two


@pytest.fixture
def config(toy_manifest, tmp_path):
    """CoCLR on 54 videos in batches of 8: six steps per epoch; the first three fill the memory."""
    small = SMALL | dict(method="coclr", K=21, top_k=2, epochs=4, lr_milestones=(), momentum=0.9, device="cpu")
    config = TrainingConfig(manifest=str(toy_manifest), out=str(tmp_path / "one"), **small)
    flow = dataclasses.replace(config, method="infonce", view="flow", out=str(tmp_path / "flow"))
    return dataclasses.replace(config, samplers={"flow": str(untrained(flow))})


def kill_one(log, killed):
    """Kill the second process after an epoch."""
    while not log.exists():
        time.sleep(0.01)
    ranks = [p for p in psutil.Process().children(recursive=True) if "cprlib.training.one_rank" in p.cmdline()[-2:]]
    next(p for p in ranks if p.environ().get("RANK") == "1").kill()
    killed.append(time.monotonic())


def test_two_processes_equal_one_and_a_killed_one_ends_both(config, tmp_path):
    one = fit(config)
    two = dataclasses.replace(config, out=str(tmp_path / "two"), devices=2)
    killed = []
    killer = threading.Thread(target=kill_one, args=(Path(two.out) / "metrics.jsonl", killed))
    killer.start()
    with pytest.raises(RuntimeError, match="process 1 of the training was killed by signal 9; what was finished is"):
        fit(two)
    killer.join()
    assert time.monotonic() - killed[0] < 30
    assert len(read_metrics(two.out)) < 4
    fit(two)  # resumes
    a, b = read_metrics(one), read_metrics(two.out)
    assert (a.loss - b.loss).abs().max() < 1e-5 and a.pmr.equals(b.pmr) and len(b) == 4
    one, two = load_checkpoint(one)["queue"], load_checkpoint(two.out)["queue"]
    for name, values in one.items():
        exact = not values.is_floating_point()
        assert torch.equal(values, two[name]) if exact else torch.allclose(values, two[name], atol=1e-4), name


REPORT = """\
crash: RuntimeError: process 0 lost another process of the training (Connection reset by peer); start all of them again
E1127 01:13:11.385000 20585 api.py:1002] failed (exitcode: 1) local_rank: 0 (pid: 20590) of binary: python
Failures:
[1]:
  rank      : 1 (local_rank: 1)
  exitcode  : -9 (pid: 20591)  (SIGKILL)
Root Cause (first observed failure):
[0]:
  rank      : 0 (local_rank: 0)
  exitcode  : 1 (pid: 20590)
"""


def test_the_killed_process_is_named_even_if_another_end_is_reported_first():
    assert launch._cause(REPORT.splitlines()).startswith("process 1 of the training was killed by signal 9; ")


def start_machine(number, port, config):
    """Start a user's script as one of two machines, each with one process."""
    script = f"from cprlib.training import TrainingConfig, fit\nfit(TrainingConfig(**{dataclasses.asdict(config)}))"
    rendezvous = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "RANK": number, "WORLD_SIZE": 2}
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, **{name: str(value) for name, value in rendezvous.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_machines(config):
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    return [start_machine(number, port, config) for number in (0, 1)]


def test_two_machines_equal_one_and_a_killed_one_ends_the_other(config, tmp_path):
    config = dataclasses.replace(config, method="infonce", samplers={})
    two = dataclasses.replace(config, out=str(tmp_path / "two"), devices=2)
    first, second = start_machines(two)
    while not (tmp_path / "two/metrics.jsonl").exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.01)
    second.kill()
    said, _ = first.communicate(timeout=30)
    second.communicate()
    assert first.returncode == 1 and "RuntimeError: process 0 lost another process of the training (" in said, said
    assert len(read_metrics(two.out)) < 4
    first, second = start_machines(two)  # resumes
    said, nothing = first.communicate()[0], second.communicate()[0]
    assert first.returncode == second.returncode == 0 and "two: " in said and not nothing, said + nothing
    assert (read_metrics(fit(config)).loss - read_metrics(two.out).loss).abs().max() < 1e-5


def test_banks_of_two_processes_equal_those_of_one(toy_manifest, tmp_path):
    small = SMALL | dict(negatives=20, num_stages=2, top_k=2, device="cpu", intra="shuffle", epochs=3, lr_milestones=())
    small |= dict(tau=0.5, lr=1e-4)  # a loss near 1, where 1e-5 is more than rounding
    methods = ("iic", "iic_cpr")
    ones = [IICConfig(str(toy_manifest), str(tmp_path / method), method=method, **small) for method in methods]
    twos = [dataclasses.replace(one, out=f"{one.out}_two", devices=2) for one in ones]
    in_two("cprlib.training.iic:fit_iic", twos)
    for one, two in zip(ones, twos, strict=True):
        a, b = read_metrics(fit_iic(one)), read_metrics(two.out)
        assert (a.loss - b.loss).abs().max() < 1e-5 and (a.spread - b.spread).abs().max() < 1e-5
        assert len(b) == 3 and a.pmr.equals(b.pmr) and a.pmr.notna().any() == (one.method == "iic_cpr")
        a, b = load_checkpoint(one.out), load_checkpoint(two.out)
        for bank in ("memory", "disordered"):
            for name, values in a[bank].items():
                assert torch.allclose(values.float(), b[bank][name].float(), atol=1e-4), name


def test_settings_that_cannot_be_shared_are_refused(config, monkeypatch):
    with pytest.raises(ValueError, match="devices: 3 share a batch equally; batch_size 16"):
        IICConfig("m", "o", devices=3)
    with pytest.raises(ValueError, match="devices: 2 need as many GPUs, but device is 'cuda:0'"):
        fit(dataclasses.replace(config, devices=2, device="cuda:0"))
    with pytest.raises(ValueError, match="devices: 3 share a batch equally .* batch_size is 8"):
        dataclasses.replace(config, devices=3)
    with pytest.raises(ValueError, match="a miner of your own cannot be sent"):
        fit(dataclasses.replace(config, devices=2), miner=lambda *_: None)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ValueError, match=r"devices: 2 asked for, but 4 processes were started \(WORLD_SIZE\)"):
        fit(dataclasses.replace(config, devices=2))
