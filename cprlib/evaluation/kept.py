"""Features kept beside their network: of all videos, or in the parts of several jobs until they are joined."""

from pathlib import Path

import torch
from torch import Tensor

from cprlib.data.parallel import check_shard
from cprlib.store.tensors import load_kept, save_tensors


def keep(path: Path, features: Tensor, made_from: str) -> None:
    """Write features (N, F) with the hash of what they were made from."""
    save_tensors(path, {"features": features, "made_from": made_from})


def kept(path: Path, count: int, made_from: str) -> Tensor | None:
    """Read what :func:`keep` wrote; None without a file or, with a warning, if it is damaged or does not match."""
    if (saved := load_kept(path)) is None:
        return None
    if isinstance(saved, Tensor):  # older files have no hash
        saved = {"features": saved, "made_from": made_from}
    features = saved.get("features") if isinstance(saved, dict) and saved.get("made_from") == made_from else None
    if not isinstance(features, Tensor) or len(features) != count:
        print(f"{path}: not the features of these videos and network; extracting them again", flush=True)
        return None
    return features


def shard_rows(count: int, shard: tuple[int, int]) -> range:
    """The rows of job i of n: contiguous, as neighbours share batches."""
    check_shard(shard)
    return range(count * shard[0] // shard[1], count * (shard[0] + 1) // shard[1])


def part_file(path: Path, shard: tuple[int, int]) -> Path:
    """The file of job i of n, until the parts are joined."""
    return path.with_stem(f"{path.stem}_part{shard[0]}of{shard[1]}")


def joined(path: Path, count: int, made_from: str) -> Tensor | None:
    """Join the features of all shards and replace their files by one; None if one is missing."""
    for first in path.parent.glob(f"{path.stem}_part0of*.pt"):
        of = int(first.stem.rpartition("of")[2])
        files = {part_file(path, shard): shard_rows(count, shard) for shard in ((n, of) for n in range(of))}
        there = all(file.exists() for file in files)
        parts = [kept(file, len(rows), made_from) for file, rows in files.items()] if there else [None]
        if all(part is not None for part in parts):
            keep(path, torch.cat(parts), made_from)
            for file in path.parent.glob(f"{path.stem}_part*of*.pt"):
                file.unlink(missing_ok=True)
            return torch.cat(parts)
    return None
