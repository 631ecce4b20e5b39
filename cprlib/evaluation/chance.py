"""Chance levels of the measures, and confidence intervals of shares of videos."""

import math

import numpy as np
import pandas as pd

from cprlib.data.manifest import Manifest

Z = 1.959964  # two-sided 95 % quantile of the normal distribution


def interval(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share, with the videos as the sample (Wilson).

    Args:
        share: in [0, 1].
        count: videos, at least 1.

    >>> [round(bound, 3) for bound in interval(0.5, 100)]
    [0.404, 0.596]
    """
    centre = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def is_better(share: float, base: float, count: int) -> bool:
    """Whether `share` is significantly above `base`, both of `count` videos (two-sided 5 %)."""
    error = math.sqrt(share * (1 - share) / count + base * (1 - base) / count)
    return share - base > Z * error


def chance_recall(query_labels, gallery_labels, k: int) -> float:
    """R@k of a random order of the gallery, in [0, 1].

    >>> round(chance_recall([0, 1], [0, 1, 1, 1], 1), 3), round(chance_recall([0], [0, 1, 1, 1], 2), 3)
    (0.5, 0.5)
    """
    gallery = np.asarray(gallery_labels)
    same = np.array([(gallery == label).sum() for label in np.asarray(query_labels)])
    missed = np.ones(len(same))
    for drawn in range(k):  # probability that this draw misses the class, too
        missed *= np.clip(len(gallery) - same - drawn, 0, None) / (len(gallery) - drawn)
    return float(1 - missed.mean())


def chance_pmr(manifest: Manifest) -> float:
    """PMR (Eq. 3) of rows drawn at random from the training videos, without siblings, in [0, 1].

    Siblings are never mined, so this is below the share of the class in the data.
    """
    train = manifest.split("train")
    codes = pd.DataFrame({"source": train.source_codes, "label": train.table.label.to_numpy()})
    siblings = codes.groupby("source").label.transform("size")
    own = codes.groupby(["source", "label"]).label.transform("size")
    same = codes.groupby("label").label.transform("size") - own
    others = len(codes) - siblings
    return float((same / others.where(others > 0)).mean())


def chance_cmr(manifest: Manifest, top_k: int, by: str = "source_id") -> pd.Series:
    """CMR (Eq. 5) of each class if every training video mined `top_k` random rows in an epoch, index label, in [0, 1].

    Args:
        manifest: all videos; only the training split is used.
        top_k: rows mined per query.
        by: the instance, "source_id" (recordings) or "video_id".
    """
    table = manifest.split("train").table
    found = {}
    for label, rows in table.groupby("label"):
        sizes = rows.groupby(by).size()  # videos of an instance
        asking = len(rows) - rows.groupby("source_id").size().reindex(rows.drop_duplicates(by).source_id).to_numpy()
        found[label] = float((1 - (1 - top_k / max(1, len(table) - 1)) ** (asking * sizes.to_numpy())).mean())
    return pd.Series(found, name="chance")
