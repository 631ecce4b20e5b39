"""The trainings behind docs/results.csv: several seeds and methods side by side, on one machine with many cores.

    python -m bench.evidence params/ucf101_12.yaml --seeds 0 1 2 --methods coclr cpr:5 --jobs 8 --out results.csv

It calls the functions of the pipeline in the same folders, so an interrupted call is resumed, and the pipeline finds
what is finished; a training made with other settings is refused, not replaced: `--set run=NAME` names another run.
"cpr:5" is CPR with five stages; InfoNCE and random weights are included for every seed.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from datetime import date
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch

from cprlib.data.frames import CachedFrames, VideoFrames, open_frames
from cprlib.data.manifest import Manifest
from cprlib.evaluation.classification import PROTOCOLS, classification_table, probe_with_chosen_lr
from cprlib.evaluation.features import network_features
from cprlib.evaluation.finetune import FinetuneConfig, finetune, predict
from cprlib.evaluation.mining import class_mining_recall, median_cmr, positive_mining_recall, read_mining_log
from cprlib.evaluation.progress import cotraining_progress
from cprlib.evaluation.retrieval import retrieval_table
from cprlib.methods import COTRAINED
from cprlib.store.errors import one_line
from cprlib.store.files import resolve, write_csv
from cprlib.store.folders import training_folder
from cprlib.store.settings import read_pairs, read_params
from cprlib.training.config import TrainingConfig
from cprlib.training.cotrain import cotrain, untrained
from cprlib.training.fit import fit

COLUMNS = "dataset run seed method stages cycle epoch view measure value command date".split()


class Run:
    """One seed of a parameter file."""

    def __init__(self, params: dict, seed: int):
        self.params, self.seed, self.views = params, seed, params.get("views", ["rgb", "flow"])
        self.folder = f"{params.get('outputs', 'outputs')}/{params['run']}-seed{seed}"

    def config(self, **changes) -> TrainingConfig:
        names = {field.name for field in fields(TrainingConfig)} - {"method"}
        given = {k: v for k, v in self.params.items() if k in names} | {"seed": self.seed, "out": self.folder}
        return TrainingConfig(**(given | changes))

    def place(self, method: str) -> tuple[str, str, int]:
        """Folder, name and stages of "cpr:7"."""
        name, _, stages = method.partition(":")
        stages = int(stages or self.params["num_stages"])
        same = name != "cpr" or stages == self.params["num_stages"]
        return (self.folder if same else f"{self.folder}/ablation/num_stages={stages}"), name, stages

    def start(self, method: str, view: str) -> None:
        """Train InfoNCE, and write the random weights it starts from; or UberNCE, as long and from the same weights."""
        epochs = {"epochs": self.params["infonce_epochs"], "lr_milestones": tuple(self.params["infonce_milestones"])}
        config = self.config(view=view, method=method, out=training_folder(self.folder, method, view), **epochs)
        if method == "infonce":
            untrained(self.config(view=view, out=training_folder(self.folder, "random", view), **epochs))
        fit(config)

    def cotrain(self, method: str) -> None:
        folder, name, stages = self.place(method)
        inits = {view: training_folder(self.folder, "infonce", view) for view in self.views}
        cotrain(self.config(method=name, num_stages=stages, out=folder), self.params["cycles"], inits)

    def finetune(self, method: str, view: str) -> None:
        folder, name, _ = self.place(method)
        network = training_folder(folder, name, view, self.params["cycles"])
        given = {k: v for k, v in self.params.items() if k in {f.name for f in fields(FinetuneConfig)}}
        given |= {"epochs": self.params["finetune_epochs"], "lr_milestones": tuple(self.params["finetune_milestones"])}
        given |= {"lr": 1e-3, "weight_decay": 1e-3, "seed": self.seed, "network": network}
        if name == "random":
            given["backbone_lr"] = 1.0
        finetune(FinetuneConfig(**(given | {"out": f"{folder}/finetune_{name}_{view}"})))

    def measure(self, method: str) -> pd.DataFrame:
        """All measures of a method, one per row."""
        folder, name, stages = self.place(method)
        rows, cycles = [], range(1, self.params["cycles"] + 1) if name in COTRAINED else [0]
        for cycle in cycles:
            networks = {v: training_folder(folder, name, v, cycle) for v in self.views}
            epoch = cycle * self.params["epochs"]
            rows += [{"cycle": cycle, "epoch": epoch, **row} for row in self.worth(name, networks)]
        if name in COTRAINED:
            curve = cotraining_progress(folder, [name], self.manifest, self.frames, self.folder)
            curve = curve[curve.k == 1].assign(measure="r1_middle").rename(columns={"recall": "value"})
            rows += curve[["cycle", "epoch", "view", "measure", "value"]].to_dict("records")
        tuned = {v: resolve(f"{folder}/finetune_{name}_{v}") for v in self.views}
        if all((path / "metrics.json").exists() for path in tuned.values()):
            test = self.manifest.split("test")
            said = {v: predict(path, test, "centre", 64, 0) for v, path in tuned.items()}
            table = classification_table(name, PROTOCOLS[-1], said, test.table.label)
            last = {"cycle": cycles[-1], "epoch": cycles[-1] * self.params["epochs"], "measure": "finetune"}
            rows += [{**last, "view": row.view, "value": row.top1} for row in table.itertuples()]
        shown = stages if name == "cpr" else {"coclr": 1}.get(name, 0)
        about = {"run": Path(self.folder).name, "seed": self.seed, "method": name, "stages": shown}
        return in_percent(rows, **about, dataset=self.params.get("evaluated_on", "built-in").lower())

    @cached_property
    def manifest(self) -> Manifest:
        return Manifest.read(resolve(self.params["manifest"]))

    @cached_property
    def frames(self) -> VideoFrames | CachedFrames:
        return open_frames(self.manifest, self.views, self.params["short_side"], self.params.get("cache"))

    def worth(self, name: str, networks: dict, mines: bool = True) -> list[dict]:
        """R@k and linear probe of a method's networks (view -> folder), and the mining quality of co-trained ones."""
        rows = features_worth(name, networks, self.manifest, self.frames, self.seed)
        return rows + (mined(networks, self.manifest) if mines and name in COTRAINED else [])


