"""R@1 over co-training: how good the features of each method are during training, not only its mining.

    python -m cprlib.evaluation.progress RUN

Network snapshots are evaluated on the middle window of every video, which is quick; the tables evaluate the last
networks on all windows.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from cprlib.data.frames import recorded_frames
from cprlib.data.manifest import Manifest
from cprlib.evaluation.features import Windows, clip_shape, extract_features
from cprlib.evaluation.judged import check_judged
from cprlib.evaluation.on_devices import on_devices
from cprlib.evaluation.retrieval import retrieval_table
from cprlib.methods import COTRAINED
from cprlib.store.checkpoints import load_checkpoint, load_encoder
from cprlib.store.errors import one_line
from cprlib.store.files import resolve, write_csv
from cprlib.store.folders import (
    CHECKPOINT,
    METRICS,
    cotrained_networks,
    is_finished,
    recorded_path,
    training_folder,
)
from cprlib.store.progress import progress
from cprlib.store.sealed import read_sealed
from cprlib.training.schedule import pick_device
from cprlib.training.snapshots import network_snapshots

KS = (1, 5, 10)


def cotraining_progress(
    run: str | Path,
    methods: Sequence[str],
    manifest: Manifest,
    frames: Any,
    init_run: str | Path | None = None,
    batch_size: int = 64,
    workers: int = 0,
    devices: int = 1,
) -> pd.DataFrame:
    """R@k of the networks of a run after each cycle of co-training, and of the snapshots in between.

    Args:
        run: folder of the run.
        methods: names of co-trained methods; those without a finished network are left out.
        manifest: all videos.
        frames: as in :class:`cprlib.evaluation.features.Windows`.
        init_run: folder of the run whose InfoNCE networks co-training started from; None = the same.
        batch_size, workers: see :func:`cprlib.evaluation.features.mean_over_windows`.
        devices: processes that share the videos, see :func:`cprlib.evaluation.on_devices.on_devices`.

    Returns:
        Columns method, cycle, epoch, view, k, recall (in [0, 1]): epoch counts the co-training epochs of each network,
        0 is InfoNCE; view "both" joins the networks of all views at the same epoch.
    """
    wanted = {method: _networks(run, method, init_run or run) for method in methods}
    networks = sorted(
        {(str(p), v) for by_view in wanted.values() for v, points in by_view.items() for _, p in points.values()}
    )
    given = {"networks": networks, "batch_size": batch_size, "workers": workers}
    if devices > 1 and networks:
        called = "cprlib.evaluation.progress:middle_features"
        made = on_devices(called, run, manifest, frames, devices, **given)
    else:
        made = middle_features(run, manifest, frames, **given)
    features = {path: tuple(pair) for (path, _), pair in zip(networks, made, strict=True)}
    labels = [torch.tensor(manifest.split(split).table.label.to_numpy()) for split in ("test", "train")]
    tables = []
    for method, by_view in wanted.items():
        shared = set.intersection(*(set(points) for points in by_view.values())) if by_view else set()
        for epoch in sorted(shared):
            found = {view: features[str(points[epoch][1])] for view, points in by_view.items()}
            cycle = next(iter(by_view.values()))[epoch][0]
            tables.append(retrieval_table({method: found}, *labels, KS).assign(cycle=cycle, epoch=epoch))
    columns = ["method", "cycle", "epoch", "view", "k", "recall"]
    return pd.concat(tables)[columns].reset_index(drop=True) if tables else pd.DataFrame(columns=columns)


def _networks(run: str | Path, method: str, init_run: str | Path) -> dict[str, dict[int, tuple[int, Path]]]:
    """View -> number of co-training epochs -> cycle and file of the network."""
    found = {}
    for view, folders in cotrained_networks(resolve(run), method).items():
        points, start = {}, resolve(training_folder(init_run, "infonce", view)) / CHECKPOINT
        if start.exists():
            points[0] = (0, start)
        done = 0
        for cycle, folder in enumerate((f for f in folders if is_finished(f)), 1):
            epochs = read_sealed(folder / METRICS)["epochs"]
            kept = {**network_snapshots(folder), epochs: folder / CHECKPOINT}
            points |= {done + epoch: (cycle, path) for epoch, path in kept.items()}
            done += epochs
        found[view] = points
    return found


def middle_features(
    run: str | Path,
    manifest: Manifest,
    frames: Any,
    networks: Sequence[tuple[str, str]],
    batch_size: int,
    workers: int,
) -> list[list[Tensor]]:
    """Features (N, F) of the test and of the training videos, from their middle windows, for each network of a run.

    Args:
        run: not used; :func:`cprlib.evaluation.on_devices.on_devices` passes it.
        manifest, frames, batch_size, workers: see :func:`cotraining_progress`.
        networks: file and view of each.
    """
    made = []
    for file, view in progress(networks, "networks over co-training"):
        path = Path(file)
        check_judged(path.parent if path.name == CHECKPOINT else path.parent.parent, manifest, view)
        encoder = load_encoder(path, view).to(pick_device("auto"))
        shape = clip_shape(path, load_checkpoint(path)["config"])
        windows = [Windows(frames, manifest.split(s), view, *shape, middle=True) for s in ("test", "train")]
        made.append([extract_features(encoder, w, batch_size, workers) for w in windows])
    return made


def measure_run(run: str | Path) -> pd.DataFrame:
    """:func:`cotraining_progress` of all methods of a run, with the videos and frames its networks were trained on.

    Raises:
        FileNotFoundError: the run has no co-trained network.
    """
    found = {method: cotrained_networks(resolve(run), method) for method in COTRAINED}
    found = {method: by_view for method, by_view in found.items() if by_view}
    if not found:
        raise FileNotFoundError(f"no co-trained network in {resolve(run)}; train some in notebooks 03 and 04")
    training = next(paths[0] for by_view in found.values() for paths in by_view.values())
    manifest = Manifest.read(recorded_path(training, "manifest"))
    views = {view for by_view in found.values() for view in by_view}
    return cotraining_progress(run, list(found), manifest, recorded_frames(training, manifest, sorted(views)))


def main() -> None:
    """``python -m cprlib.evaluation.progress RUN``: write ``<run>/tables/cotraining.csv``."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("run", help="run folder, e.g. outputs/toy")
    run = resolve(parser.parse_args().run)
    with one_line():
        write_csv(run / "tables" / "cotraining.csv", measure_run(run))


if __name__ == "__main__":
    main()
