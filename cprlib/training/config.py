"""The settings of one training."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cprlib.cascade import plan_stages
from cprlib.methods import METHODS
from cprlib.store.settings import check_types
from cprlib.training.schedule import PRECISIONS


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides the result of one training run. Defaults: the CPR paper on UCF101.

    Attributes:
        manifest: path of the manifest, with flow where a flow view is used.
        out: run folder.
        view: the view that is trained, "rgb" or "flow".
        method: "infonce", "ubernce", "coclr" or "cpr".
        samplers: frozen networks to mine with: view -> run folder.
        init: run folder whose network training starts from; None = random weights.
        backbone, dim: see :func:`cprlib.encoders.build_encoder`.
        clip_len, clip_stride, clip_size: T frames, step between them, side of the crop in pixels.
        short_side: short side in pixels that videos are read at; 0 = as they are.
        cache: decode all videos once into this folder at `short_side`; None = decode at every visit.
        batch_size, epochs, lr, weight_decay: Adam.
        lr_milestones: epochs at which the rate falls to a tenth.
        K, tau, momentum: queue size, temperature, momentum of the key encoder (MoCo).
        num_stages, ratio, top_k: the cascade; CoCLR uses top_k alone.
        anchor: what looks for positives; "paper": the key in every view; "released": the query in the trained view.
        drop_self_positive: probability that the own key leaves the positives of a step when there are others.
        seed, device: of all draws; "auto" takes a GPU if there is one.
        precision, workers: "fp32" or "bf16"; loader processes.
    """

    manifest: str
    out: str
    view: str = "rgb"
    method: str = "infonce"
    samplers: Mapping[str, str] = field(default_factory=dict)
    init: str | None = None
    backbone: str = "s3d"
    dim: int = 128
    clip_len: int = 32
    clip_stride: int = 1
    clip_size: int = 128
    short_side: int = 128
    cache: str | None = None
    batch_size: int = 32
    epochs: int = 100
    lr: float = 1e-3
    weight_decay: float = 1e-5
    lr_milestones: tuple[int, ...] = (80,)
    K: int = 2048
    tau: float = 0.07
    momentum: float = 0.999
    num_stages: int = 7
    ratio: float = 0.5
    top_k: int = 5
    anchor: str = "paper"
    drop_self_positive: float = 0.9
    seed: int = 0
    device: str = "auto"
    precision: str = "fp32"
    workers: int = 0

    def __post_init__(self):
        check_types(self)
        choices = {
            "view": ("rgb", "flow"),
            "method": METHODS,
            "anchor": ("paper", "released"),
            "precision": PRECISIONS,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: {getattr(self, name)!r} is not one of {', '.join(allowed)}")
        for name in (
            "dim",
            "clip_len",
            "clip_stride",
            "clip_size",
            "batch_size",
            "epochs",
            "lr",
            "K",
            "tau",
            "top_k",
            "num_stages",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: {getattr(self, name)} must be greater than 0")
        for name in ("momentum", "drop_self_positive"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: {getattr(self, name)} must lie between 0 and 1")
        if self.view in self.samplers:
            raise ValueError(
                f"samplers: {self.view!r} is the view that is trained; name frozen networks of other views"
            )
        if self.method in ("coclr", "cpr"):  # an impossible cascade ends here
            plan_stages(self.K, self.views, self.num_stages if self.method == "cpr" else 1, self.ratio, self.top_k)

    @property
    def views(self) -> tuple[str, ...]:
        """The order in which a cascade looks: the frozen networks' views first, the trained one last."""
        return (*self.samplers, self.view)
