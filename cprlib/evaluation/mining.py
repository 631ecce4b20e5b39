"""Mining quality from the mining log of a training: PMR, mining R@1, CMR (section 4).

The log has one row per mined row of the memory, with the columns epoch, step, query, rank (0 = best), mined, correct,
query_label, mined_label, query_source, mined_source; query and mined are video_ids.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from cprlib.data.manifest import Manifest
from cprlib.evaluation.chance import chance_cmr, chance_pmr
from cprlib.store.files import resolve
from cprlib.store.folders import LINES
from cprlib.store.sealed import read_lines
from cprlib.store.tables import read_table

INSTANCES = {"source": ("mined_source", "source_id"), "video": ("mined", "video_id")}


def read_mining_log(run_folder: str | Path) -> pd.DataFrame:
    """Read `mining.parquet` of a training.

    Args:
        run_folder: folder of the training, e.g. `outputs/toy/cpr_rgb_cycle1`.

    Returns:
        the log of all epochs, in training order.

    Raises:
        FileNotFoundError: no such folder, or no mining log in it.
        ValueError: a part is damaged or missing.
    """
    folder = resolve(run_folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no training in {folder}: train it first (notebook 03 for CoCLR, 04 for CPR)")
    parts = sorted((folder / "mining.parquet").glob("[!._]*.parquet"))
    if not parts:
        raise FileNotFoundError(
            f"no mining log in {folder / 'mining.parquet'}: only CoCLR and CPR mine positives, "
            "and only after an epoch; train them in notebook 03 or 04"
        )
    log = pd.concat([read_table(part) for part in parts], ignore_index=True)
    mined = [line["epoch"] for line in read_lines(folder / LINES) if line.get("pmr") is not None]
    if lacking := sorted({*mined} - {*log["epoch"]}):
        raise ValueError(f"{folder / 'mining.parquet'} lacks epoch {lacking[0]}; put back a copy, or train again")
    return log.sort_values(["epoch", "step"], kind="stable", ignore_index=True)


def with_labels(log: pd.DataFrame, manifest: Manifest) -> pd.DataFrame:
    """The mining log with the labels of the manifest, which may have been added after the training."""
    labels = manifest.table.set_index("video_id")["label"]
    asked, mined = log["query"].map(labels), log["mined"].map(labels)
    return log.assign(query_label=asked, mined_label=mined, correct=asked == mined)


def join_cycles(logs: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Join the logs of a network's cycles, in order; epochs are numbered on from cycle to cycle."""
    joined, next_epoch = [], None
    for log in logs:
        first = log["epoch"].min()
        shift = 0 if next_epoch is None else next_epoch - first
        joined.append(log.assign(epoch=log["epoch"] + shift))
        next_epoch = joined[-1]["epoch"].max() + 1
    return pd.concat(joined, ignore_index=True)


def positive_mining_recall(log: pd.DataFrame) -> pd.Series:
    """PMR of each epoch: true positives in the mined set / size of the mined set (Eq. 3).

    The ratio is averaged over the queries of each step, so a query that mined fewer rows counts as much as the others.
    A query that mined nothing is not in the log.

    Args:
        log: the mining log.

    Returns:
        "pmr" in [0, 1], indexed by epoch.
    """
    by_query = log.groupby(["epoch", "step", "query"])["correct"].mean()
    return by_query.groupby("epoch").mean().rename("pmr")


def mining_recall_at_1(log: pd.DataFrame) -> pd.Series:
    """Mining R@1 of each epoch: share of queries whose first mined row is correct (CoCLR's measure).

    Args:
        log: the mining log.

    Returns:
        "mining_r1" in [0, 1], indexed by epoch.
    """
    return log[log["rank"] == 0].groupby("epoch")["correct"].mean().rename("mining_r1")


