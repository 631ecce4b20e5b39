"""Measure speed against straightforward references: ``python -m bench.run [--out FILE]``.

Each pair runs in turns in one process, the median of the repetitions counts, and the result is the ratio.
"""

import argparse
import datetime
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.explorers import bench_explorers
from bench.step import bench_step
from cprlib.cascade import Stage, cascade_retrieve, plan_stages
from cprlib.evaluation.classification import linear_probe
from cprlib.store.files import atomic_path, resolve
from data_prep import toy_actions


def gathering_cascade(queries: dict[str, Tensor], bank: dict[str, Tensor], stages: tuple[Stage, ...]) -> Tensor:
    """The reference: one query at a time, gathering the features of the rows that are left."""
    found = []
    for b in range(len(queries[stages[0].view])):
        rows = torch.arange(len(bank[stages[0].view]), device=bank[stages[0].view].device)
        for view, keep in stages:
            rows = rows[(bank[view][rows] @ queries[view][b]).topk(keep).indices]
        found.append(rows)
    return torch.stack(found)


def seconds(function: Callable, device: torch.device) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def ratio(reference: Callable, ours: Callable, device: torch.device, repeats: int = 7) -> tuple[float, float, float]:
    """Median seconds of the reference, of ours, and the median of the ratios pair by pair."""
    seconds(reference, device), seconds(ours, device)
    pairs = [(seconds(reference, device), seconds(ours, device)) for _ in range(repeats)]
    medians = [statistics.median(side) for side in zip(*pairs, strict=True)]
    return medians[0], medians[1], statistics.median(a / b for a, b in pairs)


def bench_cascade(device: torch.device) -> list[str]:
    """The cascade of the paper's size, and of Kinetics' memory."""
    lines = []
    for size in (2048, 16384):
        g = torch.Generator().manual_seed(0)
        queries, bank = (
            {v: F.normalize(torch.randn(n, 128, generator=g), dim=1).to(device) for v in ("flow", "rgb")}
            for n in (32, size)
        )
        stages = plan_stages(size, num_stages=7)
        same = torch.equal(cascade_retrieve(queries, bank, stages).indices, gathering_cascade(queries, bank, stages))
        slow, fast, times = ratio(
            lambda q=queries, b=bank, s=stages: gathering_cascade(q, b, s),
            lambda q=queries, b=bank, s=stages: cascade_retrieve(q, b, s),
            device,
        )
        lines.append(
            f"cascade B 32, K {size}, 7 stages: {1e3 * slow:.2f} ms query by query, {1e3 * fast:.2f} ms here, "
            f"{times:.1f} x faster; same rows: {same}"
        )
    return lines


def layer_by_layer_probe(train: Tensor, labels: Tensor, test: Tensor, rates: tuple[float, ...], epochs: int) -> Tensor:
    """The reference: torch's layers, autograd and optimiser, one learning rate after the other."""
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


def bench_probe() -> list[str]:
    """A linear probe of UCF101's size, on the CPU, where cached features lie."""
    g = torch.Generator().manual_seed(0)
    labels = torch.randint(101, (10000,), generator=g)
    features = torch.rand(10000, 1024, generator=g) + 0.1 * torch.randn(101, 1024, generator=g)[labels]
    data, rates, epochs = (features, labels, features[:1000]), (0.1, 0.3, 1.0), 5
    right = [
        (p.argmax(dim=2) == labels[:1000]).float().mean().item()
        for p in (layer_by_layer_probe(*data, rates, epochs), linear_probe(*data, rates, epochs))
    ]
    slow, fast, times = ratio(
        lambda: layer_by_layer_probe(*data, rates, epochs),
        lambda: linear_probe(*data, rates, epochs),
        torch.device("cpu"),
        repeats=3,
    )
    head = f"linear probe, 10000 x 1024 features, 101 classes, 3 learning rates, {epochs} of 100 epochs"
    return [
        f"{head}: {slow:.2f} s layer by layer, {fast:.2f} s here, {times:.1f} x faster; "
        f"accuracy on training videos {right[0]:.1%} and {right[1]:.1%}"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="also write the result here, e.g. bench/results/laptop.txt")
    out = parser.parse_args().out
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()} CPU"
    head = f"{datetime.date.today()}, {name}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    lines = [*bench_cascade(device), *bench_probe(), *bench_step(ratio, device)]
    with TemporaryDirectory(prefix="cprlib-") as folder:
        videos = toy_actions.build(Path(folder), recordings=4, takes=1, workers=1)
        lines += bench_explorers(videos, ratio, torch.device("cpu"))
    text = "\n".join([head, *lines]) + "\n"
    print(text, end="")
    if out:
        with atomic_path(resolve(Path(out))) as tmp:
            tmp.write_text(text)


if __name__ == "__main__":
    main()
