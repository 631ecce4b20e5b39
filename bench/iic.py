"""IIC against IIC + CPR, in one phase or progressive: the trainings and numbers behind docs/results.csv.

    python -m bench.iic params/toy.yaml --seeds 0 --methods iic iic_cpr --out iic.csv
    python -m bench.iic params/toy.yaml --seeds 0 --methods iic_cpr --phases 1 3 5 --out phases.csv
    python -m bench.iic params/toy.yaml --seeds 0 --methods iic --set loss=nce --out nce.csv

Settings are those of the parameter file and of notebook 08. ``--phases`` divides the epochs among the phases, so that
all trainings are equally long. Without ``--phases`` and ``--set``, the initial random weights are measured, too.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd
import torch

from bench.evidence import COLUMNS, features_worth, in_percent, mined
from cprlib.data.frames import open_frames
from cprlib.data.manifest import Manifest
from cprlib.methods import ALL_VIEWS, METHODS
from cprlib.notebook.parameters import from_notebook
from cprlib.notebook.runner import choose, read_params
from cprlib.store.errors import one_line
from cprlib.store.files import project_root, resolve, write_csv
from cprlib.store.settings import read_pairs
from cprlib.training.cotrain import untrained
from cprlib.training.iic import IICConfig, fit_iic

NOTEBOOK = project_root() / "notebooks/08_iic.ipynb"
NAMES = {"epochs": "iic_epochs", "lr_milestones": "iic_milestones", "lr": "iic_lr", "loss": "iic_loss"}


def configuration(params: Path, method: str, seed: int, phases: list[int], outputs: str, others: dict) -> IICConfig:
    """The settings of a training, as in notebook 08."""
    given = choose(NOTEBOOK, [params])
    named = ["phases"] * bool(phases) + [f"{name}={value}" for name, value in others.items()]
    run = "-".join([given["run"], "iic", *named, f"seed{seed}"])
    given |= {name: given[other] for name, other in NAMES.items() if other in given}
    fields = {k: v for k, v in given.items() if k in IICConfig.__dataclass_fields__}
    parts = len(phases) or 1
    shared = {"epochs": fields["epochs"] // parts, "lr_milestones": [m // parts for m in fields["lr_milestones"]]}
    changes = {"method": method, "seed": seed, "top_k_phases": phases, "out": f"{outputs}/{run}/{method}"}
    return from_notebook(IICConfig, fields | shared | changes | others)


def measure(config: IICConfig, method: str, phases: list[int]) -> pd.DataFrame:
    """R@k and probe of each view and of both, PMR and median CMR of the last epoch."""
    manifest = Manifest.read(resolve(config.manifest))
    frames = open_frames(manifest, config.views, config.short_side, config.cache)
    rows = features_worth(method, dict.fromkeys(config.views, config.out), manifest, frames, config.seed, 64)
    if METHODS[method].build_miner:
        rows += mined({ALL_VIEWS: config.out}, manifest)
    about = {"run": Path(config.out).parent.name, "seed": config.seed, "method": method, "cycle": 0}
    stages = (len(config.keeps) + 1 if config.keeps else config.num_stages) if METHODS[method].build_miner else 0
    epoch = 0 if method == "random" else config.all_epochs
    return in_percent(rows, **about, stages=stages, epoch=epoch)


@one_line()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("params", type=Path, help="flat parameter file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--methods", nargs="+", default=["iic", "iic_cpr"])
    parser.add_argument("--phases", type=int, nargs="*", default=[], help="top-k of each phase of IIC + CPR")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other settings of IICConfig")
    parser.add_argument("--outputs", default="outputs")
    parser.add_argument("--out", default="iic.csv")
    args = parser.parse_args()
    torch.set_num_threads(1)
    dataset = read_params(args.params).get("evaluated_on", "built-in")
    others, tables = read_pairs(args.set), []
    for seed in args.seeds:
        for method in args.methods if args.phases or others else ["random", *args.methods]:
            trained = "iic" if method == "random" else method
            config = configuration(args.params, trained, seed, args.phases, args.outputs, others)
            if method == "random":
                config = from_notebook(IICConfig, vars(config) | {"out": str(Path(config.out).with_name("random"))})
                untrained(config)
            else:
                fit_iic(config)
            tables.append(measure(config, method, args.phases).assign(dataset=dataset.lower()))
            print(method, seed, tables[-1].set_index(["view", "measure"])["value"].to_dict(), flush=True)
    command = "python -m bench.iic " + " ".join(a for a in sys.argv[1:] if not a.startswith("/"))
    write_csv(args.out, pd.concat(tables).assign(command=command)[COLUMNS])


if __name__ == "__main__":
    main()
