"""Inter-intra contrastive training (IIC, arXiv 2008.02531), alone or with positives from a cascade over its banks.

One network sees a clip in two views. Each feature is compared with the bank of the *other* view: its own row is the
positive; negatives are randomly drawn rows (inter) and rows of clips whose temporal order was destroyed (intra). IIC
itself does not mine; IIC + CPR adds the rows found by a cascade over the two banks as positives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from cprlib.data.disorder import DISORDERS
from cprlib.data.manifest import Manifest
from cprlib.data.sampling import ClipPairs, EpochSampler, step_seed
from cprlib.encoders import build_encoder
from cprlib.memory import IDS, InstanceBank
from cprlib.methods import METHODS, VIEWS
from cprlib.miners import Miner
from cprlib.store.settings import check_settings, setting
from cprlib.training import ranks
from cprlib.training.config import MAX_SEED, Phases
from cprlib.training.fit import open_pairs, phase_miners, read_manifest, settle_siblings, training_fingerprint
from cprlib.training.iic_step import Embedding, IICState, train_step
from cprlib.training.loop import fit_on_devices, run_epochs
from cprlib.training.schedule import PRECISIONS, check_precision, check_shares, enough_memory, pick_device
from cprlib.training.step import train_epoch

OPTIMIZERS = {"sgd": partial(torch.optim.SGD, momentum=0.9), "adam": partial(torch.optim.Adam, fused=True)}
IIC_METHODS = tuple(name for name, method in METHODS.items() if method.views)


@dataclass(frozen=True)
class IICConfig(Phases):
    """The settings of IIC and IIC + CPR. Defaults: the official ones on UCF101, except optimiser and `standardise`.

    Attributes:
        manifest, out, cache, short_side: see :class:`cprlib.training.config.TrainingConfig`.
        method: "iic" or "iic_cpr".
        view, other_view: the two views of the network; intra-negatives are made from `view`.
        backbone, dim: see :func:`cprlib.encoders.build_encoder`.
        clip_len, clip_stride, clip_size: T frames, step between them, side of the crop in pixels.
        batch_size, epochs, lr, weight_decay: of the optimiser; epochs per phase.
        optimizer: "adam", or "sgd" with a momentum of 0.9 (the official one, with lr 0.01).
        standardise: give every feature dimension mean 0 and variance 1 over the batch before L2-normalising. A random
            network maps all videos to nearly the same feature; without this the banks shrink to a point within a few
            epochs, rows visited together are more alike than two rows of one video, and training does not progress.
        lr_milestones: epochs at which the learning rate is divided by ten.
        negatives: rows drawn for a query from each bank, at most all.
        tau: temperature.
        bank_momentum: weight of a row's old value when its video is visited.
        intra: how the order of intra-negatives is destroyed, a name in :data:`cprlib.data.disorder.DISORDERS`; "none".
        loss: "softmax" (Eq. 2) or "nce", see :func:`cprlib.losses.noise_contrastive`; the loss of "nce" rises unless lr
            is lower, about 1e-4 on the built-in data.
        num_stages, ratio, keeps, top_k, top_k_phases, siblings: of IIC + CPR, as in TrainingConfig; the cascade starts
            in `other_view`, and the memory has one row per training video.
        seed, device, precision, workers, devices: see :class:`cprlib.training.config.TrainingConfig`.
    """

    manifest: str = setting(decides=False)
    out: str = setting(decides=False)
    method: str = setting("iic", choices=IIC_METHODS)
    view: str = setting("rgb", choices=VIEWS)
    other_view: str = setting("residual", choices=VIEWS)
    backbone: str = "r3d_18"
    dim: int = setting(512, above=0)
    clip_len: int = setting(16, above=0)
    clip_stride: int = setting(1, above=0)
    clip_size: int = setting(112, above=0)
    short_side: int = setting(128, least=0)
    cache: str | None = setting(None, decides=False)
    batch_size: int = setting(16, above=0)
    epochs: int = setting(240, above=0)
    lr: float = setting(1e-3, above=0)
    weight_decay: float = setting(1e-4, least=0)
    optimizer: str = setting("adam", choices=OPTIMIZERS)
    standardise: bool = True
    lr_milestones: tuple[int, ...] = (120, 160, 200)
    negatives: int = setting(1024, above=0)
    tau: float = setting(0.07, above=0)
    bank_momentum: float = setting(0.5, least=0, below=1)
    intra: str = setting("repeat", choices=(*DISORDERS, "none"))
    loss: str = setting("softmax", choices=("softmax", "nce"))
    num_stages: int = setting(3, above=0)
    ratio: float = 0.1
    keeps: tuple[float, ...] = ()
    top_k: int = setting(5, above=0)
    top_k_phases: tuple[int, ...] = ()
    siblings: str = setting("auto", choices=("auto", "positive", "ignore", "negative"))
    seed: int = setting(0, least=0, most=MAX_SEED)
    device: str = setting("auto", decides=False)
    precision: str = setting("fp32", choices=PRECISIONS)
    workers: int = setting(0, least=0, decides=False)
    devices: int = setting(1, above=0, decides=False)

    def __post_init__(self):
        check_settings(self)
        check_shares(self)
        if self.view == self.other_view:
            raise ValueError(f"other_view: {self.other_view!r} is the view itself; name two views")

    @property
    def views(self) -> tuple[str, str]:
        """The views in the cascade's order."""
        return self.other_view, self.view


