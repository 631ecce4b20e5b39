"""A step never makes the host wait for a result of the device."""

import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cprlib.training.config import TrainingConfig
from cprlib.training.cotrain import untrained
from cprlib.training.fit import fit
from cprlib.training.iic import IICConfig, fit_iic
from tests.trainings import SMALL

ASKING = {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal"}
# These read values drawn on the host, on any device; the losses check positives only on a CPU.
HOST = {"to_inputs", "photometric", "gaussian_blur", "own_draws", "find_positives", "_check_positives"}


class Asked(TorchDispatchMode):
    """Count the operations that read a number, by function of this project."""

    def __init__(self):
        super().__init__()
        self.by = Counter()

    def note(self):
        frame = sys._getframe(1)
        while "cprlib" not in Path(frame.f_code.co_filename).parts or frame.f_code.co_name.startswith("<"):
            frame = frame.f_back
        self.by[frame.f_code.co_name] += 1

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().split("::")[1].split(".")[0]
        masks = name.startswith("index") and any(
            x is not None and x.dtype in (torch.bool, torch.uint8)
            for x in (args[1] if isinstance(args[1], list) else [])
        )
        if name in ASKING or masks:
            self.note()
        return function(*args, **(kwargs or {}))


def train(manifest, out, method, device):
    small = SMALL | dict(top_k=2, num_stages=2, epochs=2, lr_milestones=(), device=device, method=method)
    small["manifest"] = str(manifest)
    if method.startswith("iic"):
        return fit_iic(IICConfig(out=str(out), negatives=20, ratio=0.5, **small))
    config = TrainingConfig(out=str(out), K=21, momentum=0.9, **small)
    if method == "cpr":
        flow = {"method": "infonce", "view": "flow", "out": str(out.with_name("flow"))}
        sampler = untrained(TrainingConfig(**{**small, "K": 21, **flow}))
        config = TrainingConfig(out=str(out), K=21, samplers={"flow": str(sampler)}, **small)
    return fit(config)


METHODS = ["infonce", "ubernce", "cpr", "iic", "iic_cpr"]


def within_steps(monkeypatch, method, guard):
    """Replace each step by `guard`."""
    name = "iic" if method.startswith("iic") else "step"
    module = sys.modules[f"cprlib.training.{name}"]
    step = module.train_step
    monkeypatch.setattr(module, "train_step", lambda *arguments: guard(step, arguments))


@pytest.mark.parametrize("method", METHODS)
def test_no_step_reads_a_number(toy_manifest, tmp_path, monkeypatch, method):
    asked, steps = Asked(), []

    def guard(step, arguments):
        with monkeypatch.context() as patch, asked:
            for name in ("cpu", "numpy", "tolist"):
                original = getattr(torch.Tensor, name)
                patch.setattr(torch.Tensor, name, lambda x, *a, _f=original, **k: (asked.note(), _f(x, *a, **k))[1])
            result = step(*arguments)
        steps.append(result)
        return result

    within_steps(monkeypatch, method, guard)
    train(toy_manifest, tmp_path / method, method, "cpu")
    assert len(steps) == 12
    assert asked.by.pop("has_negatives", 0) <= 2  # while the memory holds only a few rows
    assert set(asked.by) <= HOST


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, which reports where the host waits")
@pytest.mark.parametrize("method", METHODS)
def test_no_step_waits_for_the_gpu(toy_manifest, tmp_path, monkeypatch, method):
    steps = []

    def guard(step, arguments):
        torch.cuda.set_sync_debug_mode("error" if len(steps) > 3 else "default")
        try:
            steps.append(step(*arguments))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return steps[-1]

    within_steps(monkeypatch, method, guard)
    train(toy_manifest, tmp_path / method, method, "cuda")
    assert len(steps) == 12
