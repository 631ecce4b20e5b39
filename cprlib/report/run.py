"""What is in a run folder, finished or not: settings, state of the networks, videos, mining logs, memories."""

from datetime import datetime
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from cprlib.cascade import Stage, plan_stages
from cprlib.data.frames import recorded_frames
from cprlib.data.manifest import Manifest
from cprlib.evaluation.mining import class_mining_recall, join_cycles, read_mining_log, with_labels
from cprlib.methods import COTRAINED
from cprlib.store.files import resolve
from cprlib.store.folders import cotrained_networks, is_finished, read_config, recorded_path, training_folder
from cprlib.store.sealed import read_lines, read_sealed
from cprlib.store.settings import read_params
from cprlib.training.fit import check_same_videos
from cprlib.training.snapshots import Memory, read_memory

DATASETS = {"toy": "the built-in data", "ucf101": "UCF101", "hmdb51": "HMDB51", "kinetics": "Kinetics"}
DATASETS |= {"folder": "own videos", "coclr_lmdb": "UCF101 (CoCLR's LMDB)"}
RESULTS = ("comparison.csv", "tables/*.csv", "tables/*.md")
LOGS, MEMORIES = "mining.parquet/[!._]*.parquet", "memory/*.pt"


class Network(NamedTuple):
    """The state of one training of a run."""

    name: str  # its folder below the run, e.g. "cpr_rgb_cycle1"; below `outputs` if it is in another run
    folder: Path
    state: str  # "finished", "unfinished" or "not started"
    progress: str  # e.g. "epoch 7 of 20"
    last: dict  # the last line of its metrics.jsonl, {} if there is none
    changed: datetime | None  # when it was last written; None if not started

    @property
    def is_main(self) -> bool:
        """Whether it is the network of a method, not a classifier and not a point of an ablation."""
        return not self.name.startswith(("ablation/", "finetune_", "frozen_"))


class Run:
    """A run folder, e.g. `outputs/toy`; every part is read once, at first use."""

    def __init__(self, folder: str | Path):
        self.folder = resolve(folder)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings in params.yaml, {} if there is none."""
        path = self.folder / "params.yaml"
        return read_params(path) if path.exists() else {}

    @property
    def views(self) -> list[str]:
        """Views of the networks, in the order of training."""
        return self.settings.get("views", ["rgb", "flow"])

    @property
    def mines(self) -> bool:
        """Whether its settings name methods that mine positives and train them here."""
        return bool({*self.settings.get("methods", [])} & {*COTRAINED}) and not self.settings.get("pretrained")

    @property
    def dataset(self) -> str:
        """The data of evaluation, e.g. "HMDB51"; "" if the settings do not say."""
        name = str(self.settings.get("dataset", ""))
        return str(self.settings.get("evaluated_on") or DATASETS.get(name, name))

    @cached_property
    def videos(self) -> Manifest | None:
        """The manifest that the settings name; None if the file does not exist."""
        path = resolve(str(self.settings.get("manifest", "")))
        return Manifest.read(path) if path.is_file() else None

    @property
    def is_labelled(self) -> bool:
        """Whether classes are known; without them nothing can be measured."""
        return self.videos is None or self.videos.is_labelled

    @cached_property
    def networks(self) -> list[Network]:
        """The networks that the settings name, in the order of training, then others in the folder."""
        home = self.folder.parent / str(self.settings.get("pretrained") or self.folder.name)
        cycles = range(1, self.settings.get("cycles", 1) + 1)
        planned = [
            Path(training_folder(home, method, view, cycle))
            for method in self.settings.get("methods", [])
            for cycle in (cycles if method in COTRAINED else [1])
            for view in self.views
        ]
        return [_network(self.folder, folder) for folder in dict.fromkeys([*planned, *_trained(self.folder)])]

    @property
    def state(self) -> tuple[str, str]:
        """The state, "finished", "unfinished" or "not started", and the details.

        A run is finished if the networks of all methods are and, with settings and labels, there is a comparison.
        """
        main = [network for network in self.networks if network.is_main]
        begun = [f"{n.name}, {n.progress}" for n in self.networks if n.state == "unfinished"]
        waiting = [network.name for network in main if network.state != "finished"]
        compared = (self.folder / "comparison.csv").exists()
        if begun:
            return "unfinished", "; ".join(begun)
        if waiting:
            done = len(main) - len(waiting)
            return "unfinished" if done else "not started", f"{done} of {len(main)} networks; next: {waiting[0]}"
        if not compared and self.settings and self.is_labelled:
            return "unfinished", f"all {len(main)} networks; results still to come"
        parts = [f"all {len(main)} networks"] * bool(main) + ["the comparison"] * compared
        return "finished", " and ".join(parts)

    @property
    def changed(self) -> datetime | None:
        """When a network or a table was last written."""
        times = [network.changed for network in self.networks]
        times += [_time(path) for pattern in RESULTS for path in self.folder.glob(pattern)]
        return max(filter(None, times), default=None)

    def trainings(self, method: str, view: str, holding: str) -> list[Path]:
        """The folders of a co-trained network, one a cycle, that hold a file like `holding` (a glob pattern)."""
        cycles = cotrained_networks(self.folder, method).get(view, [])
        return [path for path in cycles if any(path.glob(holding))]

    @cached_property
    def _miner(self) -> Path:
        """A network that mines; all networks of a run see the same videos."""
        found = [p for m in COTRAINED for view in self.views for p in self.trainings(m, view, "config.json")]
        if not found:
            raise FileNotFoundError("no network of this run mines positives; train them in notebooks 03 and 04")
        return found[0]

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest of the networks; a ValueError if its training videos have changed since."""
        manifest = Manifest.read(recorded_path(self._miner, "manifest"))
        check_same_videos(self._miner, manifest)
        return manifest

    def frames(self, view: str) -> Any:
        """The frames that the networks were trained with, see :func:`cprlib.data.frames.open_frames`."""
        return recorded_frames(self._miner, self.manifest, [view])

    @cached_property
    def logs(self) -> dict[str, dict[str, pd.DataFrame]]:
        """View of the trained network -> method -> mining log of all its cycles."""
        logs: dict[str, dict[str, pd.DataFrame]] = {}
        for view, method in product(self.views, COTRAINED):
            if paths := self.trainings(method, view, LOGS):
                log = join_cycles(map(read_mining_log, paths))
                known = log["query_label"].nunique() > 1  # else training knew no classes
                logs.setdefault(view, {})[method] = log if known else with_labels(log, self.manifest)
        if not logs:
            raise FileNotFoundError("no network of this run has mined positives; train them in notebooks 03 and 04")
        return logs

    def recalls(self, view: str, by: str) -> dict[str, pd.DataFrame]:
        """Method -> :func:`class_mining_recall` of its network of a view, by "source" or "video"."""
        return {method: class_mining_recall(log, self.manifest, by) for method, log in self.logs[view].items()}

    def cascade(self, view: str) -> tuple[Memory, tuple[Stage, ...]]:
        """The last memory that CPR's network of a view has kept, and the cascade it was trained with."""
        network = self.trainings("cpr", view, MEMORIES)[-1]
        memory, config = read_memory(network), read_config(network)
        if len(memory.label.unique()) == 1:  # training knew no classes
            memory = memory._replace(label=torch.tensor(self.manifest.table.label.to_numpy())[memory.video_id])
        plan = {name: config[name] for name in ("num_stages", "ratio", "top_k")}
        plan |= {"top_k": phases[-1]} if (phases := config.get("top_k_phases")) else {}
        return memory, plan_stages(len(memory.label), tuple(memory.features), keeps=config.get("keeps", ()), **plan)


