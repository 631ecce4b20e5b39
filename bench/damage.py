"""Damage input files and count the outcomes: ``python -m bench.damage [--out FILE]``.

Damages videos, tables, settings, and the files of a finished training. An outcome is "named" (a one-line error with the
file or setting), "harmless" (the same result as before; for a video: as many frames, equal wherever reading starts),
"other length" (a video that reads without error, but is shorter or longer), "unhandled" (another exception) or
"different" (a different result without an error; for a video: frames depend on where reading starts).
"""

import argparse
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_type_hints

import pandas as pd
import torch

from bench.faults import DAMAGES, same, tell
from cprlib.data.flow import extract_flow
from cprlib.data.manifest import Manifest
from cprlib.data.parallel import WorkerKilled, parallel_map
from cprlib.data.video import probe, read_clip
from cprlib.evaluation.mining import read_mining_log
from cprlib.notebook.runner import read_params
from cprlib.store.checkpoints import load_checkpoint, load_encoder
from cprlib.store.errors import one_line
from cprlib.store.files import read_json
from cprlib.store.fingerprint import Fingerprint
from cprlib.store.folders import read_config, read_videos
from cprlib.training.config import TrainingConfig
from cprlib.training.cotrain import untrained
from cprlib.training.fit import fit
from cprlib.training.loop import read_metrics
from cprlib.training.snapshots import read_memory
from data_prep import toy_actions

NAMED = (ValueError, OSError)


def outcome(read: Callable[[], object], path: Path, before: object) -> str:
    """The outcome of reading a damaged file."""
    try:
        now = read()
    except NAMED as error:
        return "named" if path.name in str(error) else f"unnamed: {str(error)[:80]}"
    except Exception as error:  # what this benchmark counts
        return f"unhandled {type(error).__name__}: {str(error)[:80]}"
    return "harmless" if same(now, before) else "different"


def watch(path: str) -> tuple:
    """Number of frames of a video, and whether reading from the middle equals reading from the start."""
    info = probe(path)
    middle = info.num_frames // 2
    first = read_clip(path, range(info.num_frames), reader=info.reader)
    again = read_clip(path, [middle, info.num_frames - 1], reader=info.reader)
    return info.num_frames, torch.equal(first[[middle, -1]], again)


def damage_videos(videos: Manifest, place: Path, count: int, rng: random.Random) -> Counter:
    """Damaged videos, read in workers as in data preparation."""
    paths = []
    for number in range(count):
        row = videos.table.iloc[rng.randrange(len(videos))]
        paths.append((place / f"{number}.mp4", int(row.num_frames)))
        paths[-1][0].write_bytes(DAMAGES[number % 4](Path(row.path).read_bytes(), rng))
    counts, frames = Counter(), {str(path): frames for path, frames in paths}
    for path, found in parallel_map(watch, list(frames), 2, "damaged videos", seconds=60):
        if isinstance(found, WorkerKilled):
            counts["named"] += 1
        elif isinstance(found, Exception):
            named = isinstance(found, NAMED) and Path(path).name in str(found)
            counts["named" if named else f"unhandled {type(found).__name__}: {str(found)[:80]}"] += 1
        elif not found[1]:
            counts["different"] += 1
        else:
            counts["harmless" if found[0] == frames[path] else "other length"] += 1
    return counts


def damage_tables(videos: Manifest, place: Path, count: int, rng: random.Random) -> Counter:
    """Damaged manifests: lines and cells change; a changed letter in a name would be a valid table."""
    counts, path = Counter(), place / "manifest.csv"
    videos.write(path)
    text, columns = path.read_text(), list(videos.table.columns)
    for number in range(count):
        lines = [line.split(",") for line in text.splitlines()]
        row, column = rng.randrange(1, len(lines)), rng.choice(columns[2:3] + columns[7:10] + ["split", "reader"])
        values = ["", "x", "-1", "nan", "1e400", "\x00", '"', "9" * 30]
        match number % 4:
            case 0:
                lines[row][lines[0].index(column)] = rng.choice(values)
            case 1:
                lines[0][lines[0].index(column)] = rng.choice(["", "Label", columns[0]])
            case 2:
                lines[row] = lines[row][: rng.randrange(1, len(lines[row]))]
            case 3:
                lines.insert(row, lines[row])
        path.write_text("\n".join(map(",".join, lines)) + "\n")
        counts[outcome(lambda: Manifest.read(path).table, path, videos.table)] += 1
    return counts


