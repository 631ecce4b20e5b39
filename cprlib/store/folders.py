"""Folders: a run is all that one parameter file makes; a training, a folder in it, is one network."""

import dataclasses
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cprlib.methods import COTRAINED, METHODS, VIEWS, views_of
from cprlib.store.files import read_json, remove_leftovers, resolve
from cprlib.store.fingerprint import Fingerprint, default_settings
from cprlib.store.sealed import keep_sealed, read_sealed, write_sealed

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "av", "decord", "opencv-contrib-python-headless")
CHECKPOINT, BEFORE = "checkpoint.pt", "checkpoint-before.pt"
METRICS, LINES, VIDEOS, CONFIG = "metrics.json", "metrics.jsonl", "videos.json", "config.json"
OWN_FILES = (  # that training and evaluation write into the folder of a training
    "*.json",
    "*.jsonl",
    "*.pt",
    "mining.parquet",
    "memory",
    "networks",
    "tensorboard",
    ".*",
)


def training_folder(run: str | Path, method: str, view: str, cycles: int = 1) -> str:
    """The folder of a method's network after `cycles` co-training cycles; "random" is an untrained one.

    >>> training_folder("outputs/toy", "infonce", "rgb"), training_folder("outputs/toy", "cpr", "flow", cycles=2)
    ('outputs/toy/infonce_rgb', 'outputs/toy/cpr_flow_cycle2')
    >>> training_folder("outputs/toy", "iic_cpr", "residual")  # one network for all its views
    'outputs/toy/iic_cpr'
    """
    if method in METHODS and METHODS[method].views:
        return f"{run}/{method}"
    return f"{run}/{method}_{view}" + (f"_cycle{cycles}" if method in COTRAINED else "")


def cotrained_networks(run: str | Path, method: str) -> dict[str, list[Path]]:
    """The co-trained networks of a method in a run: view -> their folders, one per cycle, in order."""
    found: dict[str, dict[int, Path]] = {}
    for path in Path(run).glob(f"{method}_*_cycle*"):
        if match := re.fullmatch(rf"{method}_(\w+)_cycle(\d+)", path.name):
            found.setdefault(match[1], {})[int(match[2])] = path
    return {view: [cycles[cycle] for cycle in sorted(cycles)] for view, cycles in sorted(found.items(), reverse=True)}


def environment() -> dict[str, str]:
    """What a training was made with: versions, machine, GPU, and the commit of the code."""
    import torch  # here, as every command imports this module

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    machine = {"machine": platform.machine(), "system": platform.platform(), "gpu": gpu}
    return {"python": sys.version.split()[0], **machine, "git_commit": _commit(), **versions}


