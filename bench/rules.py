"""Other mining rules, and choosing a cascade without labels, evaluated on the memory snapshots of trainings.

    python -m bench.rules outputs/toy-seed0 outputs/toy-seed1 outputs/toy-seed2 --figure choice.png
    python -m bench.rules outputs/toy-seed0 outputs/toy-seed1 outputs/toy-seed2 --train params/toy.yaml

The first trains nothing: every row of the last memories of CPR's networks mines five rows of other recordings. It
prints the PMR of every rule, and how well the agreement of the views ranks plans by their PMR. The second co-trains one
cycle with another miner (`--rule`), from the runs' InfoNCE networks, and prints the measures of the networks.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from bench.evidence import Run
from cprlib.cascade import Retrieval, cascade_retrieve, plan_stages
from cprlib.evaluation.choice import rank_plans, stages_of, true_share
from cprlib.miners import fusion
from cprlib.report.figures.curves import choice_figure
from cprlib.store.errors import one_line
from cprlib.store.files import resolve
from cprlib.store.folders import cotrained_networks, training_folder
from cprlib.store.settings import read_params
from cprlib.training.cotrain import cotrain
from cprlib.training.snapshots import Memory, read_memory

TOP_K = 5


def rules(memory: Memory) -> dict[str, float]:
    """PMR of every rule, in percent; the first view of a memory is the frozen network's."""
    other, own = list(memory.features)
    forbidden = memory.source_id[:, None] == memory.source_id[None, :]
    same = memory.label[:, None] == memory.label[None, :]
    s = {view: x @ x.T for view, x in memory.features.items()}
    rank = {view: (-x.masked_fill(forbidden, -9)).argsort(1).argsort(1).float() for view, x in s.items()}
    near = {view: (x < 20).float() for view, x in rank.items()}
    z = {view: _standard(x, forbidden) for view, x in s.items()}
    both = z[other] + z[own]
    step = torch.softmax(2 * both.masked_fill(forbidden, -9), dim=1)
    mutual = near[other] * near[other].T * near[own] * near[own].T
    scores = {
        "own view alone": s[own],
        "sum of similarities": s[other] + s[own],
        "sum of standardised similarities": both,
        "smaller of the two": torch.minimum(z[other], z[own]),
        "sum of ranks": -(rank[other] + rank[own]),
        "larger rank": -torch.maximum(rank[other], rank[own]),
        "reciprocal ranks, 1 / (10 + rank)": 1 / (10 + rank[other]) + 1 / (10 + rank[own]),
        "mutual neighbours (20) first, then sum": both + 100 * mutual,
        "shared neighbours (20) in both views": sum(x @ x.T for x in near.values()),
        "one or two steps of a random walk": step + step @ step,
    }
    found = {
        name: _pmr(score.masked_fill(forbidden, -1e9).topk(TOP_K, 1).indices, same) for name, score in scores.items()
    }
    size, views = len(memory.label), (other, own)
    plans = {f"cascade of {n} stages": plan_stages(size, views, n, 0.5, TOP_K) for n in (3, 5)}
    plans = {"CoCLR, other view alone": plan_stages(size, views, 1, 0.5, TOP_K), **plans}
    mined = {name: cascade_retrieve(memory.features, memory.features, plan, forbidden) for name, plan in plans.items()}
    kept = cascade_retrieve(memory.features, memory.features, plan_stages(size, views, 4, 0.5, 16), forbidden).indices
    best = kept.gather(1, both.gather(1, kept).topk(TOP_K, 1).indices)
    cascades = {name: _pmr(m.indices, same) for name, m in mined.items()}
    return cascades | {"cascade to 16 rows, then sum": _pmr(best, same)} | found


def _standard(x: Tensor, forbidden: Tensor) -> Tensor:
    others = x.masked_fill(forbidden, float("nan"))
    mean = others.nanmean(1, keepdim=True)
    return (x - mean) / (others - mean).square().nanmean(1, keepdim=True).sqrt()


def _pmr(rows: Tensor, same: Tensor) -> float:
    return 100 * float(same.gather(1, rows).float().mean())


