"""Is the built-in data a fair question? Measures the criteria of docs/built-in-data.md, without CoCLR and CPR.

    python -m bench.built_in outputs/data/toy outputs/built-in            # the criteria, on the test videos
    python -m bench.built_in outputs/data/toy outputs/schedule --held-out epochs=100 lr=0.002  # InfoNCE's schedule

With ``--held-out`` only InfoNCE is trained, on seven tenths of the training recordings, and evaluated on the others, so
that no test video influences the schedule. Settings come from params/toy.yaml; ``name=value`` changes one.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cprlib.data.augmentation import to_input
from cprlib.data.frames import open_frames
from cprlib.data.manifest import Manifest
from cprlib.evaluation.features import network_features
from cprlib.evaluation.finetune import FinetuneConfig, finetune, predict
from cprlib.evaluation.retrieval import prepare_features, recall_at_k
from cprlib.store.checkpoints import load_encoder
from cprlib.store.errors import one_line
from cprlib.store.files import project_root, resolve
from cprlib.store.settings import read_pairs, read_params
from cprlib.training.config import TrainingConfig
from cprlib.training.cotrain import untrained
from cprlib.training.fit import fit, open_pairs

SHARED = "seed short_side backbone dim clip_len clip_stride clip_size batch_size lr K momentum".split()


def configuration(data: Path, out: Path, view: str, changes: Mapping[str, Any]) -> TrainingConfig:
    """InfoNCE as in params/toy.yaml."""
    given = read_params(project_root() / "params/toy.yaml")
    settings = {name: given[name] for name in SHARED} | {"epochs": given["infonce_epochs"]} | dict(changes)
    milestones = (int(0.8 * settings["epochs"]),)
    places = {"manifest": str(data / "manifest.csv"), "cache": str(data / "cache"), "out": str(out / f"infonce_{view}")}
    return TrainingConfig(view=view, lr_milestones=milestones, **places, **settings)


def hold_out(data: Path, out: Path) -> Path:
    """Write a manifest of the training videos with three tenths of the recordings of each class as test split."""
    train = Manifest.read(data / "manifest.csv").split("train").table
    recording = train.groupby("class_name").source_id.transform(lambda ids: pd.factorize(ids)[0])
    share = recording / recording.groupby(train.class_name).transform(lambda numbers: numbers.max() + 1)
    path = out / "manifest.csv"
    table = train.assign(split=np.where(share < 0.7, "train", "test"), video_id=range(len(train)))
    Manifest(table.reset_index(drop=True)).write(path)
    return path


def retrieval_r1(config: TrainingConfig) -> float:
    """R@1 of test videos among training videos, in percent."""
    manifest = Manifest.read(config.manifest)
    frames = open_frames(manifest, (config.view,), config.short_side, resolve(config.cache))
    query, gallery = (
        prepare_features(network_features(config.out, manifest, frames, split)) for split in ("test", "train")
    )
    labels = (torch.tensor(manifest.split(split).table.label.to_numpy()) for split in ("test", "train"))
    query_labels, gallery_labels = labels
    return 100 * recall_at_k(query, query_labels, gallery, gallery_labels, ks=(1,))[1]


def one_look(config: TrainingConfig, k: int = 5, rounds: int = 3) -> float:
    """PMR of a single stage: share of correct rows among the k nearest of other recordings; a key clip per video."""
    pairs, encoder, found = open_pairs(config), load_encoder(resolve(config.out)).eval(), []
    for number in range(rounds):
        items = [pairs[row, 1000 * number + row] for row in range(len(pairs))]
        labels, sources = (torch.tensor([item[name] for item in items]) for name in ("label", "source_id"))
        keys = _encode(encoder, items, config.view)
        similar = (keys @ keys.T).masked_fill(sources[:, None] == sources, -float("inf"))
        found.append((labels[similar.topk(k).indices] == labels[:, None]).float().mean())
    return 100 * float(torch.stack(found).mean())


@torch.no_grad()
def _encode(encoder: torch.nn.Module, items: list[dict], view: str) -> Tensor:
    clips, strong = torch.stack([i["k"][view] for i in items]), torch.stack([i["strong_k"] for i in items])
    generator = torch.Generator().manual_seed(0)
    parts = zip(clips.split(64), strong.split(64), strict=True)
    return torch.cat([encoder(to_input(part, view, which, generator)) for part, which in parts])


def from_scratch(config: TrainingConfig, random: TrainingConfig) -> float:
    """Accuracy of a classifier trained with labels from random weights, for as many steps as InfoNCE."""
    settings = {name: getattr(config, name) for name in ("manifest", "cache", "short_side", "epochs", "lr_milestones")}
    more = dict(network=random.out, backbone_lr=1.0, dropout=0.5, held_out=0.0, weight_decay=1e-4, seed=config.seed)
    folder = finetune(FinetuneConfig(out=config.out.replace("infonce", "scratch"), **settings, **more))
    test = Manifest.read(config.manifest).split("test")
    right = predict(folder, test, "centre").argmax(dim=1) == torch.tensor(test.table.label.to_numpy())
    return 100 * float(right.float().mean())


def criteria(config: TrainingConfig) -> dict[str, float]:
    """All numbers of one view, in percent."""
    random = replace(config, out=config.out.replace("infonce", "random"))
    untrained(random)
    fit(config)
    labelled = replace(config, method="ubernce", init=config.out, epochs=40, lr_milestones=(32,))
    labelled = replace(labelled, out=config.out.replace("infonce", "ubernce"))
    fit(labelled)
    return {
        "random R@1": retrieval_r1(random),
        "InfoNCE R@1": retrieval_r1(config),
        "one look": one_look(config),
        "classifier from scratch": from_scratch(config, random),
        "label positives R@1": retrieval_r1(labelled),
    }


@one_line()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="folder with manifest.csv and cache/")
    parser.add_argument("out", help="folder of the runs")
    parser.add_argument("changes", nargs="*", help="settings of InfoNCE, name=value")
    parser.add_argument("--held-out", action="store_true", help="InfoNCE only, on held-out training recordings")
    args = parser.parse_intermixed_args()
    changes = read_pairs(args.changes)
    data, out, rows = resolve(args.data), resolve(args.out), {}
    for view in ("rgb", "flow"):
        config = configuration(data, out, view, changes)
        if args.held_out:
            config = replace(config, manifest=str(hold_out(data, out)))
            rows[view] = {"InfoNCE R@1": retrieval_r1(replace(config, out=str(fit(config))))}
        else:
            rows[view] = criteria(config)
    print(pd.DataFrame(rows).round(1).to_string())


if __name__ == "__main__":
    main()
