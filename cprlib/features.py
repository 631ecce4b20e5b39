"""The features of a run as a table, for scikit-learn, UMAP or a SQL engine.

python -m cprlib.features outputs/toy/cpr --out features.parquet      or .npz; a run, a method or one training
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cprlib.data.frames import recorded_frames
from cprlib.data.manifest import Manifest
from cprlib.evaluation.centre import training_centre
from cprlib.evaluation.features import network_features
from cprlib.evaluation.judged import check_descent
from cprlib.evaluation.retrieval import join_views, prepare_features
from cprlib.evaluation.video_encoder import find_networks
from cprlib.methods import ALL_VIEWS, sources_of
from cprlib.store.errors import one_line
from cprlib.store.files import atomic_path, check_place, resolve
from cprlib.store.folders import recorded_path

COLUMNS = {"path": "path", "source_id": "recording", "class_name": "label", "split": "split"}


def feature_table(path: str | Path) -> pd.DataFrame:
    """Vectors of all training and test videos of a run, as :meth:`VideoEncoder.embed` makes them.

    Args:
        path: a run, a method or a training, see :func:`cprlib.evaluation.video_encoder.load_encoder`.

    Returns:
        A row for each video and view, and for all views together ("both") where there are several: path, recording,
        label (the class name, "" where there are no labels), split, view, vector (float32, of length 1).

    Raises:
        FileNotFoundError, ValueError: no finished network, or videos that are gone or have changed.
    """
    networks, parts = find_networks(resolve(path)), []
    check_descent(resolve(path), networks)
    first = next(iter(networks.values()))
    manifest = Manifest.read(recorded_path(first, "manifest"))
    frames = recorded_frames(first, manifest.check_files(sources_of(networks)), list(networks))
    means = {view: training_centre(folder, view).mean for view, folder in networks.items()}
    for split in (name for name in ("train", "test") if (manifest.table.split == name).any()):
        rows = manifest.split(split).table[list(COLUMNS)].rename(columns=COLUMNS)
        vectors = {
            view: prepare_features(network_features(folder, manifest, frames, split, view=view), means[view])
            for view, folder in networks.items()
        }
        if len(vectors) > 1:
            vectors[ALL_VIEWS] = join_views(vectors) / len(vectors) ** 0.5
        parts += [rows.assign(view=view, vector=list(x.numpy())) for view, x in vectors.items()]
    return pd.concat(parts, ignore_index=True)


def write_features(table: pd.DataFrame, out: str | Path) -> Path:
    """Write the table as ``.parquet``, or as ``.npz`` with an array for each column and ``vector_<view>`` (N, F).

    In an npz the other columns have one row per video, in the order of every view's vectors.

    Raises:
        ValueError: another suffix.
    """
    out = check_out(out)
    with atomic_path(out) as tmp:
        if out.suffix == ".parquet":
            table.to_parquet(tmp, index=False)
        else:
            views = dict(list(table.groupby("view", sort=False)))
            columns = next(iter(views.values()))[list(COLUMNS.values())]
            vectors = {f"vector_{view}": np.stack(rows["vector"].tolist()) for view, rows in views.items()}
            np.savez_compressed(tmp, **{name: columns[name].to_numpy(dtype=str) for name in columns}, **vectors)
    return out


def check_out(out: str | Path) -> Path:
    """The path of the file; an error unless it ends in .parquet or .npz and can be written."""
    if Path(out).suffix not in (".parquet", ".npz"):
        raise ValueError(f"{out}: features are written as .parquet or .npz")
    check_place(out)
    return Path(out)


def main(args: Sequence[str] | None = None) -> None:
    """``python -m cprlib.features RUN --out features.parquet``."""
    parser = argparse.ArgumentParser(prog="python -m cprlib.features", description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run (outputs/toy), a method of it (outputs/toy/cpr) or a training")
    parser.add_argument("--out", required=True, help="features.parquet or features.npz")
    options = parser.parse_args(args)
    with one_line():
        check_out(options.out)  # before minutes of work
        table = feature_table(options.run)
        print(f"{write_features(table, options.out)}: {len(table)} vectors of {table.path.nunique()} videos")


if __name__ == "__main__":
    main()
