"""A small pipeline of everything the project makes, part by part, for :mod:`bench.kill` and :mod:`bench.soak`.

A part skips what is finished, so the chain can be called again wherever it was stopped.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from cprlib.data.flow import extract_flow
from cprlib.data.frame_cache import build_cache
from cprlib.data.frames import open_frames
from cprlib.data.manifest import Manifest
from cprlib.evaluation.classification import classification_table, linear_probe
from cprlib.evaluation.features import network_features
from cprlib.evaluation.finetune import FinetuneConfig, finetune, predict
from cprlib.evaluation.mining import class_mining_recall, read_mining_log
from cprlib.evaluation.retrieval import retrieval_table
from cprlib.report.figures.curves import recall_bars
from cprlib.report.figures.style import save_figure
from cprlib.report.html.report import write_report
from cprlib.store.files import write_csv
from cprlib.training.config import TrainingConfig
from cprlib.training.cotrain import untrained
from cprlib.training.fit import fit
from cprlib.training.iic import IICConfig, fit_iic
from data_prep import toy_actions

NETWORKS = ("infonce_rgb", "coclr_rgb_cycle1")


def make_videos(videos: Path, place: Path) -> None:
    """Make the videos that a chain starts from."""
    toy_actions.build(place, recordings=4, takes=1, workers=1).write(videos)


def _config(place: Path, out: str, **changed) -> TrainingConfig:
    small = dict(backbone="tiny", dim=8, clip_len=4, clip_size=16, short_side=30, batch_size=8, lr_milestones=())
    small |= dict(K=21, top_k=2, epochs=3, cache=str(place / "cache"), device="cpu")
    return TrainingConfig(manifest=str(place / "manifest.csv"), out=str(place / out), **small | changed)


def _flow(videos: Path, place: Path) -> None:
    extract_flow(Manifest.read(videos), place / "flow", "dis", 8.0, workers=1).write(place / "manifest.csv")


def _cache(videos: Path, place: Path) -> None:
    build_cache(Manifest.read(place / "manifest.csv"), place / "cache", ["rgb", "flow"], 30, workers=1)


def _infonce(videos: Path, place: Path) -> None:
    fit(_config(place, NETWORKS[0]))


def _cotraining(videos: Path, place: Path) -> None:
    flow = str(untrained(_config(place, "random_flow", view="flow")))
    fit(_config(place, NETWORKS[1], method="coclr", init=str(place / NETWORKS[0]), samplers={"flow": flow}))


def _iic(videos: Path, place: Path) -> None:
    like = _config(place, "iic_cpr")
    same = "manifest out backbone dim clip_len clip_size short_side batch_size cache device".split()
    given = {name: getattr(like, name) for name in same}
    fit_iic(IICConfig(method="iic_cpr", epochs=3, lr_milestones=(), negatives=20, ratio=0.5, top_k=2, **given))


def _features(place: Path, network: str) -> list[torch.Tensor]:
    manifest = Manifest.read(place / "manifest.csv")
    frames = open_frames(manifest, ["rgb"], 30, place / "cache")
    return [network_features(place / network, manifest, frames, split) for split in ("test", "train")]


def _all_features(videos: Path, place: Path) -> None:
    for network in (*NETWORKS, "iic_cpr"):
        _features(place, network)


def _probe(videos: Path, place: Path) -> None:
    manifest = Manifest.read(place / "manifest.csv")
    test, train = _features(place, NETWORKS[1])
    labels = torch.tensor(manifest.split("train").table.label.to_numpy())
    said = {"probe": linear_probe(train, labels, test, 0.3, epochs=20, milestones=(15,))}
    small = dict(short_side=30, batch_size=8, epochs=2, lr_milestones=(), cache=str(place / "cache"), device="cpu")
    names = {"manifest": str(place / "manifest.csv"), "out": str(place / "finetune_coclr_rgb")}
    config = FinetuneConfig(network=str(place / NETWORKS[1]), **names, **small)
    said["finetune"] = predict(finetune(config), manifest.split("test"), "five", 16)
    for protocol, probabilities in said.items():
        table = classification_table("coclr", protocol, {"rgb": probabilities}, manifest.split("test").table.label)
        write_csv(place / f"tables/{protocol}_coclr.csv", table)


def _report(videos: Path, place: Path) -> None:
    manifest = Manifest.read(place / "manifest.csv")
    write_csv(place / "tables/class_mining.csv", class_mining_recall(read_mining_log(place / NETWORKS[1]), manifest))
    labels = [torch.tensor(manifest.split(split).table.label.to_numpy()) for split in ("test", "train")]
    methods = {name.split("_")[0]: {"rgb": tuple(_features(place, name))} for name in NETWORKS}
    recall = retrieval_table(methods, *labels)
    write_csv(place / "tables/retrieval.csv", recall)
    save_figure(recall_bars(recall), str(place / "figures"), "retrieval")
    write_report(place)


PARTS: dict[str, Callable[[Path, Path], None]] = {
    "flow": _flow,
    "frame cache": _cache,
    "InfoNCE": _infonce,
    "co-training": _cotraining,
    "IIC": _iic,
    "features": _all_features,
    "probe, fine-tuning": _probe,
    "tables, report": _report,
}
