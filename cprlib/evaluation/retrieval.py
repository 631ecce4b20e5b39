"""Retrieval of training videos by test videos: recall at k, neighbours, tables (section 3)."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize

from cprlib.evaluation.chance import chance_recall, interval
from cprlib.methods import ALL_VIEWS

KS = (1, 5, 10, 20, 50)
SMALL = 100  # with fewer test videos, all videos are used as queries, too
CENTRES = ("split", "gallery")


def prepare_features(x: Any, mean: Tensor | None = None) -> Tensor:
    """Subtract the mean of the split from its features and L2-normalise them (section 3).

    Args:
        x: float (N, F), all features of one split.
        mean: float (F,), to subtract instead, e.g. the gallery's, so that a single query is prepared like many.

    Returns:
        float32 (N, F), rows of length 1 (of length 0 where a feature equals the mean).
    """
    x = _finite(x, "features")
    return normalize(x - (x.mean(dim=0) if mean is None else mean), dim=1)


def join_views(features: Mapping[str, Tensor]) -> Tensor:
    """Concatenate the prepared features of several views: dot products are sums over the views.

    Args:
        features: view -> float (N, F_view), each from `prepare_features`.

    Returns:
        float (N, sum of F_view), views in alphabetical order.
    """
    return torch.cat([features[view] for view in sorted(features)], dim=1)


def prepare_views(
    features: Mapping[str, tuple[Any, Any]], centre: str = "split"
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The prepared features of every view, and of all views together as the view "both".

    Args:
        features: view -> raw (query, gallery) features, float (Q, F) and (G, F).
        centre: the mean to subtract: "split", each split's own (the papers' protocol; needs many queries at once), or
            "gallery", the gallery's for both.

    Returns:
        view -> float (Q, F) of the queries, and view -> (G, F) of the gallery.
    """
    if centre not in CENTRES:
        raise ValueError(f"centre is {centre!r}; choose one of {', '.join(CENTRES)}")
    gallery = {view: prepare_features(pair[1]) for view, pair in features.items()}
    query = {
        view: prepare_features(pair[0], None if centre == "split" else _finite(pair[1], "gallery").mean(dim=0))
        for view, pair in features.items()
    }
    return _with_all_views(query), _with_all_views(gallery)


def _with_all_views(prepared: dict[str, Tensor]) -> dict[str, Tensor]:
    return prepared | ({ALL_VIEWS: join_views(prepared)} if len(prepared) > 1 else {})


def nearest_neighbours(query: Any, gallery: Any, k: int, chunk: int = 256) -> tuple[Tensor, Tensor]:
    """The k gallery rows with the largest dot product, best first.

    Args:
        query: float (Q, F).
        gallery: float (G, F).
        k: neighbours per query, 1 to G.
        chunk: queries compared at once; bounds memory to (chunk, G) similarities.

    Returns:
        indices int64 (Q, k) into the gallery, similarities float (Q, k).

    Raises:
        ValueError: k out of range, different feature sizes, values that are not finite.
    """
    query, gallery = _finite(query, "query"), _finite(gallery, "gallery")
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"query features have {query.shape[1]} columns, gallery features {gallery.shape[1]}: "
            "take both from the same encoder"
        )
    if not 1 <= k <= len(gallery):
        raise ValueError(
            f"k={k} neighbours requested from a gallery of {len(gallery)} videos: choose k from 1 to {len(gallery)}"
        )
    tops = [(part @ gallery.T).topk(k, dim=1) for part in query.split(chunk)]
    return torch.cat([top.indices for top in tops]), torch.cat([top.values for top in tops])


