"""Augmentation: the same geometry for all views of a clip, photometry for RGB only; from bytes to network input."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from cprlib.encoders import IMAGENET_MEAN, IMAGENET_STD
from cprlib.methods import VIEWS, sources_of

PHOTOMETRIC_DRAWS, JITTER_DRAWS = 8, 4  # random numbers per clip
CROPS = {"centre": 1, "five": 5, "ten": 10}  # of evaluation: squares per clip


class Crop(NamedTuple):
    """Geometry of one clip, independent of its size: area share, aspect ratio, position in [0, 1), mirrored or not."""

    area: float
    aspect: float
    y: float
    x: float
    flip: bool


def draw_crop(generator: torch.Generator, min_area: float = 0.2) -> Crop:
    """Draw a random resized crop (area `min_area`..1, aspect 3/4..4/3) and a horizontal flip (p 0.5)."""
    area, aspect, y, x, flip = torch.rand(5, generator=generator).tolist()
    return Crop(min_area + (1 - min_area) * area, math.exp(math.log(4 / 3) * (2 * aspect - 1)), y, x, flip < 0.5)


def resized_crop(clip: Tensor, crop: Crop, size: int, view: str) -> Tensor:
    """Crop, resize and perhaps mirror a clip; mirroring negates u of flow.

    Args:
        clip: (T, H, W, C) uint8, RGB or flow levels.
        crop: the geometry.
        size: side of the result in pixels.
        view: with "flow", a flip negates channel 0 (u).

    Returns:
        (T, size, size, C) uint8.
    """
    height, width = clip.shape[1:3]
    h = max(1, min(height, round(math.sqrt(crop.area * height * width / crop.aspect))))
    w = max(1, min(width, round(math.sqrt(crop.area * height * width * crop.aspect))))
    top, left = round(crop.y * (height - h)), round(crop.x * (width - w))
    clip = _resized(torch.as_tensor(clip)[:, top : top + h, left : left + w], size)
    return mirror(clip, view) if crop.flip else clip


def _resized(clip: Tensor, size: int) -> Tensor:
    """(T, h, w, C) uint8 → (T, size, size, C); flow two frames at once, as torch is quick with 3 or 4 channels."""
    from torchvision.transforms.v2.functional import resize  # slow to import, often not needed

    frames, half = len(clip), -(-len(clip) // 2)
    if paired := clip.stride()[2:] == (2, 1):
        pixels = clip.view(torch.int16)[..., 0]  # an odd middle frame is in both halves
        clip = torch.stack([pixels[:half], pixels[-half:]], dim=3).view(torch.uint8)
    clip = resize(clip.permute(0, 3, 1, 2), [size, size], antialias=True).permute(0, 2, 3, 1).contiguous()
    if not paired:
        return clip
    pixels = clip.view(torch.int16)
    return torch.cat([pixels[..., :1], pixels[2 * half - frames :, ..., 1:]]).view(torch.uint8)


def mirror(clip: Tensor, view: str) -> Tensor:
    """Mirror a clip (T, H, W, C) uint8; motion to the right becomes motion to the left, so u of flow is negated."""
    clip = clip.flip(2)
    if view == "flow":
        clip[..., 0] = 255 - clip[..., 0]  # level 255 - l stands for -u
    return clip


def evaluation_crops(clip: Tensor, size: int, view: str, crops: str = "centre") -> Tensor:
    """The square crops of a clip that evaluation sees, nothing random (section 3, "test").

    Args:
        clip: (T, H, W, C) uint8, RGB or flow levels.
        size: side of the result in pixels.
        view: with "flow", mirrored crops have u negated.
        crops: "centre", the largest centre square; "five", the four corners and the centre, each with 7/8 of the short
            side (224 of 256 pixels in the released code); "ten", these and their mirror images.

    Returns:
        (1, 5 or 10, T, size, size, C) uint8; five in torchvision's order: corners, then centre.

    Raises:
        ValueError: unknown `crops`.
    """
    if crops not in CROPS:
        raise ValueError(f"crops is {crops!r}; choose one of {', '.join(CROPS)}")
    from torchvision.transforms.v2.functional import center_crop, five_crop

    frames, short = torch.as_tensor(clip).permute(0, 3, 1, 2), min(clip.shape[1:3])  # (T, C, H, W)
    side = short if crops == "centre" else max(1, round(short * 7 / 8))
    squares = [center_crop(frames, [side, side])] if crops == "centre" else five_crop(frames, [side, side])
    resized = [_resized(s.permute(0, 2, 3, 1), size) for s in squares]
    return torch.stack(resized + ([mirror(s, view) for s in resized] if crops == "ten" else []))


def to_input(
    clips: Tensor, view: str, strong: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """The input of one view from (B, T, H, W, C) uint8, frames of its source; see :func:`to_inputs`."""
    return to_inputs({VIEWS[view].source: clips}, (view,), strong, generator)[view]


def to_inputs(
    clips: Mapping[str, Tensor],
    views: Sequence[str],
    strong: Tensor | None = None,
    generator: torch.Generator | None = None,
    photometry: Callable[[Tensor, torch.Generator], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Turn bytes into network inputs, with photometric augmentation of RGB where `strong` is True.

    Derived views are made from augmented RGB, so that the views of a clip share geometry and photometry.

    Args:
        clips: source view -> (B, T, H, W, C) uint8, C = 3 for RGB, 2 for flow levels.
        views: names of :data:`cprlib.methods.VIEWS` whose sources are in `clips`.
        strong: (B,) bool, clips to augment strongly; flow is left as it is.
        generator: CPU generator of the draws; needed with `strong`.
        photometry: what strong means: RGB (B, 3, T, H, W) in 0..1, generator → the same; default :func:`photometric`.

    Returns:
        View -> (B, 3, T, H, W) float on the device of its clips: "rgb" normalised as ImageNet; "flow" with u and v in
        -1..1 for -bound..+bound, third channel 0; derived views in -1..1.
    """
    x = {  # (B, C, T, H, W) in 0..1; permuted as bytes, which is quick
        source: clips[source].permute(0, 4, 1, 2, 3).contiguous().float().div_(255) for source in sources_of(views)
    }
    if "rgb" in x and strong is not None and strong.any():
        chosen = _on(x["rgb"], strong.nonzero().flatten())
        x["rgb"][chosen] = (photometry or photometric)(x["rgb"][chosen], generator)
    derived = {view: VIEWS[view].derive(x[VIEWS[view].source]) for view in views if VIEWS[view].derive}
    return {view: derived[view] if view in derived else _normalised(x[view], view) for view in views}