def _commit() -> str:
    """The commit of the code, with a "+" if it was changed since."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists() or not shutil.which("git"):
        return "unknown"
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True).stdout.strip() or "unknown"


def open_training(
    folder: str | Path,
    wanted: Fingerprint,
    config: Any,
    redo: bool = False,
    continue_with: Sequence[str] = (),
) -> Path:
    """Make the folder of a training, or reopen one that was made from the same settings and inputs.

    Args:
        folder: of the training.
        wanted: fingerprint of what it is to be made from.
        config: its dataclass of settings, all recorded in ``config.json``, also those that do not affect the result.
        redo: empty a folder that was made from something else, and begin again; if False, that is an error.
        continue_with: settings that may change when an unfinished training goes on, e.g. a lower "lr" after a loss of
            NaN; the earlier values are recorded.

    Returns:
        The folder, holding ``config.json``, ``environment.json`` and ``fingerprint.json``.

    Raises:
        ValueError: the folder holds a training made from something else; the message says what differs.
        FileExistsError: the folder holds other files.
    """
    folder = resolve(folder)
    remove_leftovers(folder)
    found, begun = Fingerprint.read(folder), any((folder / name).exists() for name in (CHECKPOINT, BEFORE, METRICS))
    differences = found.differences(wanted, default_settings(type(config))) if found else {}
    if found is None and begun:
        differences = {"": "it has no fingerprint.json"}
    if begun and differences and set(differences) <= set(continue_with) and not is_finished(folder):
        earlier = {"fingerprint": found.hash, **{name: found.parts["settings"].get(name) for name in differences}}
        wanted = Fingerprint({**wanted.parts, "continued": [*found.parts.get("continued", []), earlier]})
        wanted.write(folder)
    elif begun and differences:
        told = "; ".join(differences.values())
        if not redo:
            raise ValueError(
                f"{folder} was made from something else ({told}); choose another run name, restore what differs, or "
                "delete the folder to train again"
            )
        print(f"{folder.name}: made from something else before ({told}); made again", flush=True)
    if not begun or (differences and "continued" not in wanted.parts):
        empty_training(folder)
        wanted.write(folder)
        write_sealed(folder / "environment.json", environment())
    keep_sealed(folder / CONFIG, json.loads(json.dumps(dataclasses.asdict(config))))
    return folder


def read_config(training: str | Path) -> dict:
    """The recorded settings of a training; a ValueError if ``config.json`` is damaged."""
    return read_sealed(resolve(training) / CONFIG)


def read_videos(folder: str | Path) -> set[str]:
    """The hashes of the videos that a network was trained on; none if that was not recorded.

    Raises:
        ValueError: ``videos.json`` is damaged.
    """
    path = resolve(folder) / VIDEOS
    saved = read_json(path) if path.exists() else []
    return set(saved if isinstance(saved, list) else read_sealed(path)["videos"])  # earlier ones carry no hash


def empty_training(folder: Path) -> None:
    """Delete what a training wrote into its folder.

    Raises:
        FileExistsError: the folder holds files that no training writes.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise FileExistsError(f"{folder}: {error.filename} is a file, no folder; choose another place") from None
    foreign = [path.name for path in folder.iterdir() if not any(map(path.match, OWN_FILES))]
    if foreign:
        raise FileExistsError(
            f"{folder} holds {foreign[0]}, which no training wrote; move it away or delete the folder"
        )
    (folder / METRICS).unlink(missing_ok=True)  # first: what is half deleted must not look finished
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def recorded_path(training: str | Path, name: str) -> Path | None:
    """A path in the recorded settings of a training, where it is now.

    Args:
        training: its folder.
        name: of the setting, e.g. "manifest" or "cache".

    Returns:
        The path as recorded or, if nothing is there any more because `outputs` or the project was moved, the path at
        the same place relative to the training's folder; None if the setting is empty.
    """
    config = read_config(training)
    if not config[name]:
        return None
    path = resolve(config[name])
    moved = Path(os.path.normpath(resolve(training) / os.path.relpath(path, resolve(config["out"]))))
    return moved if moved.exists() and not path.exists() else path


def is_finished(folder: str | Path) -> bool:
    """Whether a training has ended: ``metrics.json``, written last, is whole and its own, and the network is there."""
    folder = resolve(folder)
    try:
        made_from = read_sealed(folder / METRICS).get("fingerprint")  # earlier versions did not say
    except (ValueError, FileNotFoundError):
        return False
    with suppress(ValueError):  # a damaged fingerprint is reported when the network is loaded
        found = Fingerprint.read(folder) if made_from else None
        if found and made_from not in found.history:
            return False
    return (folder / CHECKPOINT).exists()


def method_networks(run: str | Path, method: str) -> dict[str, Path]:
    """The finished network of a method in a run, of the last cycle, for each view: view -> folder of the training.

    A network that sees several views is given for each of them.
    """
    if method in COTRAINED:
        places = cotrained_networks(resolve(run), method)
    else:
        places = {view: [resolve(training_folder(run, method, view))] for view in views_of(method, VIEWS)}
    finished = {view: [path for path in paths if is_finished(path)] for view, paths in places.items()}
    return {view: paths[-1] for view, paths in finished.items() if paths}
