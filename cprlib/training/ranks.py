"""Several processes that train one network, each with a part of every batch: DistributedDataParallel under torchrun.

Every process makes the draws of the whole batch and takes its own part, batch norm is synchronised, and the keys of all
go into one memory: the result is that of one process with the whole batch, up to rounding. One process writes. Features
are made in the same way, each process looking at a part of the videos.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import Sampler

from cprlib.store.files import locked
from cprlib.store.tensors import load_safely


def size() -> int:
    """How many processes train together; 1 where this one is alone."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """The number of this process among them; 0 writes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


@contextmanager
def first_alone() -> Iterator[None]:
    """Do something in process 0, then in the others, which find it done."""
    if rank():
        distributed.barrier()
    yield
    if size() > 1 and not rank():
        distributed.barrier()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one training at a time write into a folder: another waits for its end, or, of several processes, is refused.

    Raises:
        BlockingIOError: several processes train together, and another training has the folder.
    """
    if rank():
        yield
        return
    with locked(folder, wait=size() == 1):  # the others would wait at a barrier, and not for long
        yield


def gathered(x: Tensor) -> Tensor:
    """The parts (B / processes, ...) of all processes as the whole (B, ...), without gradients."""
    if size() == 1:
        return x
    sent = x.detach().contiguous().to("cuda" if distributed.get_backend() == "nccl" else x.device)
    sent = sent.byte() if x.dtype == torch.bool else sent
    parts = [torch.empty_like(sent) for _ in range(size())]
    distributed.all_gather(parts, sent)
    return torch.cat(parts).to(x)


def own_part(x: Tensor) -> Tensor:
    """This process' part (B / processes, ...) of what all have drawn alike (B, ...)."""
    return x.chunk(size())[rank()]


def summed(x: Tensor) -> Tensor:
    """The sum over all processes of a tensor that has one shape in each of them, without gradients."""
    if size() == 1:
        return x
    sent = x.detach().clone().to("cuda" if distributed.get_backend() == "nccl" else x.device)
    distributed.all_reduce(sent)
    return sent.to(x)


def gathered_log(log: pd.DataFrame) -> pd.DataFrame:
    """The mining log of all processes, in the order in which one would have written it."""
    if size() == 1:
        return log
    logs: list[Any] = [None] * size()
    distributed.all_gather_object(logs, log)
    whole = pd.concat(logs, ignore_index=True)
    return whole.sort_values("step", kind="stable", ignore_index=True) if len(whole) else whole


@contextmanager
def own_draws(generator: torch.Generator, strong: Tensor, each: int) -> Iterator[None]:
    """Leave out the draws of the other processes' clips: `each` numbers for every clip that is augmented strongly."""
    counts = [int(part.sum()) for part in gathered(strong).chunk(size())]
    before, after = sum(counts[: rank()]), sum(counts[rank() + 1 :])
    torch.rand(before, each, generator=generator)
    yield
    torch.rand(after, each, generator=generator)


class OwnPart(Sampler):
    """The part of every batch that this process has.

    Args:
        batches: with `batch_size`; each is cut in equal parts, in order.

    Raises:
        ValueError: the batch cannot be cut in equal parts.
    """

    def __init__(self, batches: Any):
        if batches.batch_size % size():
            raise ValueError(f"batch_size: {batches.batch_size} clips cannot be shared equally by {size()} devices")
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list]:
        for batch in self.batches:
            part = len(batch) // size()
            yield batch[rank() * part : (rank() + 1) * part]


def parallel(network: nn.Module, *others: nn.Module) -> nn.Module:
    """A network for the forward pass of training; it and the others get batch statistics of the whole batch."""
    if size() == 1:
        return network
    for module in (module for each in (network, *others) for module in each.modules()):
        if isinstance(module, _BatchNorm):
            module.__class__ = SynchronisedBatchNorm
    return nn.parallel.DistributedDataParallel(network, broadcast_buffers=False)