def novel(anchors: Mapping[str, Tensor], bank: Mapping[str, Tensor], exclude: Tensor) -> Retrieval:
    """Of the 16 rows that a cascade keeps, those least similar in the trained view, which is the last one."""
    size, own = exclude.shape[1], list(bank)[-1]
    kept = cascade_retrieve(anchors, bank, plan_stages(size, tuple(bank), 5, 0.5, 16), exclude)
    similar = (anchors[own] @ bank[own].T).gather(1, kept.indices).masked_fill(~kept.valid, float("inf"))
    chosen = similar.topk(TOP_K, dim=1, largest=False).indices
    return Retrieval(kept.indices.gather(1, chosen), kept.valid.gather(1, chosen), kept.survivors)


def mixture(anchors: Mapping[str, Tensor], bank: Mapping[str, Tensor], exclude: Tensor) -> Retrieval:
    """The three best rows of a cascade, and the two best of CoCLR's single stage."""
    plans = [plan_stages(exclude.shape[1], tuple(bank), stages, 0.5, top_k) for stages, top_k in ((5, 3), (1, 2))]
    parts = [cascade_retrieve(anchors, bank, plan, exclude) for plan in plans]
    rows, valid = (torch.cat([getattr(part, name) for part in parts], dim=1) for name in ("indices", "valid"))
    return Retrieval(rows, valid, parts[0].survivors)


RULES = {"sum": fusion(TOP_K), "novel": novel, "mixture": mixture}


def train(params: dict, run: str, rule: str) -> dict[str, float]:
    """R@1, probe, PMR and median CMR, in percent, after one cycle with a rule as the miner."""
    job = Run(params, int(run.rsplit("-seed", 1)[1]))
    inits = {view: training_folder(run, "infonce", view) for view in job.views}
    config = job.config(method="cpr", out=f"{job.folder}/{rule}")
    networks = cotrain(config, 1, inits, RULES[rule])
    return {f"{row['measure']} {row['view']}": 100 * row["value"] for row in job.worth("cpr", networks)}


@one_line()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="run folders with co-trained networks, one per seed")
    parser.add_argument("--figure", help="PNG of the first run: agreement and PMR of every plan")
    parser.add_argument("--train", help="parameter file of the runs: co-train with a rule")
    parser.add_argument("--rule", choices=RULES, default="sum")
    args = parser.parse_args()
    if args.train:
        params = read_params(resolve(args.train))
        print(pd.DataFrame({run: train(params, run, args.rule) for run in args.runs}).round(1).to_markdown())
        return
    judged, ranked, figure = [], [], {}
    for run in args.runs:
        for view, networks in cotrained_networks(resolve(run), "cpr").items():
            for network in networks:
                memory = read_memory(network)
                judged.append({"run": Path(run).name, "view": view, **rules(memory)})
                plans = rank_plans(memory)
                plans["pmr"] = [true_share(memory, stages_of(p, len(memory.label))) for p in plans.to_dict("records")]
                figure.setdefault(view, plans)
                chosen = {"chosen": plans.pmr.iloc[0], "best": plans.pmr.max(), "mean": plans.pmr.mean()}
                ours = (plans.order == " → ".join(memory.features)) & (plans.num_stages == 5) & (plans.ratio == 0.5)
                chosen["5 stages, 0.5"] = plans.pmr[ours].iloc[0]
                rho = plans[["agreement", "pmr"]].corr(method="spearman").iloc[0, 1]
                ranked.append({"view": view, "spearman": rho, **{n: 100 * v for n, v in chosen.items()}})
    if not judged:
        raise ValueError(f"no CPR network in {', '.join(args.runs)}; train one in notebook 04")
    by_seed = pd.DataFrame(judged).groupby(["view", "run"]).mean().groupby("view")
    table = by_seed.mean().T.round(1)
    if len(args.runs) > 1:
        table = table.astype(str) + " ± " + by_seed.std().T.round(1).astype(str)
    print(table.to_markdown(), "\n")
    print(pd.DataFrame(ranked).groupby("view").mean().round(2).to_markdown())
    if args.figure:
        choice_figure(figure).savefig(resolve(args.figure))


if __name__ == "__main__":
    main()
