"""The classifier on top of a video network, and one epoch of its training (section 3)."""

from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from cprlib.data.augmentation import JITTER_DRAWS, jitter
from cprlib.data.sampling import step_seed
from cprlib.encoders import Encoder
from cprlib.store.checkpoints import load_checkpoint
from cprlib.store.files import resolve
from cprlib.store.fingerprint import Fingerprint
from cprlib.training import ranks
from cprlib.training.schedule import CHECKED, check_losses, decay, pick_device
from cprlib.training.step import network_inputs


class Settings(Protocol):
    """The settings used here of :class:`cprlib.evaluation.finetune.FinetuneConfig`."""

    frozen: bool
    lr: float
    weight_decay: float
    lr_milestones: tuple[int, ...]
    backbone_lr: float
    augmentation: str
    seed: int
    device: str
    precision: str


class Classifier(nn.Module):
    """Backbone → pool → (frozen: L2-normalise → BatchNorm; else: dropout) → linear.

    Args:
        encoder: its backbone is used, not its projection head.
        classes: C.
        frozen: the backbone gets no gradient and stays in evaluation mode.
        dropout: probability; no effect if frozen.
    """

    def __init__(self, encoder: Encoder, classes: int, frozen: bool, dropout: float):
        super().__init__()
        self.encoder, self.frozen = encoder.requires_grad_(not frozen), frozen
        self.encoder.head.requires_grad_(False)
        self.between = nn.BatchNorm1d(encoder.feature_dim, affine=False) if frozen else Dropout(dropout)
        self.linear = nn.Linear(encoder.feature_dim, classes)

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        self.encoder.train(mode and not self.frozen)
        return self

    def forward(self, clips: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) float → logits (B, C) float."""
        features = self.encoder.features(clips)
        return self.linear(self.between(F.normalize(features, dim=1) if self.frozen else features))


class Dropout(nn.Dropout):
    """Dropout that equals that of one process: every process draws the mask of the whole batch and uses its part."""

    def forward(self, x: Tensor) -> Tensor:
        """(B / processes, F) → the same shape."""
        if ranks.size() == 1 or not self.training:
            return super().forward(x)
        return x * ranks.own_part(super().forward(x.new_ones(len(x) * ranks.size(), *x.shape[1:])))


def make_optimizer(config: Settings, model: Classifier) -> torch.optim.Optimizer:
    """SGD of the linear layer if the backbone is frozen, else Adam; a group's `share` scales its learning rate."""
    linear = {"params": model.linear.parameters(), "share": 1.0}
    if config.frozen:
        return torch.optim.SGD([linear], lr=config.lr, momentum=0.9, weight_decay=config.weight_decay)
    backbone = {"params": model.encoder.backbone.parameters(), "share": config.backbone_lr}
    return torch.optim.Adam([backbone, linear], lr=config.lr, weight_decay=config.weight_decay)


def train_epoch(
    config: Settings,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: DataLoader,
    view: str,
    epoch: int,
) -> dict[str, float]:
    """One pass over the training videos; the model is a :class:`Classifier`, possibly wrapped for several processes.

    Returns:
        mean loss, learning rate, and accuracy on the training clips.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    lr = config.lr * decay(epoch, config.lr_milestones)
    for group in optimizer.param_groups:
        group["lr"] = lr * group["share"]
    device, losses, right = pick_device(config.device), [], []
    model.train()
    for step, batch in enumerate(loader):
        seed = step_seed(config.seed, epoch, step)
        torch.manual_seed(seed)  # of the dropout
        draws = torch.Generator().manual_seed(seed)
        strong, photometry = batch["strong_q"], ()
        if config.augmentation == "jitter":
            chosen = torch.rand(len(batch["label"]) * ranks.size(), generator=draws) < 0.3
            strong, photometry = ranks.own_part(chosen), (jitter, JITTER_DRAWS)
        clips = network_inputs(batch["q"], (view,), strong, draws, device, *photometry)[view]
        labels = batch["label"].to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            logits = model(clips)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        right.append((logits.argmax(dim=1) == labels).float().mean())
        if step % CHECKED == CHECKED - 1:
            check_losses(losses[-CHECKED:], epoch)
    check_losses(losses, epoch)
    loss, train = ranks.gathered(torch.stack([torch.stack(losses).mean(), torch.stack(right).mean()])[None]).mean(dim=0)
    return {"loss": float(loss), "lr": lr, "train": float(train)}


def clips_seen(folder: str | Path, network: dict) -> dict[str, Any] | None:
    """View and shape of the clips that a classifier sees, for its fingerprint: equal weights may see other clips.

    Args:
        folder: of the classifier.
        network: checkpoint of the network to start from.

    Returns:
        None if the folder holds a classifier of such clips from before they were compared.
    """
    clips = {name: network["config"][name] for name in ("view", "clip_len", "clip_stride", "clip_size")}
    found = Fingerprint.read(resolve(folder))
    if found and "clips" not in found.parts:
        with suppress(FileNotFoundError, ValueError):
            return None if clips.items() <= load_checkpoint(folder)["config"].items() else clips
    return clips
