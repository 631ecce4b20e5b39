"""Action recognition: the linear probe on cached features, and tables of predictions (section 3)."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from cprlib.data.manifest import Manifest
from cprlib.methods import ALL_VIEWS
from cprlib.training.schedule import decay

PROTOCOLS = ("probe", "frozen", "finetune")


def held_out(videos: Manifest, share: float = 0.1, seed: int = 0) -> np.ndarray:
    """Choose the training videos to hold out for choosing settings: whole groups, the same share of every class.

    No group is split, and every class keeps a recording to train on.

    Args:
        videos: training videos.
        share: of the recordings of a class, in [0, 1); at least one of every class that has two, none for 0.
        seed: of the random draw.

    Returns:
        (N,) bool, True = held out.

    Raises:
        ValueError: `share` out of range, or no recording can be held out.
    """
    if not 0 <= share < 1:
        raise ValueError(f"held_out: {share} must lie in [0, 1)")
    sources, labels = pd.factorize(videos.table.get("group", videos.table.source_id))[0], videos.table.label.to_numpy()
    pairs = pd.DataFrame({"source": sources, "label": labels}).drop_duplicates()
    count = pairs.label.value_counts()
    quota = (share * count).apply(np.ceil).clip(upper=count - 1).to_dict()
    held = set()
    for source, classes in pairs.groupby("source").label.agg(list).sample(frac=1, random_state=seed).items():
        if all(quota[label] >= 1 for label in classes):  # a recording may show several classes
            held.add(source)
            quota |= {label: quota[label] - 1 for label in classes}
    if share and not held:
        raise ValueError("held_out: no class has two recordings, so none can be held out; set held_out to 0")
    return np.isin(sources, list(held))


def linear_probe(
    train: Tensor,
    labels: Tensor,
    test: Tensor,
    lr: float | Sequence[float] = 0.1,
    epochs: int = 100,
    milestones: Sequence[int] = (60, 80),
    weight_decay: float = 1e-3,
    batch_size: int = 256,
    seed: int = 0,
) -> Tensor:
    """Train a linear classifier on frozen features: L2-normalise → BatchNorm → linear, SGD with momentum 0.9.

    The batch norm has no weights, as the linear layer would absorb them; so classifiers with different learning rates
    share it and are trained in one pass.

    Args:
        train: float (N, F), features of the training videos.
        labels: int (N,), 0 to C - 1.
        test: float (M, F).
        lr: learning rate, 0.1 to 1 in the paper, or several.
        epochs, milestones: passes over `train`, and those at which the learning rate is divided by ten.
        weight_decay, batch_size, seed: of SGD.

    Returns:
        float (M, C) probabilities; (number of rates, M, C) for several rates.

    Raises:
        ValueError: features and labels that do not match.
    """
    if len(train) != len(labels) or len(train) < 2 or train.shape[1:] != test.shape[1:]:
        raise ValueError(
            f"probe: features of shape {tuple(train.shape)} with {len(labels)} labels, tested on {tuple(test.shape)}: "
            "they need as many labels as rows (at least 2), and the same columns"
        )
    rates = torch.tensor(lr, dtype=torch.float32).reshape(-1, 1, 1)
    train, test, labels = F.normalize(train.float(), dim=1), F.normalize(test.float(), dim=1), torch.as_tensor(labels)
    g = torch.Generator().manual_seed(seed)
    classes, width = int(labels.max()) + 1, train.shape[1]
    weight = (torch.rand(len(rates) * classes, width, generator=g) * 2 - 1) / width**0.5
    parameters = [weight, torch.zeros(len(rates) * classes)]
    velocity = [torch.zeros_like(p) for p in parameters]
    mean, var = torch.zeros(width), torch.ones(width)  # running statistics, as of a batch norm
    for epoch in range(epochs):
        step = rates * decay(epoch, milestones)
        for rows in torch.randperm(len(train), generator=g).split(batch_size):
            if len(rows) > 1:  # one row has no variance
                x = F.batch_norm(train[rows], mean, var, training=True)
                _sgd_step(x, labels[rows], parameters, velocity, step, weight_decay)
    logits = F.linear(F.batch_norm(test, mean, var), *parameters).view(len(test), len(rates), classes)
    probabilities = logits.softmax(dim=2).transpose(0, 1)
    return probabilities if isinstance(lr, Sequence) else probabilities[0]


def _sgd_step(x: Tensor, labels: Tensor, parameters: list, velocity: list, rates: Tensor, weight_decay: float) -> None:
    """One SGD step on the cross-entropy of all classifiers; the gradient is explicit, as autograd is slower."""
    weight, bias = parameters
    logits = F.linear(x, weight, bias).view(len(x), len(rates), -1)  # (B, R, C)
    error = logits.softmax(dim=2)
    error[torch.arange(len(x)), :, labels] -= 1
    error = error.flatten(1) / len(x)
    for p, v, gradient in zip(parameters, velocity, (error.T @ x, error.sum(dim=0)), strict=True):
        v.mul_(0.9).add_(gradient).add_(p, alpha=weight_decay)
        p.view(len(rates), -1, *p.shape[1:]).sub_(rates.view(-1, *[1] * p.ndim) * v.view(len(rates), -1, *p.shape[1:]))


def probe_with_chosen_lr(
    train: Tensor, videos: Manifest, test: Tensor, rates: Sequence[float] = (0.1, 0.3, 1.0), seed: int = 0, **options
) -> tuple[Tensor, float]:
    """Choose the learning rate on held-out recordings of the training videos, then train on all of them.

    Args:
        train: float (N, F), features of `videos`.
        videos: the training videos.
        test: float (M, F).
        rates: learning rates to choose from; ties go to the smallest.
        seed: of the held-out part and of SGD.
        options: see :func:`linear_probe`.

    Returns:
        float (M, C) probabilities of the test videos, and the rate.
    """
    labels, rates = torch.tensor(videos.table.label.to_numpy()), sorted(rates)
    if len(rates) > 1:
        held = torch.tensor(held_out(videos, seed=seed))
        chosen = linear_probe(train[~held], labels[~held], train[held], rates, seed=seed, **options)
        scores = [top_k_accuracy(probabilities, labels[held]) for probabilities in chosen]
        rates = [rates[int(np.argmax(scores))]]
    return linear_probe(train, labels, test, rates[0], seed=seed, **options), rates[0]


def top_k_accuracy(probabilities: Tensor, labels: Tensor, k: int = 1) -> float:
    """Share of videos whose class is among the k most probable; k is at most the number of classes.

    >>> top_k_accuracy(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]]), torch.tensor([1, 2]), k=1)
    0.5
    """
    top = probabilities.topk(min(k, probabilities.shape[1]), dim=1).indices
    return (top == torch.tensor(np.asarray(labels))[:, None]).any(dim=1).double().mean().item()


def confusion_matrix(predictions: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """Number of videos by true class (rows) and predicted class (columns)."""
    counts = pd.crosstab(predictions.class_name, predictions.predicted)
    return counts.reindex(index=class_names, columns=class_names, fill_value=0)


def prediction_table(probabilities: Tensor, videos: Manifest) -> pd.DataFrame:
    """Predictions of one network, a row per video.

    Args:
        probabilities: float (N, C).
        videos: N videos of C classes.

    Returns:
        Columns video_id, path, label, class_name, predicted (a class name), correct, and a probability per class,
        ``p_<class name>``.
    """
    names = videos.class_names
    table = videos.table[["video_id", "path", "label", "class_name"]].reset_index(drop=True)
    predicted = probabilities.argmax(dim=1).numpy()
    table["predicted"], table["correct"] = np.asarray(names)[predicted], predicted == table.label
    columns = [f"p_{name}" for name in names]
    return pd.concat([table, pd.DataFrame(probabilities.numpy(), columns=columns)], axis=1)


def class_accuracy(predictions: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Accuracy of every class: index class_name, a column per view, in [0, 1]."""
    return pd.DataFrame({view: table.groupby("class_name").correct.mean() for view, table in predictions.items()})


def classification_table(method: str, protocol: str, probabilities: Mapping[str, Tensor], labels) -> pd.DataFrame:
    """Accuracy of every view, and of their averaged probabilities ("both", section 3).

    Args:
        method: e.g. "cpr".
        protocol: one of :data:`PROTOCOLS`.
        probabilities: view -> float (N, C).
        labels: int (N,).

    Returns:
        Columns method, view, protocol, top1, top5 (in [0, 1]).
    """
    labels = torch.tensor(np.asarray(labels))
    rows = [
        (method, view, protocol, top_k_accuracy(p, labels, 1), top_k_accuracy(p, labels, 5))
        for view, p in two_stream(probabilities).items()
    ]
    return pd.DataFrame(rows, columns=["method", "view", "protocol", "top1", "top5"])


def two_stream(probabilities: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The probabilities of each view and, with several views, their mean as "both"."""
    both = {ALL_VIEWS: torch.stack(list(probabilities.values())).mean(dim=0)} if len(probabilities) > 1 else {}
    return {**probabilities, **both}
