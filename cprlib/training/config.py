"""The settings of one training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cprlib.cascade import plan_stages
from cprlib.losses import LOSSES
from cprlib.methods import METHODS, VIEWS
from cprlib.store.fingerprint import deciding_settings
from cprlib.store.settings import check_settings, setting
from cprlib.training.schedule import PRECISIONS

MAX_SEED = 2**63 - 1
CASCADE = ("num_stages", "ratio", "keeps")  # settings without effect with one stage, and
MINING = (*CASCADE, "top_k", "top_k_phases", "anchor", "drop_self_positive", "siblings")  # without mining


class Phases:
    """What follows from `top_k`, `top_k_phases` and `epochs` of a training's settings."""

    @property
    def phases(self) -> tuple[int, ...]:
        """top_k of each phase; without mining there is one phase."""
        return (METHODS[self.method].build_miner and self.top_k_phases) or (self.top_k,)

    @property
    def all_epochs(self) -> int:
        """Epochs of all phases together."""
        return self.epochs * len(self.phases)


@dataclass(frozen=True)
class TrainingConfig(Phases):
    """The settings of one training. Defaults: the CPR paper on UCF101.

    Attributes:
        manifest: path of the manifest, with flow where a flow view is used.
        out: folder of the training.
        view: the view to train, a name in :data:`cprlib.methods.VIEWS`.
        method: a name in :data:`cprlib.methods.METHODS`; IIC has its own settings, see :mod:`cprlib.training.iic`.
        samplers: frozen networks to mine with: view -> folder of a training.
        init: folder of the training whose network this one starts from; None = random weights.
        backbone, dim: see :func:`cprlib.encoders.build_encoder`.
        clip_len, clip_stride, clip_size: T frames, step between them, side of the crop in pixels.
        short_side: short side in pixels that videos are read at; 0 = as they are.
        cache: folder of a frame cache at `short_side`, see :func:`cprlib.data.frame_cache.build_cache`; None = decode
            the videos every epoch.
        batch_size, epochs, lr, weight_decay: of Adam; epochs per phase.
        lr_milestones: epochs at which the learning rate is divided by ten.
        K, tau, momentum: queue size, temperature, momentum of the key encoder (MoCo).
        num_stages, ratio, keeps, top_k: the cascade, see :func:`cprlib.cascade.plan_stages`; CoCLR uses top_k alone.
        top_k_phases: progressive training: the top_k of each phase, e.g. 1, 3, 5. A phase starts with the weights and
            memory of the previous one, a fresh optimiser and the initial learning rate. Empty: one phase.
        anchor: the feature that searches the memory: "paper": the key in every view; "released": the query in the
            trained view.
        drop_self_positive: probability that a step drops the query's own key from the positives if there are others.
        siblings: how rows of the query's own recording count when positives are mined: "positive" (the papers),
            "ignore" or "negative"; "auto": "positive", or "ignore" if a recording spans several classes.
        own_rows: how older keys of the query's own video count: "ignore", or "negative" as in the released code. If
            siblings are positive, so are they.
        loss: "multi_instance" (Eq. 2) or "supervised" (the released UberNCE); "auto": "supervised" for UberNCE only.
        bn_groups: parts of a batch with separate batch norm statistics; keys are grouped differently from queries; 1 =
            the released behaviour on one GPU, see :func:`cprlib.training.step.encode_in_groups`.
        seed, device: seed of all random draws; "auto" takes a GPU if there is one.
        precision, workers: "fp32" or "bf16"; loader processes.
        channels_last, compile: memory format of the convolutions; torch.compile, which takes minutes once. Both change
            only the rounding.
        devices: processes that train together, each on its own GPU (on the CPU if there is none) with its part of
            every batch. The result does not depend on it, up to rounding.
    """

    manifest: str = setting(decides=False)
    out: str = setting(decides=False)
    view: str = setting("rgb", choices=VIEWS)
    method: str = setting("infonce", choices=[name for name, method in METHODS.items() if not method.views])
    samplers: Mapping[str, str] = setting(factory=dict, decides=False)
    init: str | None = setting(None, decides=False)
    backbone: str = "s3d"
    dim: int = setting(128, above=0)
    clip_len: int = setting(32, above=0)
    clip_stride: int = setting(1, above=0)
    clip_size: int = setting(128, above=0)
    short_side: int = setting(128, least=0)
    cache: str | None = setting(None, decides=False)
    batch_size: int = setting(32, above=0)
    epochs: int = setting(100, above=0)
    lr: float = setting(1e-3, above=0)
    weight_decay: float = setting(1e-5, least=0)
    lr_milestones: tuple[int, ...] = (80,)
    K: int = setting(2048, above=0)
    tau: float = setting(0.07, above=0)
    momentum: float = setting(0.999, least=0, most=1)
    num_stages: int = setting(7, above=0)
    ratio: float = 0.5
    keeps: tuple[float, ...] = ()
    top_k: int = setting(5, above=0)
    top_k_phases: tuple[int, ...] = ()
    anchor: str = setting("paper", choices=("paper", "released"))
    drop_self_positive: float = setting(0.9, least=0, most=1)
    siblings: str = setting("auto", choices=("auto", "positive", "ignore", "negative"))
    own_rows: str = setting("ignore", choices=("ignore", "negative"))
    loss: str = setting("auto", choices=("auto", *LOSSES))
    bn_groups: int = setting(1, above=0)
    seed: int = setting(0, least=0, most=MAX_SEED)
    device: str = setting("auto", decides=False)
    precision: str = setting("fp32", choices=PRECISIONS)
    workers: int = setting(0, least=0, decides=False)
    channels_last: bool = setting(False, decides=False)
    compile: bool = setting(False, decides=False)
    devices: int = setting(1, above=0, decides=False)

    def __post_init__(self):
        check_settings(self)
        if self.devices > 1 and (self.batch_size % self.devices or self.bn_groups > 1 or self.compile):
            raise ValueError(
                f"devices: {self.devices} share a batch equally and synchronise batch norm; batch_size is "
                f"{self.batch_size}, bn_groups {self.bn_groups}, compile {self.compile}: choose a multiple, 1 and False"
            )
        for view in self.samplers:
            if view not in VIEWS:
                raise ValueError(f"samplers: {view!r} is not one of {', '.join(VIEWS)}")
        if self.view in self.samplers:
            raise ValueError(f"samplers: {self.view!r} is the trained view; name frozen networks of other views")
        if METHODS[self.method].build_miner:  # fail now if the cascade is impossible
            stages, keeps = (1, ()) if self.method == "coclr" else (self.num_stages, self.keeps)
            for top_k in self.phases:
                plan_stages(self.K, self.views, stages, self.ratio, top_k, keeps)

    @property
    def views(self) -> tuple[str, ...]:
        """The views in the cascade's order: those of the frozen networks first, the trained one last."""
        return (*self.samplers, self.view)

    @property
    def loss_form(self) -> str:
        """The loss, a name of :data:`cprlib.losses.LOSSES`."""
        if self.loss != "auto":
            return self.loss
        return "supervised" if METHODS[self.method].needs_labels else "multi_instance"


def training_settings(config: Phases, own_miner: bool = False) -> dict[str, Any]:
    """The settings that decide a training's result; mining settings only if it mines.

    Args:
        config: of the training.
        own_miner: whether the user supplied the miner.
    """
    mined = MINING if not METHODS[config.method].build_miner else CASCADE if config.method == "coclr" else ()
    return {n: v for n, v in deciding_settings(config).items() if own_miner or n not in mined}
