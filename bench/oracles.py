"""What is a positive worth? Co-training on the built-in data with a miner that knows the labels and finds one kind.

    python -m bench.oracles params/toy.yaml --seeds 0 1 --out docs/oracles.csv

A class is a motion and a thing, so a wrong positive can be half right: "motion" finds videos of the right motion with
another thing, "thing" the right thing in another motion, "right-50" draws half of the positives from all other classes.
The rows of a kind are drawn at random, unless the name says nearest or farthest (in the trained view). One cycle, from
the InfoNCE networks of :mod:`bench.evidence`; siblings stay positives, as for every method. Only a measurement may do
this: nothing in cprlib gives labels to a miner.
"""

import argparse
from collections.abc import Mapping
from contextlib import contextmanager

import pandas as pd
import torch
from torch import Tensor

from bench.evidence import Run, in_percent
from cprlib.cascade import Retrieval
from cprlib.store.errors import one_line
from cprlib.store.files import resolve, write_csv
from cprlib.store.folders import training_folder
from cprlib.store.settings import read_params
from cprlib.training import step
from cprlib.training.cotrain import cotrain

COLUMNS = "seed kind view measure value command date".split()
KINDS = (
    "siblings",  # nothing is mined
    "random",
    "motion",
    "thing",
    "right",
    "right-nearest",
    "right-farthest",
    "right-75",
    "right-50",
    "right-25",
)


class Oracle:
    """A miner that finds `top_k` rows of one kind; :func:`told` gives it the labels of queries and rows."""

    def __init__(self, kind: str, classes: list[tuple[str, str]], trained_view: str, top_k: int, seed: int):
        self.kind, _, self.rule = kind.partition("-")
        halves = [{half: n for n, half in enumerate(sorted(set(column)))} for column in zip(*classes, strict=True)]
        self.parts = torch.tensor([[halves[0][m], halves[1][t]] for m, t in classes])
        self.view, self.top_k = trained_view, top_k
        self.generator = torch.Generator().manual_seed(seed)
        self.__qualname__ = f"Oracle[{kind}]"
        self.ids = self.queue = None

    def __call__(self, anchors: Mapping[str, Tensor], bank: Mapping[str, Tensor], exclude: Tensor) -> Retrieval:
        query, row = self.parts[self.ids["label"]], self.parts[self.queue.label]
        motion, thing = (query[:, None, n] == row[None, :, n] for n in (0, 1))
        right = motion & thing
        kinds = {"siblings": right & False, "random": right | True, "right": right}
        wanted = kinds | {"motion": motion & ~thing, "thing": thing & ~motion}
        score = torch.rand(right.shape, generator=self.generator)
        if self.rule in ("nearest", "farthest"):
            similar = anchors[self.view] @ bank[self.view].T
            score = similar if self.rule == "nearest" else -similar
        mask = wanted[self.kind]
        if self.rule.isdigit():  # a share of correct rows, the others wrong
            slots = torch.rand(len(right), self.top_k, generator=self.generator) < int(self.rule) / 100
            parts = [self._best(score, mask & ~exclude), self._best(score, ~right & ~exclude)]
            rows, valid = (torch.where(slots, a, b) for a, b in zip(*parts, strict=True))
        else:
            rows, valid = self._best(score, mask & ~exclude)
        return Retrieval(rows, valid, (rows,))

    def _best(self, score: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
        found = score.masked_fill(~allowed, -float("inf")).topk(self.top_k, dim=1)
        return found.indices, found.values > -float("inf")


@contextmanager
def told(oracles: Mapping[str, Oracle]):
    """Within this context, an oracle gets the labels of queries and rows before it mines."""
    plain = step.find_positives

    def find_positives(config, queue, miner, anchors, ids, generator):
        miner.ids, miner.queue, miner.view = ids, queue, config.view
        return plain(config, queue, miner, anchors, ids, generator)

    step.find_positives = find_positives
    try:
        yield
    finally:
        step.find_positives = plain


def measure(params: dict, seed: int, kind: str) -> pd.DataFrame:
    """R@k, probe and PMR after one cycle of co-training with this kind of positive."""
    run, folder = Run(params, seed), f"{Run(params, seed).folder}/oracles/{kind}"
    classes = [tuple(name.split("_", 1)) for name in run.manifest.class_names]
    oracle = Oracle(kind, classes, "", params["top_k"], seed)
    inits = {view: training_folder(run.folder, "infonce", view) for view in run.views}
    with told(oracle):
        networks = cotrain(run.config(method="cpr", out=folder), 1, inits, miner=oracle)
    return in_percent(run.worth("cpr", networks, mines=kind != "siblings"), seed=seed, kind=kind)


@one_line()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("params", help="flat parameter file of the built-in data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--out", default="oracles.csv")
    args = parser.parse_args()
    torch.set_num_threads(1)
    params, tables = read_params(resolve(args.params)), []
    for seed in args.seeds:
        for kind in args.kinds:
            command = f"python -m bench.oracles {args.params} --seeds {seed} --kinds {kind}"
            tables.append(measure(params, seed, kind).assign(command=command))
            write_csv(args.out, pd.concat(tables)[COLUMNS])  # after every kind


if __name__ == "__main__":
    main()