@enough_memory()
def fit_iic(
    config: IICConfig, miner: Miner | None = None, redo: bool = False, continue_with: Sequence[str] = ()
) -> Path:
    """Train the network of IIC or IIC + CPR, or load it.

    Arguments, folder and errors are those of :func:`cprlib.training.fit.fit`; the memory holds the rows of the banks.
    """
    if config.devices > ranks.size():
        return fit_on_devices("cprlib.training.iic:fit_iic", config, miner, redo, continue_with)
    manifest = read_manifest(config)
    train = manifest.split("train")
    miners = phase_miners(config, len(train.table), miner)
    config = settle_siblings(config, miners[0], manifest)
    check_precision(config)
    pairs = open_clips(config, manifest)
    sampler = EpochSampler(len(pairs), config.batch_size, config.seed)
    fingerprint = training_fingerprint(config, manifest, miner)
    state = new_state(config, pairs.rows)
    state.parallel = ranks.parallel(state.parallel)

    def one_epoch(phase: int, loader: DataLoader) -> tuple[dict, pd.DataFrame]:
        row, log = train_epoch(config, state, loader, miners[phase], step_of=train_step)
        return row | {"spread": spread(state.memory)}, log

    return run_epochs(config, state, (pairs, sampler), train, fingerprint, one_epoch, redo, continue_with)


def spread(bank: InstanceBank) -> float:
    """How far apart the rows of a bank lie: 1 minus the mean similarity of two rows, averaged over views.

    0: all videos have the same feature, the network has collapsed. 1: they point in all directions.
    """
    return float(1 - torch.stack([rows.mean(0).square().sum() for rows in bank.features.values()]).mean())


def open_clips(config: IICConfig, manifest: Manifest | None = None) -> ClipPairs:
    """The training videos, one clip of each per epoch, as the query; no key is read.

    Raises:
        ValueError, FileNotFoundError: no manifest, no flow yet, or no frame cache.
    """
    return open_pairs(config, manifest, (config.views, ()))


def new_state(config: IICConfig, videos: np.ndarray) -> IICState:
    """Network, banks and optimiser as they are before the first epoch.

    Args:
        config: of the training.
        videos: :func:`cprlib.data.sampling.video_rows` of the training videos.
    """
    device = pick_device(config.device)
    torch.manual_seed(config.seed)
    encoder = build_encoder(config.backbone, config.dim).to(device)
    ids = {name: torch.from_numpy(videos[:, i].copy()) for i, name in enumerate(IDS)}
    generator = torch.Generator().manual_seed(step_seed(config.seed))
    banks = (InstanceBank(ids, config.dim, views, generator).to(device) for views in (config.views, ("intra",)))
    optimizer = OPTIMIZERS[config.optimizer](encoder.parameters(), config.lr, weight_decay=config.weight_decay)
    return IICState(encoder, *banks, optimizer, parallel=Embedding(encoder, config.standardise))
