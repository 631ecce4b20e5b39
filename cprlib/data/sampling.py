"""Sampling clips from videos: which frames, which crop, and pairs of clips for contrastive learning."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset, Sampler

from cprlib.data.augmentation import draw_crop, resized_crop
from cprlib.methods import sources_of


def clip_indices(num_frames: int, start: int, clip_len: int, stride: int = 1) -> list[int]:
    """Frame numbers of a clip; a video that is too short is padded by repeating its first frame in front.

    Args:
        num_frames: frames of the video.
        start: first frame of the clip.
        clip_len: T, frames of the clip.
        stride: step between frames, 1 = full rate.

    Returns:
        `clip_len` indices, in order.

    >>> clip_indices(100, 10, 4, 2), clip_indices(3, 0, 5)
    ([10, 12, 14, 16], [0, 0, 0, 1, 2])
    """
    inside = range(start, num_frames, stride)[:clip_len]
    return [start] * (clip_len - len(inside)) + list(inside)


def window_starts(num_frames: int, clip_len: int, stride: int = 1, overlap: float = 0.5) -> list[int]:
    """First frames of the windows that cover a video, the last one flush with its end.

    Args:
        num_frames: frames of the video, at least 1.
        clip_len: frames of a window.
        stride: video frames from one frame of a window to the next.
        overlap: share of a window that the next one repeats, in [0, 1); 0.5 in the paper.

    Returns:
        increasing starts, in frames; [0] for a video no longer than one window.

    >>> window_starts(50, clip_len=16)
    [0, 8, 16, 24, 32, 34]
    """
    if num_frames < 1 or clip_len < 1 or stride < 1 or not 0 <= overlap < 1:
        raise ValueError(
            f"no windows for num_frames={num_frames}, clip_len={clip_len}, stride={stride}, "
            f"overlap={overlap}: the first three must be at least 1, overlap in [0, 1)"
        )
    last = num_frames - ((clip_len - 1) * stride + 1)
    if last <= 0:
        return [0]
    step = max(1, int(clip_len * stride * (1 - overlap)))
    return [*range(0, last, step), last]


def draw_start(num_frames: int, clip_len: int, stride: int, generator: torch.Generator) -> int:
    """Draw a first frame uniformly, such that the clip fits if it can."""
    last = max(0, num_frames - (clip_len - 1) * stride - 1)
    return int(torch.randint(last + 1, (), generator=generator))


def video_rows(table: pd.DataFrame, source_codes: np.ndarray) -> np.ndarray:
    """All that training reads of a manifest: video_id, recording, label and frames of each video, (N, 4) int64."""
    columns = (table.video_id, source_codes, table.label, table.num_frames)
    return np.stack([np.asarray(column, dtype=np.int64) for column in columns], axis=1)


class ClipPairs(Dataset):
    """Two augmented clips of one video: the query q and the key k.

    Half of the time two different clips, each strongly augmented with probability 0.3; else the same clip twice,
    one copy strong, one weak (CoCLR's implementation details). The views of a clip share their geometry; the two
    clips do not. Photometric changes come later, on the training device, where `strong` says so.

    An item depends on its key ``(row, seed)`` alone, so that any worker gives the same one.

    Args:
        table: rows of the manifest to draw from.
        source_codes: int of each row's recording.
        frames: has ``frames(video_id, view, frame_indices) -> (T, H, W, C) uint8``.
        query_views, key_views: views of the query and of the key; items hold frames of their sources.
        clip_len, stride, size: T, step between frames, and side of the square crop in pixels.
    """

    def __init__(self, table, source_codes, frames, query_views, key_views, clip_len: int, stride: int, size: int):
        self.frames, self.query_views, self.key_views = frames, sources_of(query_views), sources_of(key_views)
        self.clip_len, self.stride, self.size = clip_len, stride, size
        self.rows = video_rows(table, source_codes)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: tuple[int, int]) -> dict:
        row, seed = item
        video_id, source_id, label, num_frames = self.rows[row].tolist()
        g = torch.Generator().manual_seed(seed)
        q_start = k_start = draw_start(num_frames, self.clip_len, self.stride, g)
        if torch.rand((), generator=g) < 0.5:
            k_start = draw_start(num_frames, self.clip_len, self.stride, g)
            strong = torch.rand(2, generator=g) < 0.3
        else:
            strong = torch.tensor([True, False])[torch.randperm(2, generator=g)]
        return {
            **self._clips(video_id, num_frames, q_start, k_start, g),
            "strong_q": strong[0],
            "strong_k": strong[1],
            "video_id": video_id,
            "source_id": source_id,
            "label": label,
        }

    def _clips(self, video_id: int, num_frames: int, q_start: int, k_start: int, g: torch.Generator) -> dict:
        """ "q" and "k" -> view -> (T, size, size, C) uint8; all views of a clip cropped and flipped alike.

        The frames of both are read in one go, so that none is decoded twice.
        """
        views, clips = {"q": self.query_views, "k": self.key_views}, {"q": {}, "k": {}}
        starts, crops = {"q": q_start, "k": k_start}, {"q": draw_crop(g), "k": draw_crop(g)}
        for view in dict.fromkeys((*self.query_views, *self.key_views)):
            sides = [side for side in clips if view in views[side]]
            indices = [clip_indices(num_frames, starts[side], self.clip_len, self.stride) for side in sides]
            frames = self.frames.frames(video_id, view, sum(indices, []))
            for side, clip in zip(sides, frames.split(self.clip_len), strict=True):
                clips[side][view] = resized_crop(clip, crops[side], self.size, view)
        return clips


class EpochSampler(Sampler):
    """Batches of ``(row, seed)`` for one epoch, decided by (seed, epoch) alone: resuming needs no saved state.

    Args:
        num_rows: rows, each visited once; a rest smaller than a batch is left out (batch norm).
        batch_size: B.
        seed: of the run.
        epoch: set before each epoch.
    """

    def __init__(self, num_rows: int, batch_size: int, seed: int):
        if num_rows < 2:
            raise ValueError(f"{num_rows} training video; contrastive learning needs at least 2")
        self.num_rows, self.batch_size = num_rows, min(batch_size, num_rows)
        self.seed, self.epoch = seed, 0

    def __len__(self) -> int:
        return self.num_rows // self.batch_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        g = torch.Generator().manual_seed(step_seed(self.seed, self.epoch, 0))  # the same for all processes
        rows = torch.randperm(self.num_rows, generator=g).tolist()
        seeds = torch.randint(2**62, (self.num_rows,), generator=g).tolist()
        for batch in range(len(self)):
            part = slice(batch * self.batch_size, (batch + 1) * self.batch_size)
            yield list(zip(rows[part], seeds[part], strict=True))


def step_seed(*numbers: int) -> int:
    """One 64-bit seed from several numbers, e.g. (seed, epoch, step); different numbers give unrelated seeds."""
    return int(np.random.SeedSequence((len(numbers), *numbers)).generate_state(1, np.uint64)[0] >> np.uint64(1))
