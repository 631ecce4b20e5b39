"""Several processes that train one network, each with a part of every batch: DistributedDataParallel under torchrun.

Every process makes the random draws of the whole batch and uses its part, batch norm is synchronised, and all keys go
into one memory: the result is that of one process with the whole batch, up to rounding. Only process 0 writes. Feature
extraction works the same way, with a part of the videos per process.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import Sampler

from cprlib.store.files import locked

LOST = "[Cc]onnection (closed|reset) by peer|Broken pipe|remote process exited"  # messages of gloo and NCCL


def size() -> int:
    """How many processes train together; 1 if this one is alone."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """The number of this process; process 0 writes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


@contextmanager
def first_alone() -> Iterator[None]:
    """Run the block in process 0 first, then in the others, which find the work done."""
    if rank():
        distributed.barrier()
    yield
    if size() > 1 and not rank():
        distributed.barrier()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lock a folder for one training: another training waits, or is refused if it has several processes.

    Raises:
        BlockingIOError: several processes train together, and another training has locked the folder.
        RuntimeError: another process of this training has ended.
    """
    try:
        # do not wait with several processes: the others would time out at a barrier
        with nullcontext() if rank() else locked(folder, wait=size() == 1):
            yield
    except RuntimeError as error:
        if size() == 1 or not (lost := re.search(LOST, str(error))):
            raise
        told = f"process {rank()} lost another process of the training ({lost[0]}); start all of them again"
        raise RuntimeError(told) from None


def gathered(x: Tensor) -> Tensor:
    """Join the parts (B / processes, ...) of all processes to (B, ...), without gradients."""
    if size() == 1:
        return x
    sent = x.detach().contiguous().to("cuda" if distributed.get_backend() == "nccl" else x.device)
    sent = sent.byte() if x.dtype == torch.bool else sent
    parts = [torch.empty_like(sent) for _ in range(size())]
    distributed.all_gather(parts, sent)
    return torch.cat(parts).to(x)


def own_part(x: Tensor) -> Tensor:
    """This process's part (B / processes, ...) of a tensor (B, ...) that is equal in all processes."""
    return x.chunk(size())[rank()]


def summed(x: Tensor) -> Tensor:
    """The sum over all processes of a tensor of equal shape, without gradients."""
    if size() == 1:
        return x
    sent = x.detach().clone().to("cuda" if distributed.get_backend() == "nccl" else x.device)
    distributed.all_reduce(sent)
    return sent.to(x)


def gathered_log(log: pd.DataFrame) -> pd.DataFrame:
    """The mining log of all processes, in the order of a single process."""
    if size() == 1:
        return log
    logs: list[Any] = [None] * size()
    distributed.all_gather_object(logs, log)
    whole = pd.concat(logs, ignore_index=True)
    return whole.sort_values("step", kind="stable", ignore_index=True) if len(whole) else whole


@contextmanager
def own_draws(generator: torch.Generator, strong: Tensor, each: int) -> Iterator[None]:
    """Skip the random draws of other processes' clips: `each` numbers per strongly augmented clip."""
    counts = [int(part.sum()) for part in gathered(strong).chunk(size())]
    before, after = sum(counts[: rank()]), sum(counts[rank() + 1 :])
    torch.rand(before, each, generator=generator)
    yield
    torch.rand(after, each, generator=generator)


class OwnPart(Sampler):
    """This process's part of every batch.

    Args:
        batches: with `batch_size`; each batch is split into equal parts, in order.

    Raises:
        ValueError: the batch cannot be split equally.
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
    """Wrap a network for training in several processes; it and `others` get synchronised batch norm."""
    if size() == 1:
        return network
    for module in (module for each in (network, *others) for module in each.modules()):
        if isinstance(module, _BatchNorm):
            module.__class__ = SynchronisedBatchNorm
    return nn.parallel.DistributedDataParallel(network, broadcast_buffers=False)


class SynchronisedBatchNorm(_BatchNorm):
    """Batch norm over all processes, also on the CPU, unlike torch's; running statistics are optional."""

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