def _on(x: Tensor, values: Tensor) -> Tensor:
    """Copy values to the device of `x` without waiting for it."""
    return values.to(x.device, non_blocking=True)


def _normalised(x: Tensor, view: str) -> Tensor:
    """Clips (B, C, T, H, W) float in 0..1 → the input of "rgb" or "flow"; `x` is overwritten."""
    if view == "flow":
        return F.pad(x.mul_(2).sub_(1), (0, 0, 0, 0, 0, 0, 0, 1))
    mean, std = (_on(x, torch.tensor(v)).view(3, 1, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return x.sub_(mean).div_(std)


def photometric(x: Tensor, generator: torch.Generator) -> Tensor:
    """Strong augmentation: colour jitter 0.4/0.4/0.4/0.1 (p 0.8), grey (p 0.2), Gaussian blur σ 0.1–2 (p 0.5).

    Each clip has its own draws, shared by all its frames. σ is in pixels of a 128-pixel crop.

    Args:
        x: (B, 3, T, H, W) float in 0..1.
        generator: CPU generator of the draws.

    Returns:
        The same shape, in 0..1.
    """
    draws = torch.rand(len(x), PHOTOMETRIC_DRAWS, generator=generator)
    jitter, grey, blur = draws[:, 0] < 0.8, draws[:, 1] < 0.2, draws[:, 2] < 0.5
    factor = 1 + 0.4 * (2 * draws[:, 3:6] - 1)  # brightness, contrast, saturation
    hue, sigma = 0.1 * (2 * draws[:, 6] - 1), 0.1 + 1.9 * draws[:, 7]
    for chosen, change, values in (
        (jitter, colour_jitter, torch.cat([factor, hue[:, None]], dim=1)),
        (grey, lambda part, _: luma(part).expand_as(part), draws),
        (blur, gaussian_blur, sigma * x.shape[-1] / 128),
    ):
        rows = _on(x, chosen.nonzero().flatten())
        if len(rows):
            x[rows] = change(x[rows], values[chosen])
    return x


def jitter(x: Tensor, generator: torch.Generator) -> Tensor:
    """Colour jitter 0.4/0.4/0.4/0.1 of every clip: fine-tuning in the released code. As :func:`photometric`."""
    draws = 2 * torch.rand(len(x), JITTER_DRAWS, generator=generator) - 1
    return colour_jitter(x, torch.cat([1 + 0.4 * draws[:, :3], 0.1 * draws[:, 3:]], dim=1))


def luma(x: Tensor) -> Tensor:
    """Brightness of RGB: (B, 3, ...) → (B, 1, ...), ITU-R 601 weights."""
    return (0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]).unsqueeze(1)


def colour_jitter(x: Tensor, factors: Tensor) -> Tensor:
    """Change brightness, contrast, saturation and hue, in this order.

    Args:
        x: (B, 3, T, H, W) float in 0..1.
        factors: (B, 4): factors of brightness, contrast and saturation (1 = none); hue shift in turns (0 = none).

    Returns:
        The same shape, in 0..1.
    """
    brightness, contrast, saturation, hue = (f.view(-1, 1, 1, 1, 1) for f in _on(x, factors).unbind(1))
    x = (x * brightness).clamp_(0, 1)
    mean = luma(x).mean(dim=(2, 3, 4), keepdim=True)
    x = x.sub_(mean).mul_(contrast).add_(mean).clamp_(0, 1)
    grey = luma(x)
    x = x.sub_(grey).mul_(saturation).add_(grey).clamp_(0, 1)
    return shift_hue(x, hue)


def shift_hue(x: Tensor, turns: Tensor) -> Tensor:
    """Rotate the hue: RGB → HSV, add `turns` to H, → RGB. x (B, 3, ...) in 0..1; turns broadcasts against x."""
    r, g, b = x.split(1, dim=1)
    value = x.amax(1, keepdim=True)
    chroma = value - x.amin(1, keepdim=True)
    safe = chroma.clamp(min=1e-8)
    sixths = torch.where(value == r, (g - b) / safe, torch.where(value == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    k = _on(x, torch.tensor([5.0, 3.0, 1.0])).view(1, 3, 1, 1, 1)  # the closed form of HSV → RGB
    k = (k + sixths).add_(6 * turns)
    k.sub_((k / 6).floor_().mul_(6))  # remainder_ takes four times as long
    return value - torch.minimum(k, 4 - k).clamp_(0, 1).mul_(chroma)


def gaussian_blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Blur each clip with its own Gaussian.

    Args:
        x: (B, C, T, H, W) float.
        sigma: (B,) float, in pixels; on the CPU, to avoid waiting for a GPU.

    Returns:
        The same shape; borders are reflected.
    """
    batch, _, _, height, width = x.shape
    radius = min(max(1, math.ceil(2 * float(sigma.max()))), height - 1, width - 1)
    steps, sigma = torch.arange(-radius, radius + 1, device=x.device), _on(x, sigma)
    kernel = torch.exp(-0.5 * (steps / sigma[:, None].clamp(min=1e-3)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).T[..., None, None, None]  # (2 radius + 1, B, 1, 1, 1)
    y = x.flatten(1, 2)
    for dim, edges in ((3, (radius, radius, 0, 0)), (2, (0, 0, radius, radius))):
        padded = F.pad(y, edges, mode="reflect")
        shifted = [padded.narrow(dim, start, x.shape[dim + 1]) for start in range(len(kernel))]
        y = shifted[0] * kernel[0]
        for part, weight in zip(shifted[1:], kernel[1:], strict=True):
            y.addcmul_(part, weight)
    return y.reshape(x.shape)
