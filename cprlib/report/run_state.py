"""What a run folder holds so far: its settings, how far each of its networks is, when it last changed."""

import json
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cprlib.methods import COTRAINED
from cprlib.notebook.runner import read_params
from cprlib.store.files import read_json, resolve
from cprlib.store.folders import is_finished, training_folder

DATASETS = {"toy": "the built-in data", "ucf101": "UCF101", "hmdb51": "HMDB51", "kinetics": "Kinetics"}
DATASETS |= {"folder": "own videos", "coclr_lmdb": "UCF101 (CoCLR's LMDB)"}
RESULTS = ("comparison.csv", "tables/*.csv", "tables/*.md")


class Network(NamedTuple):
    """How far one training of a run is.

    Attributes:
        name: its folder below the run (below `outputs` for one of another run), e.g. "cpr_rgb_cycle1".
        folder: where it lies.
        state: "finished", "unfinished" or "not started".
        progress: the same in words, e.g. "epoch 7 of 20".
        last: the last line of its metrics.jsonl, {} if there is none.
        changed: when it was last written, for a finished one when it ended; None if there is nothing.
    """

    name: str
    folder: Path
    state: str
    progress: str
    last: dict
    changed: datetime | None


def is_run(folder: Path) -> bool:
    """Whether a folder holds the settings, the comparison or at least one network of a run."""
    return any((folder / name).is_file() for name in ("params.yaml", "comparison.csv")) or bool(_trained(folder))


def find_runs(outputs: Path) -> list[Path]:
    """The run folders in a folder, by name; `data`, which all runs share, is none."""
    if not outputs.is_dir():
        return []
    return [path for path in sorted(outputs.iterdir()) if path.is_dir() and path.name != "data" and is_run(path)]


def find_run(name: str | Path, outputs: str | Path = "outputs") -> Path:
    """The folder of a run given by name or by path.

    Args:
        name: "toy" or "outputs/toy".
        outputs: the folder of the runs.

    Raises:
        FileNotFoundError: there is no such run; names those there are.
    """
    candidates = [resolve(name), resolve(outputs) / name]
    for folder in candidates:
        if folder.is_dir() and is_run(folder):
            return folder
    runs = ", ".join(run.name for run in find_runs(resolve(outputs))) or "none yet; make demo makes the first"
    what = "holds no run" if candidates[0].is_dir() else "is no folder of a run"
    raise FileNotFoundError(f"{name} {what}; runs in {resolve(outputs)}: {runs}")


def settings_of(run: Path) -> dict:
    """The settings in params.yaml, {} if there is none.

    Raises:
        ValueError: the file is not a list of settings.
    """
    path = run / "params.yaml"
    return read_params(path) if path.exists() else {}


def dataset_of(settings: dict) -> str:
    """The data that a run is judged on, in words; "" if its settings do not say."""
    name = str(settings.get("dataset", ""))
    return str(settings.get("evaluated_on") or DATASETS.get(name, name))


def networks_of(run: Path) -> list[Network]:
    """The networks that the settings ask for in the order of training, then the others that were begun."""
    planned = _planned(run, settings_of(run))
    return [_network(run, folder) for folder in dict.fromkeys([*planned, *_trained(run)])]


def is_main(network: Network) -> bool:
    """Whether a network is one of the methods' own: no classifier and no point of an ablation."""
    return not network.name.startswith(("ablation/", "finetune_", "frozen_"))


def state_of(run: Path) -> tuple[str, str]:
    """The state of a run in a word ("finished", "unfinished", "not started") and in words.

    It is finished when all networks of its methods are and the comparison was made; without settings, which would ask
    for a comparison, when all its networks are.
    """
    networks, compared = networks_of(run), (run / "comparison.csv").exists()
    main = [network for network in networks if is_main(network)]
    begun = [f"{network.name}, {network.progress}" for network in networks if network.state == "unfinished"]
    done = sum(network.state == "finished" for network in main)
    if begun:
        return "unfinished", "; ".join(begun)
    if done < len(main):
        following = next(network.name for network in main if network.state != "finished")
        return ("unfinished" if done else "not started"), f"{done} of {len(main)} networks; next: {following}"
    if not compared and settings_of(run):
        return "unfinished", f"all {len(main)} networks; results still to come"
    parts = [f"all {len(main)} networks"] * bool(main) + ["the comparison"] * compared
    return "finished", " and ".join(parts)


def last_change(run: Path) -> datetime | None:
    """When a network or a table of the run was last written."""
    changes = [network.changed for network in networks_of(run)]
    changes += [_time(path) for pattern in RESULTS for path in run.glob(pattern)]
    return max(filter(None, changes), default=None)


def _trained(run: Path) -> list[Path]:
    return [path.parent for pattern in ("*", "ablation/*/*") for path in sorted(run.glob(f"{pattern}/config.json"))]


def _planned(run: Path, settings: dict) -> list[Path]:
    home = run.parent / str(settings.get("pretrained") or run.name)
    views, cycles = settings.get("views", ["rgb", "flow"]), settings.get("cycles", 1)
    return [
        Path(training_folder(home, method, view, cycle))
        for method in settings.get("methods", [])
        for cycle in (range(1, cycles + 1) if method in COTRAINED else [1])
        for view in views
    ]


def _network(run: Path, folder: Path) -> Network:
    name = folder.relative_to(run if folder.is_relative_to(run) else run.parent).as_posix()
    files = [folder / file for file in ("metrics.json", "metrics.jsonl", "config.json")]
    changed = next((_time(path) for path in files if path.exists()), None)
    last = _last_line(folder / "metrics.jsonl")
    if changed is None:
        return Network(name, folder, "not started", "not started", last, None)
    if not is_finished(folder):
        done, epochs = last.get("epoch", -1) + 1, read_json(folder / "config.json").get("epochs", "?")
        return Network(name, folder, "unfinished", f"epoch {done} of {epochs}", last, changed)
    metrics = read_json(folder / "metrics.json")
    epochs = f"{metrics.get('epochs', '?')} epochs" if metrics.get("epochs") != 0 else "untrained weights"
    words = f"released weights, {Path(metrics['released']).name}" if "released" in metrics else epochs
    return Network(name, folder, "finished", words, last, changed)


def _last_line(path: Path) -> dict:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    try:
        return json.loads(lines[-1]) if lines else {}
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: its last line is not JSON ({error}); delete the folder and train again") from error


def _time(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime)