SETTINGS = {
    "seed": [-1, 2**70, 1.5, "x", None], "lr": [float("nan"), float("inf"), -1, 0, "fast"],
    "epochs": [0, -3, 2.5, True, "ten"], "K": [0, -1, float("inf")], "tau": [0, -1, float("nan"), float("inf")],
    "momentum": [-0.1, 1.1, float("nan")], "ratio": [0, -1, 2, float("nan")], "top_k": [0, -1, 10**9],
    "num_stages": [0, -1, 99], "batch_size": [0, -2, 0.5], "clip_len": [0, -1], "clip_size": [0, -1],
    "clip_stride": [0, -1], "short_side": [-1, 0.5], "weight_decay": [-1, float("nan"), float("inf")],
    "drop_self_positive": [-1, 2, float("nan")], "workers": [-1, 1.5], "devices": [0, -1, 3], "view": ["depth", 3],
    "method": ["moco", ""], "backbone": ["x"], "dim": [0, -8], "bn_groups": [0, -1], "precision": ["fp16"],
    "siblings": ["no"], "own_rows": ["no"], "loss": ["no"], "anchor": ["no"], "lr_milestones": ["80", [1.5], ["x"]],
    "samplers": [[], {"depth": "x"}, "x"], "device": [3],
}  # fmt: skip


NUMBERS = [name for name, kind in get_type_hints(TrainingConfig).items() if kind in (int, float)]
NO_NUMBERS = [float("nan"), float("inf"), -float("inf"), True, None, [1], {}, "1", "nan", b"1"]


def damage_settings(config: TrainingConfig, place: Path) -> Counter:
    """Settings out of range or of the wrong type, and parameter files that are not flat YAML."""
    counts = Counter()
    for name in {**SETTINGS, **dict.fromkeys(NUMBERS)}:
        for value in SETTINGS.get(name, []) + (NO_NUMBERS if name in NUMBERS else []):
            try:
                fit(replace(config, **{"out": str(place / "new"), "method": "cpr", name: value}))
                counts[f"different: {name} {value!r} was trained"] += 1
            except NAMED as error:
                counts["named" if name in str(error) else f"unnamed {name} {value!r}: {str(error)[:80]}"] += 1
            except Exception as error:
                counts[f"unhandled {name} {value!r} {type(error).__name__}: {str(error)[:60]}"] += 1
    path = place / "settings.yaml"
    for text in (
        "seed: 1\nseed: 2\n",
        "- 1\n",
        "a: [\n",
        "\t",
        "x: !!python/object:os.system {}\n",
        "&a [*a]",
        b"\xff\xfe",
    ):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        counts[outcome(lambda: read_params(path), path, None)] += 1
    return counts


READERS: dict[str, Callable[[Path], object]] = {
    "checkpoint.pt": load_checkpoint,
    "checkpoint-before.pt": lambda folder: load_checkpoint(folder / "checkpoint-before.pt"),
    "networks/epoch-0001.pt": lambda folder: load_encoder(folder / "networks/epoch-0001.pt").state_dict(),
    "memory/epoch-0002.pt": lambda folder: read_memory(folder, 2),
    "mining.parquet/epoch-0001.parquet": read_mining_log,
    "metrics.jsonl": read_metrics,
    "config.json": read_config,
    "videos.json": read_videos,
    "fingerprint.json": lambda folder: Fingerprint.read(folder).parts,
}


