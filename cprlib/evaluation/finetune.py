"""Train a video classifier, with a frozen backbone or fine-tuning all weights (section 3)."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cprlib.data.content import contents, training_rows, view_contents
from cprlib.data.frames import open_frames, recorded_frames
from cprlib.data.manifest import Manifest
from cprlib.data.parallel import clip_loader
from cprlib.data.sampling import ClipPairs, EpochSampler
from cprlib.evaluation.classification import held_out, top_k_accuracy
from cprlib.evaluation.classifier import Classifier, clips_seen, make_optimizer, train_epoch
from cprlib.evaluation.features import Windows, clip_shape, mean_over_windows
from cprlib.evaluation.judged import check_judged
from cprlib.evaluation.on_devices import on_devices
from cprlib.methods import VIEWS
from cprlib.store.checkpoints import load_checkpoint, load_encoder, resume, save_checkpoint
from cprlib.store.files import resolve
from cprlib.store.fingerprint import Fingerprint, deciding_settings, hash_weights
from cprlib.store.folders import LINES, METRICS, VIDEOS, is_finished, open_training
from cprlib.store.progress import progress
from cprlib.store.sealed import keep_sealed, restore_lines, write_lines, write_sealed
from cprlib.store.settings import check_settings, setting
from cprlib.training import ranks
from cprlib.training.config import MAX_SEED
from cprlib.training.launch import launch
from cprlib.training.schedule import PRECISIONS, check_precision, check_shares, enough_memory, pick_device


@dataclass(frozen=True)
class FinetuneConfig:
    """The settings of a classifier. Defaults: fine-tuning as in the CoCLR and CPR papers.

    Attributes:
        manifest: path of the manifest; its training videos are trained on.
        out: folder of the classifier.
        network: folder of the training to start from, also one with random weights; it gives the view, the backbone
            and the clips' length, stride and size.
        frozen: freeze the backbone and train only the linear layer (L2-normalise → BatchNorm → linear, SGD);
            otherwise train all weights (dropout → linear, Adam).
        short_side, cache: see :class:`cprlib.training.config.TrainingConfig`.
        batch_size, epochs, lr, weight_decay: of the optimiser.
        lr_milestones: epochs at which the learning rates are divided by ten.
        backbone_lr: learning rate of the backbone as a share of `lr` (released code: 0.1).
        dropout: probability, before the linear layer; only for fine-tuning.
        held_out: share of the training recordings held out to choose which epoch is kept; 0 = train on all and keep
            the last epoch.
        augmentation: besides crop and flip; "jitter": colour jitter with probability 0.3 (the released code);
            "contrastive": as in pre-training.
        seed, device, precision, workers, devices: see :class:`cprlib.training.config.TrainingConfig`.
    """

    manifest: str = setting(decides=False)
    out: str = setting(decides=False)
    network: str = setting(decides=False)
    frozen: bool = False
    short_side: int = setting(128, least=0)
    cache: str | None = setting(None, decides=False)
    batch_size: int = setting(32, above=0)
    epochs: int = setting(500, above=0)
    lr: float = setting(1e-3, above=0)
    weight_decay: float = setting(1e-3, least=0)
    lr_milestones: tuple[int, ...] = (400, 450)
    backbone_lr: float = setting(0.1, least=0, most=1)
    dropout: float = setting(0.9, least=0, below=1)
    held_out: float = setting(0.1, least=0, below=1)
    augmentation: str = setting("jitter", choices=("jitter", "contrastive"))
    seed: int = setting(0, least=0, most=MAX_SEED)
    device: str = setting("auto", decides=False)
    precision: str = setting("fp32", choices=PRECISIONS)
    workers: int = setting(0, least=0, decides=False)
    devices: int = setting(1, above=0, decides=False)

    def __post_init__(self):
        check_settings(self)
        check_shares(self)


@enough_memory()
def finetune(config: FinetuneConfig, redo: bool = False) -> Path:
    """Train a classifier, or load it: a finished training is returned at once, an interrupted one is resumed.

    Args:
        config: what to train.
        redo: train again if the folder holds a training made from something else; otherwise that is an error.

    Returns:
        The folder: ``config.json``, ``environment.json``, ``fingerprint.json``, ``metrics.jsonl`` (one line per epoch),
        ``checkpoint.pt``, and ``metrics.json`` once finished.

    Raises:
        ValueError, FileNotFoundError: before training: what is wrong with the settings or files, or what the folder
            was made from instead.
        FloatingPointError: the loss is not finite.
    """
    if config.devices > ranks.size():
        given = {"config": asdict(config), "redo": redo}
        launch("cprlib.evaluation.finetune:finetune", given, config.devices, config.device)
        return resolve(config.out)
    with ranks.alone(resolve(config.out)):
        return _finetune(config, redo)


def _finetune(config: FinetuneConfig, redo: bool) -> Path:
    check_precision(config)
    videos, network = Manifest.read(resolve(config.manifest)), load_checkpoint(config.network)
    view, shape = network["config"]["view"], clip_shape(config.network, network["config"])
    check_judged(config.network, videos, view)
    clips, held = _parts(config, videos, view, shape)
    sampler = EpochSampler(len(clips), config.batch_size, config.seed)
    torch.manual_seed(config.seed)
    model = Classifier(load_encoder(config.network), len(videos.class_names), config.frozen, config.dropout)
    model = model.to(pick_device(config.device))
    optimizer = make_optimizer(config, model)

    def take(saved: dict) -> tuple[list, dict]:
        model.load_state_dict(saved["last"])
        optimizer.load_state_dict(saved["optimizer"])
        return saved["metrics"], saved["best"]

    with ranks.first_alone():
        folder = resolve(config.out)
        if not ranks.rank():  # it empties a folder in which nothing is finished
            open_training(folder, _made_from(config, videos, network), config, redo)
        keep_sealed(folder / VIDEOS, {"videos": contents(videos.split("train"))})
        metrics, best = resume(folder, take) or ([], {"held_out": -1.0})
        restore_lines(folder / LINES, metrics)
    if is_finished(folder) and len(metrics) == config.epochs:
        return folder
    trained = ranks.parallel(model)
    loader = clip_loader(clips, config.workers, batch_sampler=ranks.OwnPart(sampler))
    for epoch in progress(range(len(metrics), config.epochs), folder.name, status=lambda: _status(metrics)):
        sampler.epoch = epoch
        row = train_epoch(config, trained, optimizer, loader, view, epoch)
        metrics.append({"epoch": epoch, **row, **(_score(config, model, *held) if held else {})})
        if (score := metrics[-1].get("held_out", -1.0)) >= best["held_out"]:
            weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
            best = {"held_out": score, "epoch": epoch, "classifier": weights}
        if not ranks.rank():  # one process writes
            write_lines(folder / LINES, metrics)
            _save(folder, config, model, optimizer, metrics, best)
    kept = {name: best[name] for name in ("epoch", "held_out") if best[name] != -1.0}
    with ranks.first_alone():
        if not ranks.rank():
            write_sealed(folder / METRICS, {"epochs": config.epochs, "end": metrics[-1], "kept": kept})
    return folder


def predict(
    run: str | Path,
    videos: Manifest,
    crops: str = "ten",
    batch_size: int = 32,
    workers: int | None = None,
    devices: int = 1,
) -> Tensor:
    """Class probabilities of videos by a trained classifier, averaged over windows and crops (section 3, "test").

    Args:
        run: folder of :func:`finetune`.
        videos: e.g. `manifest.split("test")`.
        crops: "centre", "five" or "ten", see :func:`cprlib.data.augmentation.evaluation_crops`.
        batch_size: clips at once; does not affect the result.
        workers: loader processes; None = as in training.
        devices: processes that share the videos, see :func:`cprlib.evaluation.on_devices.on_devices`.

    Returns:
        float (N, C) on the CPU; rows sum to 1.
    """
    settings = load_checkpoint(run)["config"]
    frames = recorded_frames(run, videos, (settings["view"],))
    given = {"crops": crops, "batch_size": batch_size, "workers": settings["workers"] if workers is None else workers}
    if devices == 1:
        return predicted(run, videos, frames, **given)
    called = "cprlib.evaluation.finetune:predicted"
    return on_devices(called, run, videos, frames, devices, settings["device"], **given)


def predicted(run: str | Path, videos: Manifest, frames: Any, crops: str, batch_size: int, workers: int) -> Tensor:
    """:func:`predict` with frames that are already open; several processes share the videos."""
    saved = load_checkpoint(run)
    if "best" not in saved:
        raise ValueError(f"{run} is not a classifier; give a folder made by finetune()")
    settings, weights, classes = saved["config"], saved["best"]["classifier"], len(videos.class_names)
    if classes != (known := len(weights["linear.bias"])):
        raise ValueError(f"{run} has {known} classes, the manifest {classes}; give the manifest it was trained on")
    model = Classifier(load_encoder(run), classes, settings["frozen"], settings["dropout"])
    model.load_state_dict(weights)
    view = settings["view"]
    check_judged(run, Manifest(videos.all_rows), view)
    windows = Windows(frames, videos, view, *clip_shape(run, settings), crops)
    return _predict(model.to(pick_device(settings["device"])), windows, batch_size, workers)


def _made_from(config: FinetuneConfig, videos: Manifest, network: dict) -> Fingerprint:
    source = VIEWS[network["config"]["view"]].source
    return Fingerprint(
        {
            "settings": deciding_settings(config),
            "training videos": training_rows(videos),
            "network": hash_weights(network["encoder"]),
            "clips": clips_seen(config.out, network),
            "flow": view_contents(videos.split("train"), (source,)).get("flow"),
        }
    )


def _parts(config: FinetuneConfig, videos: Manifest, view: str, shape: tuple[int, int, int]) -> tuple[ClipPairs, tuple]:
    """The clips to train on; and windows and labels of the held-out videos, () without any."""
    train, frames = videos.split("train"), open_frames(videos, (view,), config.short_side, config.cache)
    rows = held_out(train, config.held_out, config.seed)
    part, held = (Manifest(train.table[chosen].reset_index(drop=True), train.whole) for chosen in (~rows, rows))
    clips = ClipPairs(part.table, part.source_codes, frames, (view,), (), *shape)
    return clips, (Windows(frames, held, view, *shape, middle=True), held.table.label) if rows.any() else ()


def _predict(model: Classifier, windows: Windows, batch_size: int, workers: int) -> Tensor:
    model.eval()
    device = model.linear.bias.device
    return mean_over_windows(lambda clips: model(clips).float().softmax(dim=1), windows, batch_size, device, workers)


def _score(config: FinetuneConfig, model: Classifier, windows: Windows, labels: Any) -> dict[str, float]:
    """Accuracy on the held-out videos."""
    said = _predict(model, windows, config.batch_size, config.workers)
    return {"held_out": top_k_accuracy(said, labels)}


def _save(folder: Path, config: FinetuneConfig, model: Classifier, optimizer, metrics: list, best: dict) -> None:
    """Save a checkpoint with an encoder like any other training's, so that its features can be extracted, too."""
    kept = {name[8:]: value for name, value in best["classifier"].items() if name.startswith("encoder.")}
    settings = {**load_checkpoint(config.network)["config"], **asdict(config)}
    state = {"encoder": kept, "last": model.state_dict(), "optimizer": optimizer.state_dict()}
    save_checkpoint(folder, settings, {**state, "metrics": metrics, "best": best})


def _status(metrics: list[dict]) -> str:
    held = f", held out {metrics[-1]['held_out']:.1%}" if "held_out" in metrics[-1] else ""
    return f"loss {metrics[-1]['loss']:.3f}, train {metrics[-1]['train']:.1%}{held}"
