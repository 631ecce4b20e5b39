"""A finished or unfinished run, read as far as figures need it: networks, videos, mining logs, memories."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cprlib.cascade import Stage, plan_stages
from cprlib.data.frames import open_frames
from cprlib.data.manifest import Manifest
from cprlib.data.sampling import video_rows
from cprlib.evaluation.mining import class_mining_recall, join_cycles, read_mining_log
from cprlib.methods import COTRAINED
from cprlib.report.figures.examples import thumbnails
from cprlib.report.run_state import is_run, settings_of
from cprlib.store.files import read_json, resolve
from cprlib.store.folders import cotrained_networks
from cprlib.training.fit import check_same_videos
from cprlib.training.snapshots import Memory, read_memory

LOGS, MEMORIES = "mining.parquet/[!._]*.parquet", "memory/*.pt"


class RunFiles:
    """What lies in a run folder; everything is read when it is asked for, once.

    Args:
        folder: e.g. `outputs/toy`.

    Attributes:
        folder: Path of it.
        views: of the networks, in training order.

    Raises:
        FileNotFoundError: not the folder of a run.
    """

    def __init__(self, folder: str | Path):
        self.folder = resolve(folder)
        if not is_run(self.folder):
            raise FileNotFoundError(
                f"{self.folder} is no run: it has neither settings nor networks nor results; give the folder of a "
                "run, such as outputs/toy, which `make demo` makes"
            )
        self.views: list[str] = settings_of(self.folder).get("views", ["rgb", "flow"])

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration of a network that mines; all such networks of a run read the same videos.

        Raises:
            FileNotFoundError: no network of this run mines.
        """
        return read_json(self._miner / "config.json")

    @cached_property
    def manifest(self) -> Manifest:
        """The videos that the run was trained on.

        Raises:
            ValueError: the manifest lists other training videos by now.
        """
        manifest = Manifest.read(resolve(self.config["manifest"]))
        train = manifest.split("train")
        check_same_videos(self._miner, video_rows(train.table, train.source_codes))
        return manifest

    @cached_property
    def logs(self) -> dict[str, dict[str, pd.DataFrame]]:
        """View of the trained network -> method -> mining log of all its cycles; what is not there is left out.

        Raises:
            FileNotFoundError: no network has mined anything.
        """
        paths = {view: {method: self.networks(method, view, LOGS) for method in COTRAINED} for view in self.views}
        logs = {
            view: {method: join_cycles(map(read_mining_log, found)) for method, found in by_method.items() if found}
            for view, by_method in paths.items()
        }
        if not any(logs.values()):
            raise FileNotFoundError("no network of this run has mined positives; train them in notebooks 03 and 04")
        return {view: by_method for view, by_method in logs.items() if by_method}

    def networks(self, method: str, view: str, holding: str) -> list[Path]:
        """Folders of a co-trained network, a cycle each, that hold a file like `holding`."""
        cycles = cotrained_networks(self.folder, method).get(view, [])
        return [path for path in cycles if any(path.glob(holding))]

    def cascade(self, view: str) -> tuple[Memory, tuple[Stage, ...]]:
        """The last memory of CPR's network of a view that kept one, and the cascade that it was trained with."""
        network = self.networks("cpr", view, MEMORIES)[-1]
        memory, config = read_memory(network), read_json(network / "config.json")
        plan = {name: config[name] for name in ("num_stages", "ratio", "top_k")}
        return memory, plan_stages(len(memory.label), tuple(memory.features), **plan)

    def recalls(self, view: str, by: str) -> dict[str, pd.DataFrame]:
        """Method -> table of `class_mining_recall`, of the networks of a view."""
        return {method: class_mining_recall(log, self.manifest, by) for method, log in self.logs[view].items()}

    def thumbnails(self, view: str = "rgb") -> Callable[[int], np.ndarray]:
        """Middle frames of the videos, see :func:`cprlib.report.figures.examples.thumbnails`."""
        cache, short_side = self.config["cache"], self.config["short_side"]
        frames = open_frames(self.manifest, [view], short_side or None, resolve(cache) if cache else None)
        return thumbnails(self.manifest, frames, view)

    @property
    def _miner(self) -> Path:
        for path in (path for m in COTRAINED for view in self.views for path in self.networks(m, view, "config.json")):
            return path
        raise FileNotFoundError("no network of this run mines positives; train them in notebooks 03 and 04")
