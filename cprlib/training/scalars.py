"""The scalars of a training for TensorBoard, if it is installed."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Write = Callable[[int, dict], None]


@contextmanager
def scalar_writer(folder: Path, first_epoch: int) -> Iterator[Write]:
    """Write scalars to ``<folder>/tensorboard``, if TensorBoard is installed and CPR_TENSORBOARD is not 0.

    Args:
        folder: of a training.
        first_epoch: hides what an interrupted training wrote from this epoch on.

    Yields:
        A function ``(epoch, metrics)`` that writes them.
    """
    writer = _writer(folder, first_epoch)
    if writer is None:
        yield lambda epoch, metrics: None
        return
    with writer:
        yield lambda epoch, metrics: _write(writer, epoch, metrics)


def _writer(folder: Path, first_epoch: int):
    if os.environ.get("CPR_TENSORBOARD") == "0":
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=first_epoch)


def _write(writer, epoch: int, metrics: dict) -> None:
    for name, value in metrics.items():
        if name != "epoch" and value is not None:
            writer.add_scalar(name, value, epoch)
    writer.flush()
