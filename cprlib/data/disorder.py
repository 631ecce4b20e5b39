"""Destroy the order in time of clips, for the intra-negatives of IIC; the frames themselves stay as they are."""

import torch
from torch import Tensor

SEGMENTS = 4  # of a clip, to be shuffled


def repeat_frame(clips: Tensor, generator: torch.Generator, parts: int = 1, own: int = 0) -> Tensor:
    """Replace all frames of each clip by one of them, drawn at random.

    Args:
        clips: (B, C, T, H, W).
        generator: CPU generator of the draws.
        parts, own: the clips are part `own` of `parts` equal parts of a batch; draws are as for the whole batch.

    Returns:
        The same shape; nothing moves.
    """
    batch, _, frames = clips.shape[:3]
    drawn = torch.randint(frames, (parts * batch,), generator=generator)[own * batch :][:batch]
    return _in_order(clips, drawn[:, None].expand(batch, frames))


def shuffle_segments(clips: Tensor, generator: torch.Generator, parts: int = 1, own: int = 0) -> Tensor:
    """Shuffle the segments of each clip, into any order but the right one.

    Args:
        clips: (B, C, T, H, W), T >= 2; cut into :data:`SEGMENTS` segments of nearly equal length, at most T.
        generator: CPU generator of the draws.
        parts, own: see :func:`repeat_frame`.

    Returns:
        The same shape.

    Raises:
        ValueError: clips of one frame.
    """
    batch, _, frames = clips.shape[:3]
    if frames < 2:
        raise ValueError("intra: clips of one frame have no order to shuffle; use intra: repeat, or a larger clip_len")
    segments = torch.arange(frames).tensor_split(min(SEGMENTS, frames))
    orders = []
    for _ in range(parts * batch):
        order = torch.arange(len(segments))
        while torch.equal(order, torch.arange(len(segments))):
            order = torch.randperm(len(segments), generator=generator)
        orders.append(torch.cat([segments[i] for i in order.tolist()]))
    return _in_order(clips, torch.stack(orders[own * batch :][:batch]))


def _in_order(clips: Tensor, frames: Tensor) -> Tensor:
    """The frames (B, T) int64 of each clip."""
    index = frames.to(clips.device, non_blocking=True)[:, None, :, None, None].expand_as(clips)
    return clips.gather(2, index)


DISORDERS = {"repeat": repeat_frame, "shuffle": shuffle_segments}
