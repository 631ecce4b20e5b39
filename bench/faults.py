"""Shared by the benchmarks that break things: damage to a file, comparison of results, and the output table."""

import datetime
import os
import platform
import random

import pandas as pd
import torch

from cprlib.store.files import atomic_path, resolve


def flip(data: bytes, rng: random.Random) -> bytes:
    """Flip one bit."""
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def zero(data: bytes, rng: random.Random) -> bytes:
    """Zero a block of up to 512 bytes."""
    place = rng.randrange(len(data))
    size = len(data[place : place + 512])
    return data[:place] + bytes(size) + data[place + size :]


def cut(data: bytes, rng: random.Random) -> bytes:
    """Cut off the end."""
    return data[: rng.randrange(len(data))]


def swap(data: bytes, rng: random.Random) -> bytes:
    """Replace four bytes."""
    place = rng.randrange(max(1, len(data) - 4))
    return data[:place] + rng.randbytes(4) + data[place + 4 :]


DAMAGES = (flip, zero, cut, swap)


def same(a: object, b: object) -> bool:
    """Whether two results are bit-equal."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, pd.DataFrame):
        return a.equals(b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    return len(a) == len(b) and all(map(same, a, b)) if isinstance(a, list | tuple) else a == b


def tell(name: str, about: str, table: pd.DataFrame, out: str | None, index: bool = False) -> None:
    """Print a table, and write it to `out` if given."""
    machine = f"{platform.machine()}, {platform.system()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    text = f"{name}, {datetime.date.today()}, {machine}, torch {torch.__version__}{about}\n\n"
    text += f"{table.to_string(index=index)}\n"
    print(text)
    if out:
        with atomic_path(resolve(out)) as tmp:
            tmp.write_text(text)
