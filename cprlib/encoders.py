"""Video encoders: a torchvision backbone, global average pooling, and the projection head of contrastive learning."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RELEASED_RED = 128  # red level in the released code's flow pictures; green is v, blue is u


class ReleasedFlowInput(nn.Module):
    """Turn this project's flow (u, v, 0) into the normalised RGB picture (128, v, u) that CoCLR and CPR trained on.

    Every channel is ``scale`` times ours plus ``shift``. The first convolution cannot absorb this, as its zero padding
    would have to be shifted too; so it stays in front of the backbone, and its buffers mark such a state dict.
    """

    def __init__(self):
        super().__init__()
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        levels = torch.tensor([RELEASED_RED / 255, 0.5, 0.5])  # no motion; u and v in -1..1 become ± 0.5 around it
        self.register_buffer("scale", (torch.tensor([0.0, 0.5, 0.5]) / std).view(3, 1, 1, 1))
        self.register_buffer("shift", ((levels - mean) / std).view(3, 1, 1, 1))

    def forward(self, clips: Tensor) -> Tensor:
        """Flow (B, 3, T, H, W) float as of :func:`cprlib.data.augmentation.to_input` → the same shape, normalised."""
        return clips.flip(1) * self.scale + self.shift

    def fold(self, weight: Tensor) -> Tensor:
        """Convert the weights of a first convolution from our input to the released one.

        Red is constant and not zero, so its weights can hold the shifts of the other two; padding is zero in all three,
        so borders agree as well.

        Args:
            weight: (O, 3, t, h, w) float, for (u, v, 0).

        Returns:
            The same shape, for (128, v, u) normalised.
        """
        _, g, b = self.scale.double()
        red, green, blue = self.shift.double()
        for_v, for_u = weight[:, 1:2] / g, weight[:, :1] / b
        return torch.cat([-(for_v * green + for_u * blue) / red, for_v, for_u], dim=1).to(weight.dtype)


class Encoder(nn.Module):
    """Backbone → global average pool → FC → ReLU → FC → L2 normalisation (MoCo v2's head).

    Args:
        backbone: clips (B, 3, T, H, W) float → feature maps (B, feature_dim, T', H', W').
        feature_dim: channels of the feature maps, and width of the head.
        dim: D, length of the projected feature.

    ``input`` comes before the backbone: nothing, or :class:`ReleasedFlowInput` in released networks of flow.
    """

    def __init__(self, backbone: nn.Module, feature_dim: int, dim: int):
        super().__init__()
        self.input: nn.Module = nn.Identity()
        self.backbone, self.feature_dim, self.dim = backbone, feature_dim, dim
        self.head = nn.Sequential(nn.Linear(feature_dim, feature_dim), nn.ReLU(), nn.Linear(feature_dim, dim))

    def features(self, clips: Tensor) -> Tensor:
        """Pooled backbone features, what evaluation uses: clips (B, 3, T, H, W) float → (B, feature_dim) float."""
        return self.backbone(self.input(clips)).float().mean(dim=(2, 3, 4))

    def forward(self, clips: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) float → (B, dim) float, L2-normalised."""
        return F.normalize(self.head(self.features(clips)).float(), dim=1)


def _s3d() -> tuple[nn.Module, int]:
    from torchvision.models import video  # here, as torchvision is slow to import

    # Plain BatchNorm3d: torchvision's own default (eps 1e-3, momentum 1e-3) is not what the papers trained.
    return video.s3d(weights=None, norm_layer=nn.BatchNorm3d).features, 1024


def _resnet(name: str) -> tuple[nn.Module, int]:
    from torchvision.models import video

    net = getattr(video, name)(weights=None)
    return nn.Sequential(net.stem, net.layer1, net.layer2, net.layer3, net.layer4), 512


def _tiny() -> tuple[nn.Module, int]:
    """Three 3-D convolutions, each split into space and time as in R(2+1)D.

    On a CPU, layers with few channels at full resolution cost most and say least; so the first one has stride 4.
    """

    def block(c_in: int, c_space: int, c_time: int, side: int, stride: tuple[int, int]) -> list[nn.Module]:
        pad, (over_time, over_space) = (side - 1) // 2, stride
        space = nn.Conv3d(c_in, c_space, (1, side, side), (1, over_space, over_space), (0, pad, pad), bias=False)
        time = nn.Conv3d(c_space, c_time, (3, 1, 1), (over_time, 1, 1), (1, 0, 0), bias=False)
        return [space, nn.BatchNorm3d(c_space), nn.ReLU(), time, nn.BatchNorm3d(c_time), nn.ReLU()]

    return nn.Sequential(
        *block(3, 32, 32, 6, (2, 4)), *block(32, 64, 96, 3, (2, 2)), *block(96, 128, 128, 3, (1, 2))
    ), 128


BACKBONES = {
    "s3d": _s3d,
    "r3d_18": lambda: _resnet("r3d_18"),
    "r2plus1d_18": lambda: _resnet("r2plus1d_18"),
    "tiny": _tiny,
}


def build_encoder(backbone: str = "s3d", dim: int = 128) -> Encoder:
    """Make an encoder with fresh weights.

    Args:
        backbone: "s3d" (the papers'), "r3d_18", "r2plus1d_18", or "tiny" (0.2 M parameters, for a CPU).
        dim: D, length of the projected feature.

    Returns:
        A module: clips (B, 3, T, H, W) float → (B, dim) float, L2-normalised; ``.features(clips)`` gives the pooled
        backbone features (B, feature_dim).

    Raises:
        ValueError: unknown backbone.
    """
    if backbone not in BACKBONES:
        raise ValueError(f"backbone is {backbone!r}; choose one of {sorted(BACKBONES)}")
    return Encoder(*BACKBONES[backbone](), dim)


def momentum_copy(encoder: nn.Module) -> nn.Module:
    """A copy without gradients, to be updated by :func:`momentum_update`."""
    return copy.deepcopy(encoder).requires_grad_(False)


@torch.no_grad()
def momentum_update(encoder: nn.Module, key_encoder: nn.Module, momentum: float) -> None:
    """Move the key encoder's weights: ``k = momentum * k + (1 - momentum) * q`` (MoCo).

    Batch norms keep their own running statistics.

    Args:
        encoder: the trained network.
        key_encoder: its momentum copy, changed in place.
        momentum: in [0, 1].
    """
    torch._foreach_lerp_(list(key_encoder.parameters()), list(encoder.parameters()), 1 - momentum)
