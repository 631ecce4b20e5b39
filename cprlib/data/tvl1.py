"""TV-L1 optical flow of many pairs of frames at once, in torch: on a GPU, or to see how it works.

The duality-based method of Zach, Pock and Bischof (DAGM 2007) with the details and default settings of OpenCV's
DualTVL1OpticalFlow, which the paper's flow was made with: pyramid, warps, median filter, when to stop.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

TAU, LAMBDA, THETA = 0.25, 0.15, 0.3  # step of the dual update, weight of the data, coupling of u and v
SCALES, SCALE_STEP, WARPS = 5, 0.8, 5
OUTER, INNER, EPSILON = 10, 30, 0.01  # at most so many iterations, or until u moves less than EPSILON pixels (RMS)
MEDIAN = 5  # side of the median filter
SMALLEST = 16  # side in the pyramid, pixels
LOOK = 5  # iterations between checks whether all pairs have converged: a check stalls a GPU


@torch.no_grad()
def tvl1(previous: Tensor, following: Tensor) -> Tensor:
    """Flow of N pairs of frames of one size; each converges on its own, whatever the others do.

    Args:
        previous, following: (N, H, W) brightness in 0..255, uint8 or float, on any device.

    Returns:
        (N, 2, H, W) float32 on the same device: u to the right and v downwards, in pixels.
    """
    pyramid = [(previous[:, None].float(), following[:, None].float())]
    while len(pyramid) < SCALES:
        size = [round(SCALE_STEP * side) for side in pyramid[-1][0].shape[2:]]
        if min(size) < SMALLEST:
            break
        pyramid.append(tuple(resize(x, size, 1 / SCALE_STEP) for x in pyramid[-1]))
    u = torch.zeros_like(pyramid[-1][0]).repeat(1, 2, 1, 1)
    for frames in reversed(pyramid):
        if u.shape[2:] != frames[0].shape[2:]:
            u = resize(u, frames[0].shape[2:]) / SCALE_STEP
        u = one_scale(*frames, u)
    return u


def one_scale(previous: Tensor, following: Tensor, u: Tensor) -> Tensor:
    """Improve the flow of one level of the pyramid: (N, 1, H, W) twice and (N, 2, H, W) → (N, 2, H, W)."""
    padded = F.pad(following, (1, 1, 1, 1), mode="replicate")
    dx = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    dy = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    image = torch.cat([following, dx, dy], dim=1)
    p = u.new_zeros(*u.shape, 2)  # dual variables: of u and of v, each along x and along y
    rest = EPSILON**2 * u[0, 0].numel()
    for _ in range(WARPS):
        warped = warp(image, u)
        slope = warped[:, 1:]  # (N, 2, H, W)
        constant = warped[:, :1] - previous - (slope * u).sum(1, keepdim=True)
        steep = slope.square().sum(1, keepdim=True).clamp_min(torch.finfo(u.dtype).eps)
        moving = torch.ones_like(u[:, :1, :1, :1], dtype=torch.bool)  # pairs that have not converged
        for _ in range(OUTER):
            if not moving.any():
                break
            u = torch.where(moving, median(u), u)
            for inner in range(INNER):
                if inner % LOOK == LOOK - 1 and not moving.any():
                    break
                new, dual = iterate(u, p, slope, constant, steep)
                moved = (new - u).square().sum((1, 2, 3), keepdim=True)
                u, p = torch.where(moving, new, u), torch.where(moving[..., None], dual, p)
                moving = moving & (moved > rest)
    return u


def iterate(u: Tensor, p: Tensor, slope: Tensor, constant: Tensor, steep: Tensor) -> tuple[Tensor, Tensor]:
    """One step towards the brightness data (thresholding), one towards smoothness (dual variables)."""
    rho = constant + (slope * u).sum(1, keepdim=True)
    u = u + (-rho / steep).clamp(-LAMBDA * THETA, LAMBDA * THETA) * slope
    u = u + THETA * divergence(p)
    gradient = torch.stack([F.pad(u.diff(dim=3), (0, 1)), F.pad(u.diff(dim=2), (0, 0, 0, 1))], dim=-1)
    step = TAU / THETA
    return u, (p + step * gradient) / (1 + step * gradient.square().sum(-1, keepdim=True).sqrt())


def divergence(p: Tensor) -> Tensor:
    """(N, 2, H, W, 2) → (N, 2, H, W): backward differences, zero before the first."""
    x, y = p.unbind(-1)
    return F.pad(x, (1, 0)).diff(dim=3) + F.pad(y, (0, 0, 1, 0)).diff(dim=2)


def warp(image: Tensor, u: Tensor) -> Tensor:
    """Sample (N, C, H, W) where the flow leads: bicubic, zero outside."""
    height, width = u.shape[2:]
    x = torch.arange(width, device=u.device) + u[:, 0]
    y = torch.arange(height, device=u.device)[:, None] + u[:, 1]
    grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
    return F.grid_sample(image, grid, mode="bicubic", padding_mode="zeros", align_corners=True)


def resize(x: Tensor, size: list[int], step: float | None = None) -> Tensor:
    """Linear interpolation of (N, C, H, W) without smoothing; `step`: source pixels from one pixel to the next."""
    for dim, (before, after) in enumerate(zip(x.shape[2:], size, strict=True), 2):
        place = (torch.arange(after, device=x.device) + 0.5) * (step or before / after) - 0.5
        place = place.clamp(0, before - 1)
        low = place.long()
        weight = (place - low).view(-1, *[1] * (3 - dim))
        lower, upper = x.index_select(dim, low), x.index_select(dim, (low + 1).clamp(max=before - 1))
        x = lower + (upper - lower) * weight
    return x


def median(x: Tensor) -> Tensor:
    """Median of 5 × 5 pixels around each one of (N, C, H, W), edges repeated.

    Of half the pixels plus two, the smallest and the largest cannot be the median: drop both, add another pixel.
    """
    height, width = x.shape[2:]
    padded = F.pad(x, (MEDIAN // 2,) * 4, mode="replicate")
    rest = [padded[:, :, i : i + height, j : j + width] for i in range(MEDIAN) for j in range(MEDIAN)]
    some, rest = rest[: MEDIAN**2 // 2 + 2], rest[MEDIAN**2 // 2 + 2 :]
    while len(some) > 1:
        some = without_extremes(some) + rest[:1]
        rest = rest[1:]
    return some[0]


def without_extremes(some: list[Tensor]) -> list[Tensor]:
    """Drop the smallest and the largest at each place."""
    some, half = list(some), len(some) // 2
    for i in range(half):
        some[i], some[-1 - i] = torch.minimum(some[i], some[-1 - i]), torch.maximum(some[i], some[-1 - i])
    for i in range(1, len(some) - half):  # the smallest is among the first ones
        some[0], some[i] = torch.minimum(some[0], some[i]), torch.maximum(some[0], some[i])
    for i in range(half, len(some) - 1):  # the largest among the last ones
        some[-1], some[i] = torch.maximum(some[-1], some[i]), torch.minimum(some[-1], some[i])
    return some[1:-1]
