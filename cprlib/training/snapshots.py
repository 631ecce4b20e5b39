"""Snapshots of a training: the memory at the end of an epoch, as a miner saw it, and the network at a few epochs.

A training keeps at most :data:`SNAPSHOTS` + 1 memories, evenly spaced plus the last, in half precision.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cprlib.encoders import Encoder
from cprlib.memory import IDS, FeatureQueue
from cprlib.store.files import resolve
from cprlib.store.tensors import load_safely, save_tensors

SNAPSHOTS = 20
NETWORKS = 4  # snapshots of the network; the last one is the checkpoint


class Memory(NamedTuple):
    """The filled rows of a memory.

    Attributes:
        features: view -> (K, D) float32, L2-normalised; row j of every view is the same clip. The views are in the
            cascade's order: those of the frozen networks, then the trained one.
        video_id, source_id, label: (K,) int64 of each row.
    """

    features: dict[str, Tensor]
    video_id: Tensor
    source_id: Tensor
    label: Tensor


def write_memory(folder: Path, epoch: int, queue: FeatureQueue) -> None:
    """Write the filled rows of a queue to ``memory/epoch-<epoch>.pt``."""
    filled = queue.filled.cpu()
    features = {view: rows.cpu()[filled].half() for view, rows in queue.features.items()}
    ids = {name: getattr(queue, name).cpu()[filled] for name in IDS}
    save_tensors(folder / "memory" / f"epoch-{epoch:04d}.pt", {"features": features, **ids})


def write_network(folder: Path, epoch: int, config: Any, encoder: Encoder) -> None:
    """Write the network after an epoch to ``networks/epoch-<epoch>.pt``, which `load_encoder` reads."""
    kept = {"config": asdict(config), "encoder": encoder.state_dict()}
    save_tensors(folder / "networks" / f"epoch-{epoch:04d}.pt", kept)


def network_snapshots(folder: str | Path) -> dict[int, Path]:
    """Number of finished epochs -> network snapshot, in order; without the checkpoint."""
    paths = (resolve(folder) / "networks").glob("epoch-*.pt")
    return dict(sorted((int(path.stem.removeprefix("epoch-")) + 1, path) for path in paths))


def is_network_kept(epoch: int, epochs: int) -> bool:
    """Whether the network is kept after an epoch: at even intervals; the checkpoint is the last.

    >>> [epoch for epoch in range(20) if is_network_kept(epoch, 20)]
    [4, 9, 14]
    """
    done, step = epoch + 1, max(1, epochs // NETWORKS)
    return done % step == 0 and done < epochs


def memory_epochs(folder: str | Path) -> list[int]:
    """The epochs of a training whose memory was kept, in order; may be empty."""
    return sorted(int(path.stem.removeprefix("epoch-")) for path in (resolve(folder) / "memory").glob("epoch-*.pt"))


def read_memory(folder: str | Path, epoch: int | None = None) -> Memory:
    """Read the memory of an epoch.

    Args:
        folder: of a training, e.g. ``outputs/toy/cpr_rgb_cycle1``.
        epoch: one of :func:`memory_epochs`; None is the last.

    Raises:
        FileNotFoundError: no memory was kept, or none of this epoch.
        ValueError: the file is damaged.
    """
    epochs = _kept_epochs(folder)
    epoch = epochs[-1] if epoch is None else epoch
    if epoch not in epochs:
        raise FileNotFoundError(f"{resolve(folder)} has no memory of epoch {epoch}; choose from {epochs}")
    path = resolve(folder) / "memory" / f"epoch-{epoch:04d}.pt"
    try:
        saved = load_safely(path)
        features = {view: rows.float() for view, rows in saved["features"].items()}
        return Memory(features, *(saved[name] for name in IDS))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is damaged; delete it ({error})") from error


def _kept_epochs(folder: str | Path) -> list[int]:
    epochs = memory_epochs(folder)
    if not epochs:
        raise FileNotFoundError(
            f"no memory in {resolve(folder) / 'memory'}: train this network first (notebook 02, 03 or 04); one "
            "trained before memories were kept has to be trained again"
        )
    return epochs


class Memories(Mapping[int, Memory]):
    """The memories of a training by epoch, read on demand; the last four stay in a cache.

    Args:
        folder: of a training.
        labels: (videos,) int64, by video_id; replace the labels known in training.

    Raises:
        FileNotFoundError: no memory was kept.
    """

    def __init__(self, folder: str | Path, labels: Tensor | None = None):
        def read(epoch: int) -> Memory:
            memory = read_memory(folder, epoch)
            return memory if labels is None else memory._replace(label=labels[memory.video_id])

        self.epochs = _kept_epochs(folder)
        self._read = lru_cache(maxsize=4)(read)

    def __getitem__(self, epoch: int) -> Memory:
        if epoch not in self.epochs:
            raise KeyError(epoch)
        return self._read(epoch)

    def __iter__(self) -> Iterator[int]:
        return iter(self.epochs)

    def __len__(self) -> int:
        return len(self.epochs)


def follow(memories: Mapping[int, Memory], most: int = 300) -> dict[int, Memory]:
    """Select the same videos in the memories of all epochs, one row each where present, to follow them over time.

    Args:
        memories: epoch -> memory.
        most: maximum number of videos: those in most memories; ties are broken at random, as manifests are sorted by
            class.

    Returns:
        epoch -> memory of at most `most` rows.
    """
    videos = torch.cat([memory.video_id.unique() for memory in memories.values()])
    counts = videos.bincount()
    drawn = torch.randperm(len(counts), generator=torch.Generator().manual_seed(0))
    chosen = drawn[counts[drawn].argsort(descending=True, stable=True)][: min(most, len(videos.unique()))]
    return {epoch: _rows_of(memory, chosen) for epoch, memory in memories.items()}


def _rows_of(memory: Memory, videos: Tensor) -> Memory:
    """The first row of each of the videos, in the order of the memory."""
    first = {video: row for row, video in reversed(list(enumerate(memory.video_id.tolist())))}
    rows = torch.tensor(sorted(first[video] for video in videos.tolist() if video in first), dtype=torch.int64)
    return Memory({v: x[rows] for v, x in memory.features.items()}, *(ids[rows] for ids in memory[1:]))