def recall_at_k(
    query: Any,
    query_labels: Any,
    gallery: Any,
    gallery_labels: Any,
    ks: Sequence[int] = KS,
) -> dict[int, float]:
    """Share of queries with a gallery video of their class among the k nearest (R@k, section 3).

    Ranks by the dot product of the features as given: call `prepare_features` on each split first.

    Args:
        query: float (Q, F), usually the test split.
        query_labels: int (Q,).
        gallery: float (G, F), usually the training split.
        gallery_labels: int (G,).
        ks: numbers of neighbours, each 1 to G.

    Returns:
        k -> recall in [0, 1], in the order of `ks`.

    Raises:
        ValueError: a k out of range, labels that do not match the features, no query.

    >>> recall_at_k([[1., 0.], [0., 1.]], [0, 1], [[1., .1], [.5, 0.]], [1, 0], ks=(1, 2))
    {1: 0.5, 2: 1.0}
    """
    query, gallery = _finite(query, "query"), _finite(gallery, "gallery")
    query_labels = _labels(query_labels, len(query), "query")
    gallery_labels = _labels(gallery_labels, len(gallery), "gallery")
    if not len(query) or not ks or min(ks) < 1:
        raise ValueError(f"recall needs a query and every k >= 1, not {len(query)} and ks={ks}")
    indices, _ = nearest_neighbours(query, gallery, max(ks))
    hits = gallery_labels.to(indices.device)[indices] == query_labels.to(indices.device)[:, None]
    return {k: hits[:, :k].any(dim=1).double().mean().item() for k in ks}


def retrieval_table(
    features: Mapping[str, Mapping[str, tuple[Tensor, Tensor]]],
    query_labels: Any,
    gallery_labels: Any,
    ks: Sequence[int] = KS,
    centre: str = "split",
) -> pd.DataFrame:
    """R@k of every method in each view, and in all its views together ("both").

    Args:
        features: method -> view -> raw (query, gallery) features, float (Q, F) and (G, F).
        query_labels: int (Q,).
        gallery_labels: int (G,).
        ks: numbers of neighbours; those above the size of the gallery are left out.
        centre: see :func:`prepare_views`.

    Returns:
        columns method, view, k, recall, chance (both in [0, 1]), queries (their number), one row per combination.
    """
    ks = [k for k in ks if k <= len(gallery_labels)]
    chance = {k: chance_recall(query_labels, gallery_labels, k) for k in ks}
    rows = []
    for method, views in features.items():
        query, gallery = prepare_views(views, centre)
        for view in query:
            recalls = recall_at_k(query[view], query_labels, gallery[view], gallery_labels, ks)
            rows += [(method, view, k, recall, chance[k], len(query_labels)) for k, recall in recalls.items()]
    return pd.DataFrame(rows, columns=["method", "view", "k", "recall", "chance", "queries"])


def left_out_table(
    features: Mapping[str, Mapping[str, tuple[Tensor, Tensor]]], labels: Any, groups: Sequence[str]
) -> pd.DataFrame:
    """R@1 of all videos as queries, each searching other recordings; for test splits too small for a useful R@1.

    Most of the videos were trained on, without labels; so this compares methods, but is no measure of new videos.

    Args:
        features: method -> view -> raw features of both splits, see :func:`retrieval_table`; their mean is subtracted.
        labels: int (N,), of the videos of the first split, then of the second.
        groups: (N,), the group left out with each video: its recording, person or camera.

    Returns:
        columns method, view, recall, low, high (95 % interval, in [0, 1]), videos, groups. Clips of one recording find
        the same neighbours, so the (Wilson) interval counts groups, not videos.
    """
    codes = torch.as_tensor(pd.factorize(pd.Series(groups))[0])
    labels, several = _labels(labels, len(codes), "labels"), int(codes.max()) + 1
    rows = []
    for method, views in features.items() if several > 1 else ():
        prepared = {view: prepare_features(torch.cat([*map(torch.as_tensor, pair)])) for view, pair in views.items()}
        for view, x in _with_all_views(prepared).items():
            similarity = (x @ x.T).masked_fill(codes[:, None] == codes, -torch.inf)
            recall = (labels[similarity.argmax(dim=1)] == labels).double().mean().item()
            rows.append((method, view, recall, *interval(recall, several), len(codes), several))
    return pd.DataFrame(rows, columns=["method", "view", "recall", "low", "high", "videos", "groups"])


def _finite(x: Any, name: str) -> Tensor:
    x = torch.as_tensor(x, dtype=torch.float32)
    if x.ndim != 2:
        raise ValueError(f"{name}: expected (N, F) features, not the shape {tuple(x.shape)}")
    if x.numel() and not torch.stack(x.aminmax()).isfinite().all():  # unlike x.isfinite(), makes no copy
        raise ValueError(f"{name}: NaN or infinity in the features, check the encoder's weights")
    return x


def _labels(labels: Any, count: int, name: str) -> Tensor:
    labels = torch.as_tensor(labels)
    if labels.shape != (count,):
        raise ValueError(f"{name}: labels of shape {tuple(labels.shape)} for {count} features")
    return labels