def class_mining_recall(
    log: pd.DataFrame, manifest: Manifest, by: str = "source", epoch: int | None = None
) -> pd.DataFrame:
    """CMR: distinct true positives mined in one epoch / training instances of a class (Eq. 5).

    A true positive is an instance mined by some query of its class.

    Args:
        log: the mining log.
        manifest: the manifest of the run; its train split is counted.
        by: the instance, "source" (recordings, as in the paper) or "video".
        epoch: the epoch; None means the last.

    Returns:
        columns label, class_name, found, instances, cmr (in [0, 1]), one row per class of the train split; cmr is 0 for
        a class that was never mined.

    Raises:
        ValueError: unknown `by`, an epoch without mining, or a log of another manifest.
    """
    if by not in INSTANCES:
        raise ValueError(f'by={by!r}: an instance is a "source" or a "video"')
    mined_column, column = INSTANCES[by]
    train = manifest.table[manifest.table["split"] == "train"]
    rows = _rows_of_epoch(log, epoch)
    _check_same_videos(rows, train)
    cmr = train.groupby(["label", "class_name"])[column].nunique().rename("instances").reset_index()
    found = rows[rows["correct"]].groupby("mined_label")[mined_column].nunique()
    cmr["found"] = cmr["label"].map(found).fillna(0).astype(int)
    cmr["cmr"] = cmr["found"] / cmr["instances"]
    return cmr[["label", "class_name", "found", "instances", "cmr"]]


def median_cmr(cmr: pd.DataFrame) -> float:
    """Median of the classes' CMR, in [0, 1] (the paper's summary of Eq. 5)."""
    return float(cmr["cmr"].median())


def compare_methods(logs: Mapping[str, Mapping[str, pd.DataFrame]], manifest: Manifest) -> pd.DataFrame:
    """Mining quality, one row per method and network; the content of `tables/mining.csv`.

    Args:
        logs: method -> view of the trained network -> mining log.
        manifest: the manifest of the run.

    Returns:
        columns method, view, pmr_start, pmr_end (first and last epoch), mining_r1, cmr_source, cmr_video (medians over
        the classes; last epoch), and the values of random rows without siblings: pmr_chance, cmr_source_chance,
        cmr_video_chance; all in [0, 1].
    """
    rows = [
        {"method": method, "view": view, **_summary(log, manifest)}
        for method, views in logs.items()
        for view, log in views.items()
    ]
    return pd.DataFrame(rows)


def _summary(log: pd.DataFrame, manifest: Manifest) -> dict[str, float]:
    pmr, top_k = positive_mining_recall(log), int(log["rank"].max()) + 1
    return {
        "pmr_start": float(pmr.iloc[0]),
        "pmr_end": float(pmr.iloc[-1]),
        "mining_r1": float(mining_recall_at_1(log).iloc[-1]),
        "cmr_source": median_cmr(class_mining_recall(log, manifest, "source")),
        "cmr_video": median_cmr(class_mining_recall(log, manifest, "video")),
        "pmr_chance": chance_pmr(manifest),
        "cmr_source_chance": float(chance_cmr(manifest, top_k, "source_id").median()),
        "cmr_video_chance": float(chance_cmr(manifest, top_k, "video_id").median()),
    }


def _rows_of_epoch(log: pd.DataFrame, epoch: int | None) -> pd.DataFrame:
    if not len(log):
        raise ValueError("the mining log is empty: nothing was mined, train for more epochs")
    first, last = log["epoch"].min(), log["epoch"].max()
    rows = log[log["epoch"] == (last if epoch is None else epoch)]
    if not len(rows):
        raise ValueError(f"nothing was mined in epoch {epoch}: the log has epochs {first}-{last}")
    return rows


def _check_same_videos(rows: pd.DataFrame, train: pd.DataFrame) -> None:
    labels = rows["mined"].map(train.set_index("video_id")["label"])
    wrong = rows[labels != rows["mined_label"]]
    if len(wrong):
        video = wrong.iloc[0]
        raise ValueError(
            f"mined video_id {video['mined']} of label {video['mined_label']} is not a training "
            "video of that label: use the manifest this run was trained on"
        )
