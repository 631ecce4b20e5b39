"""Folders: a run is all that one parameter file makes, a training in it is one network."""

import json
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cprlib.methods import COTRAINED
from cprlib.store.files import read_json, resolve, write_json

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "av", "decord", "opencv-contrib-python-headless")


def network_folder(run: str | Path, method: str, view: str, cycles: int = 1) -> str:
    """Where the network of a method lies after so many co-training cycles; "random" is an untrained one.

    >>> network_folder("outputs/toy", "infonce", "rgb"), network_folder("outputs/toy", "cpr", "flow", cycles=2)
    ('outputs/toy/infonce_rgb', 'outputs/toy/cpr_flow_cycle2')
    """
    return f"{run}/{method}_{view}" + (f"_cycle{cycles}" if method in COTRAINED else "")


def cotrained_networks(run: str | Path, method: str) -> dict[str, list[Path]]:
    """The co-trained networks of a method that lie in a run: view -> their folders, a cycle each, in order."""
    found: dict[str, dict[int, Path]] = {}
    for path in Path(run).glob(f"{method}_*_cycle*"):
        if match := re.fullmatch(rf"{method}_(\w+)_cycle(\d+)", path.name):
            found.setdefault(match[1], {})[int(match[2])] = path
    return {view: [cycles[cycle] for cycle in sorted(cycles)] for view, cycles in sorted(found.items(), reverse=True)}


def environment() -> dict[str, str]:
    """What a run was made with: versions, machine, GPU, and the commit of the code."""
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


def open_run(folder: str | Path, config: dict) -> Path:
    """Make a run folder, or reopen the one that was made with the same configuration.

    Args:
        folder: the run folder.
        config: everything that decides the result, JSON-like.

    Returns:
        The folder, holding ``config.json`` and ``environment.json``.

    Raises:
        ValueError: the folder holds a run with another configuration.
    """
    folder = resolve(folder)
    config = json.loads(json.dumps(config))  # as it will be read back: tuples become lists
    if (folder / "config.json").exists():
        old = read_json(folder / "config.json")
        changed = [
            f"{k} {old.get(k)!r} -> {config.get(k)!r}" for k in sorted({*old, *config}) if old.get(k) != config.get(k)
        ]
        if changed:
            raise ValueError(
                f"{folder} holds a run with another configuration ({'; '.join(changed)}); "
                "choose another run name, or delete the folder to train again"
            )
    else:
        write_json(folder / "environment.json", environment())
        write_json(folder / "config.json", config)
    return folder


def is_finished(folder: str | Path) -> bool:
    """Whether a run has ended: ``metrics.json`` is the last thing that is written."""
    return (resolve(folder) / "metrics.json").exists()
