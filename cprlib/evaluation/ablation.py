"""Measure the points of an ablation: mining quality, retrieval and linear probe of every CPR network of a run.

    python -m cprlib.evaluation.ablation outputs/toy

The points are the folders below `<run>/ablation` that its params.yaml names (without one, all); the run's own CPR
networks are the point "default". The settings of a point are read from the networks' configurations.
"""

import argparse
import re
from pathlib import Path

import pandas as pd

from cprlib.data.frames import recorded_frames
from cprlib.data.manifest import Manifest
from cprlib.evaluation.classification import classification_table, probe_with_chosen_lr
from cprlib.evaluation.features import network_features
from cprlib.evaluation.mining import compare_methods, join_cycles, read_mining_log
from cprlib.evaluation.retrieval import retrieval_table
from cprlib.store.errors import one_line
from cprlib.store.files import resolve, write_csv
from cprlib.store.folders import cotrained_networks, is_finished, read_config, recorded_path
from cprlib.store.progress import progress
from cprlib.store.settings import read_params

PROBE = {"probe_lr": "rates", "probe_epochs": "epochs", "probe_milestones": "milestones"}  # as in notebook 06
SETTINGS = ("num_stages", "ratio", "top_k", "anchor", "K", "seed")


def measure_ablation(run: str | Path) -> pd.DataFrame:
    """Measure every point of a run.

    Args:
        run: run folder, e.g. `outputs/toy`.

    Returns:
        One row per point and view (rgb, flow, both): point, num_stages, ratio, top_k, anchor, K, cycles, seed, view;
        pmr_end, mining_r1, cmr_source, cmr_video, r1 and probe in [0, 1]; mining measures are NaN for "both".

    Raises:
        FileNotFoundError: no point was trained.
        ValueError: the training of a point is not finished.
    """
    run = resolve(run)
    given = read_params(run / "params.yaml") if (run / "params.yaml").exists() else {}
    points = {p.name.replace(",", " "): p for p in sorted((run / "ablation").glob("*"))}
    points = {point: p for point, p in points.items() if point in given.get("ablation", points)}
    networks = {point: _networks(folder, point, given) for point, folder in {"default": run, **points}.items()}
    networks = {point: by_view for point, by_view in networks.items() if by_view}
    if not networks:
        raise FileNotFoundError(f"no CPR network in {run} or {run / 'ablation'}; run the pipeline with `ablation` set")
    probe = {name: given[key] for key, name in PROBE.items() if key in given}
    points = progress(networks, f"ablation of {run.name}")
    rows = [_measure(networks[point], probe).assign(point=point) for point in points]
    return pd.concat(rows, ignore_index=True)


def _networks(folder: Path, point: str, given: dict) -> dict[str, list[Path]]:
    """View -> CPR networks of all cycles that the settings ask for, in order."""
    cycles = re.search(r"\bcycles=(\d+)", point)
    last = int(cycles[1]) if cycles else given.get("cycles")
    found = {view: paths[:last] for view, paths in cotrained_networks(folder, "cpr").items()}
    for path in (path for cycles in found.values() for path in cycles):
        if not is_finished(path):
            raise ValueError(f"{path} is not finished; run the pipeline again to resume it")
    return found


def _measure(networks: dict[str, list[Path]], probe: dict) -> pd.DataFrame:
    """The rows of one point."""
    training = next(iter(networks.values()))[-1]
    config = read_config(training)
    videos = Manifest.read(recorded_path(training, "manifest")).check_files(tuple(networks))
    frames = recorded_frames(training, videos, list(networks))
    train, test = videos.split("train"), videos.split("test")
    features = {
        view: tuple(network_features(runs[-1], videos, frames, split) for split in ("test", "train"))
        for view, runs in networks.items()
    }
    probe = {"seed": config["seed"], **probe}
    probed = {view: probe_with_chosen_lr(at, train, use, **probe)[0] for view, (use, at) in features.items()}
    r1 = retrieval_table({"cpr": features}, test.table.label, train.table.label, ks=(1,))
    accuracy = classification_table("cpr", "probe", probed, test.table.label)
    logs = {view: join_cycles(read_mining_log(path) for path in runs) for view, runs in networks.items()}
    mining = compare_methods({"cpr": logs}, videos).drop(columns=["method", "pmr_start"])
    table = r1[["view", "recall"]].rename(columns={"recall": "r1"})
    table = table.merge(accuracy[["view", "top1"]].rename(columns={"top1": "probe"}), on="view")
    swept = {name: config[name] for name in SETTINGS}
    return table.merge(mining, on="view", how="left").assign(**swept, cycles=len(next(iter(networks.values()))))


def main() -> None:
    """``python -m cprlib.evaluation.ablation RUN``: write ``<run>/tables/ablation.csv``."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("run", help="run folder, e.g. outputs/toy")
    run = resolve(parser.parse_args().run)
    with one_line():
        write_csv(run / "tables" / "ablation.csv", measure_ablation(run))


if __name__ == "__main__":
    main()