def in_percent(rows: list[dict], **about) -> pd.DataFrame:
    """A table of measured shares, in percent, with today's date."""
    table = pd.DataFrame(rows).assign(**about, date=date.today().isoformat())
    return table.assign(value=(100 * table.value).round(3))


def features_worth(
    name: str, networks: dict, manifest: Manifest, frames, seed: int, batch_size: int = 16
) -> list[dict]:
    """R@k and the linear probe."""
    train, test = manifest.split("train"), manifest.split("test")
    features = {
        v: tuple(network_features(n, manifest, frames, s, batch_size, view=v) for s in ("test", "train"))
        for v, n in networks.items()
    }
    recall = retrieval_table({name: features}, test.table.label, train.table.label, (1, 5, 10, 20))
    rows = [{"view": r.view, "measure": f"r{r.k}", "value": r.recall} for r in recall.itertuples()]
    probed = {v: probe_with_chosen_lr(at, train, use, seed=seed)[0] for v, (use, at) in features.items()}
    table = classification_table(name, "probe", probed, test.table.label)
    return rows + [{"view": r.view, "measure": "probe", "value": r.top1} for r in table.itertuples()]


def mined(networks: dict, manifest: Manifest) -> list[dict]:
    """PMR and median CMR of the last epoch."""
    rows = []
    for view, network in networks.items():
        log = read_mining_log(network)
        rows.append({"view": view, "measure": "pmr", "value": float(positive_mining_recall(log).iloc[-1])})
        rows.append({"view": view, "measure": "cmr", "value": median_cmr(class_mining_recall(log, manifest))})
    return rows


@one_line()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("params", help="flat parameter file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--methods", nargs="+", default=["coclr", "cpr"])
    parser.add_argument("--first", nargs="*", default=[], help="methods of the first seed only")
    parser.add_argument("--finetune", nargs="*", default=[], help="methods to fine-tune, first seed")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="override the file's setting")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--out", default="results.csv")
    parser.add_argument("--task", nargs="*", help=argparse.SUPPRESS)  # seed, step, arguments
    args = parser.parse_args()
    params = read_params(resolve(args.params)) | read_pairs(args.set)
    if args.task:
        torch.set_num_threads(1)
        seed, step, *rest = args.task
        run = Run(params, int(seed))
        if step != "measure":
            getattr(run, step)(*rest)
            return
        write_csv(f"{run.folder}/measured-{rest[0].replace(':', '-')}.csv", run.measure(rest[0]))
        return
    given = [a for a in sys.argv[1:] if a]

    def do(*task) -> None:
        command = [sys.executable, "-m", "bench.evidence", args.params, "--set", *args.set, "--task", *map(str, task)]
        if subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1", "CPR_BATCH": "1"}).returncode:
            raise SystemExit(f"failed: {' '.join(map(str, task))}")  # nothing that needs it is begun
        print("done", *task, flush=True)

    def seed_of(seed: int) -> None:
        run, methods = Run(params, seed), [*args.methods, *(args.first if seed == args.seeds[0] else [])]
        labels = [m for m in methods if m == "ubernce"]
        with ThreadPoolExecutor(16) as pool:
            list(
                pool.map(lambda job: do(seed, "start", *job), [(m, v) for m in ["infonce", *labels] for v in run.views])
            )
            others = [m for m in methods if m not in labels]

            def chain(method: str) -> None:
                if method in others:
                    do(seed, "cotrain", method)
                if method in args.finetune and seed == args.seeds[0]:
                    list(pool.map(lambda view: do(seed, "finetune", method, view), run.views))
                do(seed, "measure", method)

            with ThreadPoolExecutor(16) as chains:
                list(chains.map(chain, ["random", "infonce", *labels, *others]))

    with ThreadPoolExecutor(max(1, args.jobs)) as seeds:
        list(seeds.map(seed_of, args.seeds))
    files = [f for seed in args.seeds for f in sorted(resolve(Run(params, seed).folder).glob("measured-*.csv"))]
    table = pd.concat([pd.read_csv(f) for f in files]).assign(command="python -m bench.evidence " + " ".join(given))
    write_csv(args.out, table[COLUMNS])


if __name__ == "__main__":
    main()
