"""When does the cascade help? CoCLR and CPR from the same start, with one thing changed at a time.

    python -m bench.when params/toy.yaml --seeds 0 1 --points default siblings=ignore loss=supervised --out when.csv

A point is "default" or settings of the co-training, ``name=value,name=value``; "start=N" starts from InfoNCE networks
of N epochs, "classes=N" trains and tests on the first N classes only, and a name in capitals is a constant of
:mod:`data_prep.toy_actions`, with which the videos are generated again. One cycle, unless ``cycles`` is set.
"""

import argparse
import re

import pandas as pd
import torch
import yaml

from bench.evidence import COLUMNS, Run, in_percent
from cprlib.data.flow import extract_flow
from cprlib.data.frame_cache import build_cache
from cprlib.data.manifest import Manifest
from cprlib.store.errors import one_line
from cprlib.store.files import resolve, write_csv
from cprlib.store.folders import training_folder
from cprlib.store.settings import read_params
from cprlib.training.cotrain import cotrain
from data_prep import toy_actions


def with_classes(manifest: str, classes: int) -> str:
    """Write a manifest of the first `classes` classes beside the whole one."""
    table = Manifest.read(resolve(manifest)).table
    path = resolve(manifest).with_name(f"manifest-{classes}.csv")
    part = table[table.label < classes].reset_index(drop=True)
    Manifest(part.assign(video_id=range(len(part)))).write(path)
    return str(path)


def drawn(params: dict, changes: dict) -> dict:
    """Generate videos with other constants; returns the parameters with their paths."""
    name = ",".join(f"{n}={v}" for n, v in changes.items())
    folder = resolve(f"{params.get('outputs', 'outputs')}/data/{params['run']}-{name}")
    kept = {n: getattr(toy_actions, n) for n in changes}
    try:
        for n, value in changes.items():
            setattr(toy_actions, n, value)
        videos = toy_actions.build(folder, workers=1)  # in this process, as workers would not see the constants
    finally:
        for n, value in kept.items():
            setattr(toy_actions, n, value)
    manifest = extract_flow(videos, folder / "flow", params["flow_method"], params["flow_bound"], workers=1)
    manifest.write(folder / "manifest.csv")
    build_cache(manifest, folder / "cache", ["rgb", "flow"], params["short_side"], workers=1)
    places = {"manifest": str(folder / "manifest.csv"), "cache": str(folder / "cache")}
    return params | places | {"run": f"{params['run']}-{name}"}


def measure(params: dict, seed: int, point: str, methods: list[str]) -> pd.DataFrame:
    """Train and measure all methods at a point."""
    changes = (
        {} if point == "default" else {n: yaml.safe_load(v) for n, v in re.findall(r"(\w+)=(\[.*?]|[^,]*)", point)}
    )
    params = params | {"cycles": 1}
    constants = {name: changes.pop(name) for name in list(changes) if name.isupper() and hasattr(toy_actions, name)}
    if constants:
        params = drawn(params, constants)
    start, classes = changes.pop("start", params["infonce_epochs"]), changes.pop("classes", None)
    if classes:
        params = params | {"manifest": with_classes(params["manifest"], classes), "run": f"{params['run']}-{classes}"}
    if start != params["infonce_epochs"]:
        start = {"infonce_epochs": start, "infonce_milestones": [max(1, int(0.8 * start))]}
        params = params | start | {"run": f"{params['run']}-start{start['infonce_epochs']}"}
    base = Run(params, seed)
    for view in base.views:
        base.start("infonce", view)
    run = Run(params | changes, seed)
    rows = []
    for method in ["infonce", *methods]:
        networks = {view: training_folder(base.folder, "infonce", view) for view in base.views}
        if method != "infonce":
            out = f"{base.folder}/when/{point}"
            networks = cotrain(run.config(method=method, out=out), run.params["cycles"], networks)
        stages = {"coclr": 1, "cpr": run.params["num_stages"]}.get(method, 0)
        cycle = 0 if method == "infonce" else run.params["cycles"]
        about = {"method": method, "stages": stages, "cycle": cycle}
        about["epoch"] = cycle * run.config(method="coclr").all_epochs
        rows += [row | about for row in run.worth(method, networks)]
    dataset = params.get("evaluated_on", "built-in").lower()
    return in_percent(rows, run=f"when-{point}-seed{seed}", seed=seed, dataset=dataset)


@one_line()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("params", help="flat parameter file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--points", nargs="+", default=["default"])
    parser.add_argument("--methods", nargs="+", default=["coclr", "cpr"])
    parser.add_argument("--out", default="when.csv")
    args = parser.parse_args()
    torch.set_num_threads(1)
    params, tables = read_params(resolve(args.params)), []
    for seed in args.seeds:
        for point in args.points:
            table = measure(params, seed, point, args.methods)
            given = f"--seeds {seed} --methods {' '.join(args.methods)} --points {point}"
            tables.append(table.assign(command=f"python -m bench.when {args.params} {given}"))
            write_csv(args.out, pd.concat(tables)[COLUMNS])  # after every point


if __name__ == "__main__":
    main()