def damage_training(config: TrainingConfig, count: int, rng: random.Random) -> Counter:
    """Damaged files of a training, read one by one."""
    counts, folder = Counter(), Path(config.out)
    for name, read in READERS.items():
        path, before = folder / name, read(folder)
        data = path.read_bytes()
        for number in range(count):
            path.write_bytes(DAMAGES[number % 4](data, rng))
            counts[outcome(partial(read, folder), path, before)] += 1
        path.write_bytes(data)
    return counts


def end_of(config: TrainingConfig) -> dict:
    """The final state of a resumed training."""
    saved, folder = load_checkpoint(fit(config)), Path(config.out)
    kinds = ("encoder", "key_encoder", "queue", "optimizer", "epoch")
    return {"metrics": json.dumps(read_json(folder / "metrics.json")), **{kind: saved[kind] for kind in kinds}}


def damage_and_resume(config: TrainingConfig, place: Path, count: int, rng: random.Random) -> Counter:
    """Damage a file of the training and call fit() again: is the final state the same?"""
    counts, whole = Counter(), end_of(config)
    names = ["checkpoint", "checkpoint-before", "metrics", "metrics", "fingerprint", "config", "videos"]
    suffixes = [".pt", ".pt", ".json", ".jsonl", ".json", ".json", ".json"]
    for number in range(count):
        copy = replace(config, out=str(place / "again"))
        shutil.copytree(config.out, copy.out)
        path = Path(copy.out) / (names[number % 7] + suffixes[number % 7])
        path.write_bytes(DAMAGES[number // 7 % 4](path.read_bytes(), rng))
        counts[outcome(partial(end_of, copy), path, whole)] += 1
        shutil.rmtree(copy.out)
    return counts


def prepared(place: Path) -> tuple[Manifest, TrainingConfig]:
    """Make built-in videos with flow, and train a CoCLR network."""
    videos = toy_actions.build(place / "toy", recordings=4, takes=1, workers=1)
    extract_flow(videos, place / "toy/flow", "dis", 8.0, workers=1).write(place / "toy/manifest.csv")
    small = dict(backbone="tiny", dim=8, clip_len=4, clip_size=16, short_side=30, batch_size=8, lr_milestones=())
    small |= dict(method="coclr", K=21, top_k=2, epochs=3, num_stages=2, device="cpu")
    config = TrainingConfig(manifest=str(place / "toy/manifest.csv"), out=str(place / "t"), **small)
    sampler = untrained(replace(config, method="infonce", view="flow", out=str(place / "flow")))
    config = replace(config, samplers={"flow": str(sampler)})
    fit(config)
    return Manifest.read(place / "toy/manifest.csv"), config


@one_line()
def main() -> None:
    """Print the table, and write it to --out."""
    parser = argparse.ArgumentParser(prog="python -m bench.damage", description=__doc__.split("\n")[0])
    parser.add_argument("--videos", type=int, default=260)
    parser.add_argument("--files", type=int, default=24, help="times each file of a training is damaged")
    parser.add_argument("--out", help="file to write")
    args = parser.parse_args()
    rng = random.Random(0)
    with TemporaryDirectory(prefix="cprlib-") as name:
        place = Path(name)
        videos, config = prepared(place)
        (place / "damaged").mkdir()
        counts = {
            "settings": damage_settings(config, place),
            "manifests": damage_tables(videos, place / "damaged", 80, rng),
            "files of a training": damage_training(config, args.files, rng),
            "a training that goes on": damage_and_resume(config, place, 42, rng),
            "videos": damage_videos(videos, place / "damaged", args.videos, rng),
        }
    table = pd.DataFrame(counts).T.fillna(0).astype(int)
    table.insert(0, "tried", table.sum(axis=1))
    tell("bench.damage", "", table.T, args.out, index=True)


if __name__ == "__main__":
    main()
