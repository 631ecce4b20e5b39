"""Kill a small chain at random moments, and compare how it ends: ``python -m bench.kill [--kills 24] [--out FILE]``.

The chain: manifest, flow, frame cache, InfoNCE and CoCLR, features, mining table. Each trial begins in an empty folder,
is killed (SIGKILL) at a moment drawn evenly over the time that the chain takes, and called again until it ends. All
that is kept must then be as after a chain that was never killed, bit for bit, and no temporary file may be left.
"""

import argparse
import datetime
import hashlib
import os
import platform
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch

from cprlib.data.flow import extract_flow
from cprlib.data.frame_cache import build_cache
from cprlib.data.frames import open_frames
from cprlib.data.manifest import Manifest
from cprlib.evaluation.features import network_features
from cprlib.evaluation.mining import class_mining_recall, read_mining_log
from cprlib.store import files
from cprlib.store.checkpoints import load_checkpoint
from cprlib.store.files import atomic_path, remove_leftovers, resolve
from cprlib.store.fingerprint import hash_weights
from cprlib.training.config import TrainingConfig
from cprlib.training.cotrain import untrained
from cprlib.training.fit import fit
from data_prep import toy_actions

LIMIT = 20  # calls after which a chain should long have ended


def chain(videos: Path, place: Path) -> None:
    """All parts, each kept if it is there already; which one is at work is noted for the table."""

    def begin(part: str) -> None:
        (place / "part").write_text(part)

    remove_leftovers(place)
    begin("flow")
    manifest = extract_flow(Manifest.read(videos), place / "flow", "dis", 8.0, workers=1)
    manifest.write(place / "manifest.csv")
    begin("cache")
    build_cache(manifest, place / "cache", ["rgb", "flow"], 30, workers=1)
    small = dict(backbone="tiny", dim=8, clip_len=4, clip_size=16, short_side=30, batch_size=8, lr_milestones=())
    small |= dict(K=21, top_k=2, epochs=3, cache=str(place / "cache"), device="cpu")
    first = TrainingConfig(manifest=str(place / "manifest.csv"), out=str(place / "infonce"), **small)
    begin("InfoNCE")
    fit(first)
    flow = untrained(replace(first, view="flow", out=str(place / "random")))
    begin("CoCLR")
    fit(replace(first, method="coclr", init=first.out, samplers={"flow": str(flow)}, out=str(place / "coclr")))
    begin("features")
    frames = open_frames(manifest, ["rgb"], 30, place / "cache")
    for network in ("infonce", "coclr"):
        for split in ("train", "test"):
            network_features(place / network, manifest, frames, split)
    begin("table")
    with atomic_path(place / "mining.csv") as tmp:
        class_mining_recall(read_mining_log(place / "coclr"), manifest).to_csv(tmp, index=False)
    (place / "part").unlink()


def result_of(place: Path) -> dict[str, str]:
    """File -> hash of all that must be equal: not times, nor what says when and where something was made."""
    found = {}
    for path in sorted(p for p in place.rglob("*") if p.is_file()):
        name = path.relative_to(place).as_posix()
        if path.name.startswith(files.LEFTOVER):
            found[f"left over: {path.parent.name}"] = name
        elif path.name == "checkpoint.pt":
            saved = load_checkpoint(path)
            parts = [hash_weights(saved[part]) for part in ("encoder", "key_encoder", "queue") if part in saved]
            found[name] = "-".join(parts)
        elif path.suffix in (".csv", ".bin", ".parquet", ".mp4") or path.name == "metrics.json" or "features_" in name:
            content = path.read_bytes().replace(str(place).encode(), b"")
            found[name] = hashlib.sha256(content).hexdigest()
    return found


def call(videos: Path, place: Path, seconds: float | None = None, task: Callable[[Path, Path], object] = chain) -> bool:
    """A task in a process of its own, killed after so many seconds; True if it came to its end."""
    child = os.fork()
    if not child:
        os.dup2(os.open(place.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
        try:
            task(videos, place)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
    if seconds is not None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if os.waitpid(child, os.WNOHANG)[0]:
                return True
            time.sleep(0.005)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == 0


def make_videos(videos: Path, place: Path) -> None:
    """The videos that all chains begin with."""
    toy_actions.build(place, recordings=4, takes=1, workers=1).write(videos)


def trial(videos: Path, place: Path, seconds: float, expected: dict[str, str]) -> dict[str, str]:
    """One kill, and how the chain ended that was called again."""
    place.mkdir()
    if call(videos, place, seconds):
        return {"killed in": "(had ended)", "outcome": "bit-equal" if result_of(place) == expected else "different"}
    part = (place / "part").read_text() if (place / "part").exists() else "start"
    for path in place.rglob(f"{files.LEFTOVER}*"):
        os.utime(path, (0, 0))  # as if the next call came later than a minute
    if not call(videos, place):
        return {"killed in": part, "outcome": f"refused: {place.with_suffix('.log').read_text().splitlines()[-1][:90]}"}
    now = result_of(place)
    other = [name for name in {*now, *expected} if now.get(name) != expected.get(name)]
    return {"killed in": part, "outcome": f"different: {sorted(other)[0]}" if other else "bit-equal"}


def main() -> None:
    """Print the table, and write it where --out says."""
    parser = argparse.ArgumentParser(prog="python -m bench.kill", description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--out", help="file to write")
    args = parser.parse_args()
    rng, rows = random.Random(0), []
    with TemporaryDirectory(prefix="cprlib-") as name:
        place = Path(name)
        videos, whole = place / "toy/videos.csv", place / "whole"
        whole.mkdir()
        call(videos, place / "toy", task=make_videos)  # decoders that ran here would not survive a fork
        start = time.monotonic()
        if not call(videos, whole):
            raise SystemExit((place / "whole.log").read_text())
        seconds, expected = time.monotonic() - start, result_of(whole)
        for number in range(args.kills):
            moment = (number + rng.random()) / args.kills * seconds
            rows.append(trial(videos, place / f"t{number}", moment, expected))
            print(number, rows[-1], flush=True)
    table = pd.DataFrame(rows).value_counts().rename("chains").reset_index().sort_values("killed in")
    machine = f"{platform.machine()}, {platform.system()}, torch {torch.__version__}"
    head = f"bench.kill, {datetime.date.today()}, {machine}; {len(expected)} files compared, {seconds:.0f} s a chain"
    text = f"{head}\n\n{table.to_string(index=False)}\n"
    print(text)
    if args.out:
        with atomic_path(resolve(args.out)) as tmp:
            tmp.write_text(text)


if __name__ == "__main__":
    main()
