"""Kill a small chain in each of its parts, and compare results: ``python -m bench.kill [--rounds 3] [--out FILE]``.

The chain is :mod:`bench.chain`: flow, frame cache, InfoNCE, co-training, IIC, features, probe and fine-tuning, tables
and report. A round kills it (SIGKILL) once in each part, at a time drawn uniformly over the duration of the part, and
calls it again after each kill. In the end all files must be bit-equal to those of a chain that was never killed, and no
temporary file may be left.
"""

import argparse
import hashlib
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch

from bench.chain import PARTS, make_videos
from bench.faults import tell
from cprlib.store import files
from cprlib.store.checkpoints import load_checkpoint
from cprlib.store.errors import one_line
from cprlib.store.files import remove_leftovers
from cprlib.store.fingerprint import hash_weights

KEPT = (".csv", ".bin", ".parquet", ".mp4", ".png")


def chain(videos: Path, place: Path) -> None:
    """Run all parts; a file records which one began when."""
    remove_leftovers(place)
    for number, part in enumerate(PARTS.values()):
        with (place / "part").open("a") as file:
            file.write(f"{number} {time.monotonic()}\n")
        part(videos, place)
    with (place / "part").open("a") as file:
        file.write(f"{len(PARTS)} {time.monotonic()}\n")


def begun(place: Path) -> list[tuple[int, float]]:
    """Number and start time of the parts of the latest call."""
    lines = (place / "part").read_text().split("\n")[:-1] if (place / "part").exists() else []
    return [(int(number), float(moment)) for number, moment in map(str.split, lines)]


def result_of(place: Path) -> dict[str, str]:
    """File -> hash of everything that must be equal; records of time and place are left out."""
    found = {}
    for path in sorted(p for p in place.rglob("*") if p.is_file()):
        name = path.relative_to(place).as_posix()
        if path.name.startswith(files.LEFTOVER):
            found[f"left over: {path.parent.name}"] = name
        elif path.name == "checkpoint.pt":
            found[name] = hash_weights(_tensors(load_checkpoint(path)))
        elif path.suffix in KEPT or path.name == "metrics.json" or "features_" in name:
            content = path.read_bytes().replace(str(place).encode(), b"")
            found[name] = hashlib.sha256(content).hexdigest()
    return found


def _tensors(saved: Any, name: str = "") -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint by name: weights, memory, optimiser state."""
    if isinstance(saved, torch.Tensor):
        return {name: saved}
    items = saved.items() if isinstance(saved, Mapping) else enumerate(saved) if isinstance(saved, list) else ()
    return {k: v for key, value in items for k, v in _tensors(value, f"{name}.{key}").items()}


def start(task: Callable[[Path, Path], object], videos: Path, place: Path) -> int:
    """Start a task in its own process, which logs errors to a file."""
    (place / "part").unlink(missing_ok=True)
    child = os.fork()
    if not child:
        log = os.open(place.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1), os.dup2(log, 2)
        try:
            task(videos, place)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
    return child


def ended(child: int, place: Path) -> None:
    """Wait for the end of a task; SystemExit if it failed."""
    if os.waitpid(child, 0)[1]:
        raise SystemExit(place.with_suffix(".log").read_text())


def kill(child: int, place: Path, part: int, seconds: float) -> str:
    """Kill a chain `seconds` after a part began; returns the part it was in."""
    while not (moments := dict(begun(place))).get(part) and not os.waitpid(child, os.WNOHANG)[0]:
        time.sleep(0.002)
    time.sleep(max(0.0, moments[part] + seconds - time.monotonic()))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for path in place.rglob(f"{files.LEFTOVER}*"):
        os.utime(path, (0, 0))  # as if the next call came more than a minute later
    last = begun(place)[-1][0]
    return list(PARTS)[last] if last < len(PARTS) else "(had ended)"


def a_round(videos: Path, place: Path, seconds: Mapping[int, float], rng: random.Random) -> list[str]:
    """Kill a chain in every part and let it finish; returns the parts it was killed in."""
    place.mkdir()
    killed = [
        kill(start(chain, videos, place), place, part, rng.random() * seconds[part]) for part in range(len(PARTS))
    ]
    ended(start(chain, videos, place), place)
    return killed


@one_line()
def main() -> None:
    """Print the table, and write it to --out."""
    parser = argparse.ArgumentParser(prog="python -m bench.kill", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", help="file to write")
    args = parser.parse_args()
    rng, rows = random.Random(0), []
    with TemporaryDirectory(prefix="cprlib-") as name:
        place = Path(name)
        videos, whole = place / "toy/videos.csv", place / "whole"
        for folder in (whole, place / "toy"):
            folder.mkdir()
        ended(
            start(make_videos, videos, place / "toy"), place / "toy"
        )  # decoders that ran here would not survive a fork
        ended(start(chain, videos, whole), whole)
        moments, expected = begun(whole), result_of(whole)
        seconds = {part: end - begin for (part, begin), (_, end) in zip(moments, moments[1:], strict=False)}
        for number in range(args.rounds):
            killed, now = a_round(videos, place / f"round{number}", seconds, rng), result_of(place / f"round{number}")
            other = sorted(name for name in {*now, *expected} if now.get(name) != expected.get(name))
            outcome = f"different: {', '.join(other[:3])}" if other else "bit-equal"
            rows += [{"killed in": part, "the chain ended": outcome} for part in killed]
            print(number, killed, outcome, flush=True)
    table = pd.DataFrame(rows).value_counts(sort=False).rename("kills").reset_index()
    about = f"; {len(expected)} files compared, {sum(seconds.values()):.0f} s a chain, {len(rows)} kills"
    tell("bench.kill", about, table, args.out)


if __name__ == "__main__":
    main()