class SynchronisedBatchNorm(_BatchNorm):
    """Batch norm over the parts of all processes, also on the CPU, for which torch has none; with statistics or not."""

    def _check_input_dim(self, x: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        """(B / processes, C, ...) → the same shape."""
        if not self.training and self.track_running_stats:
            return super().forward(x)
        dims, shape = [d for d in range(x.ndim) if d != 1], [-1 if d == 1 else 1 for d in range(x.ndim)]
        count = x.numel() // x.shape[1] * size()
        wide = x.float()
        mean = all_reduce(wide.sum(dims)) / count
        centred = wide - mean.view(shape)
        var = all_reduce(centred.square().sum(dims)) / count
        if self.track_running_stats:
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * count / max(1, count - 1), self.momentum)
                self.num_batches_tracked += 1
        scale = (var + self.eps).rsqrt() if self.weight is None else self.weight * (var + self.eps).rsqrt()
        out = centred * scale.view(shape)
        return (out if self.bias is None else out + self.bias.view(shape)).to(x.dtype)


def launch(function: str, arguments: Mapping[str, Any], devices: int, device: str = "auto") -> Any:
    """Call a function in several processes of this machine and print what the first one says.

    Args:
        function: its name, e.g. "cprlib.training.fit:fit".
        arguments: JSON-like; "config" is a mapping of the settings that the function's annotation names.
        devices: processes, each with a GPU of its own where there are GPUs.
        device: "cpu" does without.

    Returns:
        What the first process returned: a tensor, or a list of such.

    Raises:
        ValueError: fewer GPUs than that, or the number of one of them.
        RuntimeError: a process ended early; all others were ended, too.
    """
    if ":" in device:
        raise ValueError(f"devices: {devices} need as many GPUs, but device is {device!r}; give cuda, or auto")
    if 0 < torch.cuda.device_count() < devices and device != "cpu":
        raise ValueError(f"devices: {devices} asked for, but this machine has {torch.cuda.device_count()} GPUs")
    path = os.pathsep.join(filter(None, sys.path))
    with tempfile.TemporaryDirectory(prefix="cprlib-") as folder:
        file = Path(folder) / "settings.json"
        file.write_text(json.dumps({"function": function, "arguments": dict(arguments), "device": device}))
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}"]
        process = subprocess.Popen(
            [*torchrun, "-m", "cprlib.training.one_rank", str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "CPR_BATCH": "1"},
        )
        try:
            told = _stream(process)
        finally:  # also where this process is interrupted
            process.terminate()
        if process.wait():
            raise RuntimeError(_cause(told))
        result = file.with_name(RESULT)
        return load_safely(result) if result.exists() else None


def _stream(process: subprocess.Popen) -> list[str]:
    """Print the lines of the training; the rest, torchrun's own, is returned."""
    told = []
    for line in process.stdout:
        if line.startswith(SAID):
            print(line.removeprefix(SAID), end="", flush=True)
        else:
            told.append(line.rstrip())
    process.wait()
    return told


SAID, RESULT = "training | ", "result.pt"


def _cause(told: list[str]) -> str:
    """Why the processes ended, from torchrun's report."""
    errors = [line.removeprefix("error: ") for line in told if line.startswith("error: ")]
    if errors:
        return errors[0]
    ends = re.findall(r"rank\s*: (\d+).*?exitcode\s*: (-?\d+)", "\n".join(told), re.DOTALL)
    if not ends:
        return f"the processes of the training ended: {told[-1] if told else 'without a word'}"
    rank, code = min(((r, int(c)) for r, c in ends), key=lambda end: (end[1] >= 0, end[1] == -signal.SIGTERM))
    crashes = [line.removeprefix("crash: ") for line in told if line.startswith("crash: ")]
    if crashes and (code >= 0 or code == -signal.SIGTERM):  # else the others crashed as this one was killed
        return f"a process of the training ended: {crashes[0]}; what was finished is kept: run it again"
    how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
    return f"process {rank} of the training {how}; what was finished is kept: run it again"