def is_run(folder: Path) -> bool:
    """Whether a folder holds settings, a comparison or at least one network."""
    return any((folder / name).is_file() for name in ("params.yaml", "comparison.csv")) or bool(_trained(folder))


def find_runs(outputs: Path) -> list[Path]:
    """The run folders in a folder, by name, without `data`, which all runs share."""
    folders = sorted(outputs.iterdir()) if outputs.is_dir() else []
    return [path for path in folders if path.is_dir() and path.name != "data" and is_run(path)]


def find_run(name: str | Path, outputs: str | Path = "outputs") -> Path:
    """The folder of a run, given by its name ("toy") or path ("outputs/toy"); the error lists the runs."""
    candidates = [resolve(name), resolve(outputs) / name]
    for folder in candidates:
        if folder.is_dir() and is_run(folder):
            return folder
    runs = ", ".join(run.name for run in find_runs(resolve(outputs))) or "none yet; make demo makes the first"
    what = "holds no run" if candidates[0].is_dir() else "is no folder of a run"
    raise FileNotFoundError(f"{name} {what}; runs in {resolve(outputs)}: {runs}")


def _trained(run: Path) -> list[Path]:
    return [path.parent for pattern in ("*", "ablation/*/*") for path in sorted(run.glob(f"{pattern}/config.json"))]


def _network(run: Path, folder: Path) -> Network:
    name = folder.relative_to(run if folder.is_relative_to(run) else run.parent).as_posix()
    files = [folder / file for file in ("metrics.json", "metrics.jsonl", "config.json")]
    changed = next((_time(path) for path in files if path.exists()), None)
    last = (read_lines(files[1]) or [{}])[-1]
    if changed is None:
        return Network(name, folder, "not started", "not started", last, None)
    if not is_finished(folder):
        done, config = last.get("epoch", -1) + 1, read_config(folder)
        epochs = config.get("epochs", "?") * max(1, len(config.get("top_k_phases", ())))
        return Network(name, folder, "unfinished", f"epoch {done} of {epochs}", last, changed)
    metrics = read_sealed(folder / "metrics.json")
    trained = f"{metrics.get('epochs', '?')} epochs" if metrics.get("epochs") != 0 else "untrained weights"
    if "released" in metrics:  # a file, or a training of another run
        start = Path(metrics["released"])
        trained = f"released weights, {start.name}" if start.suffix else f"weights of {start.parent.name}/{start.name}"
    return Network(name, folder, "finished", trained, last, changed)


def _time(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime)
