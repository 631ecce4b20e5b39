"""A finished or unfinished run, read as far as figures need it: settings, videos, mining logs, networks."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cprlib.data.manifest import Manifest
from cprlib.data.store import open_frames
from cprlib.evaluation.mining import class_mining_recall, join_cycles, read_mining_log
from cprlib.networks import COTRAINED
from cprlib.report.examples import thumbnails
from cprlib.runner import read_params
from cprlib.runs import resolve

DEFAULTS = {  # of notebook 07
    "manifest": "outputs/data/toy/manifest.csv",
    "cache": "outputs/data/toy/cache",
    "short_side": 60,
    "views": ["rgb", "flow"],
    "examples": 3,
}


class RunFiles:
    """What lies in a run folder; everything is read when it is asked for, once.

    Args:
        folder: e.g. `outputs/toy`.

    Attributes:
        folder: Path of it.
        settings: those of params.yaml, and the notebooks' defaults for what figures need besides.

    Raises:
        FileNotFoundError: not the folder of a run.
    """

    def __init__(self, folder: str | Path):
        self.folder = resolve(folder)
        params = self.folder / "params.yaml"
        if not params.is_file() and not any(self.folder.glob("*/config.json")):
            raise FileNotFoundError(
                f"{self.folder} is no run: it has neither a params.yaml nor networks; give the folder of a run, "
                "such as outputs/toy, which `make demo` makes"
            )
        self.settings: dict[str, Any] = DEFAULTS | (read_params(params) if params.is_file() else {})

    @cached_property
    def manifest(self) -> Manifest:
        """The videos of the run."""
        return Manifest.read(resolve(self.settings["manifest"]))

    @cached_property
    def logs(self) -> dict[str, dict[str, pd.DataFrame]]:
        """View of the trained network -> method -> mining log of all its cycles; what is not there is left out.

        Raises:
            FileNotFoundError: no network has mined anything.
        """
        paths = {
            view: {method: self.networks(method, view, "mining.parquet/[!._]*.parquet") for method in COTRAINED}
            for view in self.settings["views"]
        }
        logs = {
            view: {method: join_cycles(map(read_mining_log, found)) for method, found in by_method.items() if found}
            for view, by_method in paths.items()
        }
        if not any(logs.values()):
            raise FileNotFoundError("no network of this run has mined positives; train them in notebooks 03 and 04")
        return {view: by_method for view, by_method in logs.items() if by_method}

    def networks(self, method: str, view: str, holding: str) -> list[Path]:
        """Folders of a co-trained network, a cycle each, that hold a file like `holding`."""
        paths = [path for path in self.folder.glob(f"{method}_{view}_cycle*") if any(path.glob(holding))]
        return sorted(paths, key=lambda path: int(path.name.rsplit("cycle", 1)[1]))

    def recalls(self, view: str, by: str) -> dict[str, pd.DataFrame]:
        """Method -> table of `class_mining_recall`, of the networks of a view."""
        return {method: class_mining_recall(log, self.manifest, by) for method, log in self.logs[view].items()}

    def frames(self, view: str) -> Any:
        """The source of frames that the networks were trained with, see :func:`cprlib.data.store.open_frames`."""
        cache, short_side = self.settings["cache"], self.settings["short_side"]
        return open_frames(self.manifest, [view], short_side or None, resolve(cache) if cache else None)

    def thumbnails(self, view: str = "rgb") -> Callable[[int], np.ndarray]:
        """Middle frames of the videos, see :func:`cprlib.report.examples.thumbnails`."""
        return thumbnails(self.manifest, self.frames(view), view)
