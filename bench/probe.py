"""The linear probe against torch's layers, autograd and optimiser, one learning rate at a time."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.pair import Pair
from cprlib.evaluation.classification import linear_probe


def layer_by_layer_probe(train: Tensor, labels: Tensor, test: Tensor, rates: tuple[float, ...], epochs: int) -> Tensor:
    """The reference."""
    found = []
    for lr in rates:
        model = nn.Sequential(nn.BatchNorm1d(train.shape[1], affine=False), nn.Linear(train.shape[1], 101))
        sgd = torch.optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=1e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(train)).split(256):
                sgd.zero_grad()
                F.cross_entropy(model(F.normalize(train[rows], dim=1)), labels[rows]).backward()
                sgd.step()
        found.append(model.eval()(F.normalize(test, dim=1)).softmax(dim=1))
    return torch.stack(found)


def pairs(device: torch.device) -> Iterator[Pair]:
    """UCF101's size, on the CPU, where cached features are."""
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(101, (10000,), generator=g)
    features = torch.rand(10000, 1024, generator=g) + 0.1 * torch.randn(101, 1024, generator=g)[labels]
    data, rates, epochs = (features, labels, features[:1000]), (0.1, 0.3, 1.0), 5

    def agree(a: Tensor, b: Tensor) -> str:
        right = [(p.argmax(dim=2) == labels[:1000]).float().mean().item() for p in (a, b)]
        assert abs(right[0] - right[1]) < 0.02
        return f"accuracy on training videos {right[0]:.1%} and {right[1]:.1%}"

    yield Pair(
        f"linear probe, 10000 x 1024 features, 3 learning rates, {epochs} of 100 epochs",
        lambda: layer_by_layer_probe(*data, rates, epochs),
        lambda: linear_probe(*data, rates, epochs),
        agree,
        repeats=3,
    )
