"""Features of whole videos: windows over the video, encoded in batches, averaged (section 3)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cprlib.checkpoints import load_checkpoint, load_encoder
from cprlib.data.augment import centre_crop, to_input
from cprlib.data.clips import clip_indices
from cprlib.data.manifest import Manifest
from cprlib.runs import atomic_path, resolve


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


class Windows(Dataset):
    """Every window of every video as (row of the table, uint8 clip (T, size, size, C))."""

    def __init__(self, frames: Any, manifest: Manifest, view: str, clip_len: int, stride: int, size: int):
        table = manifest.table
        self.frames, self.view, self.size = frames, view, size
        self.video_ids = [int(i) for i in table["video_id"]]
        self.lengths = [int(n) for n in table["num_frames"]]
        self.clip_len, self.stride = clip_len, stride
        self.windows = [
            (row, start) for row, length in enumerate(self.lengths) for start in window_starts(length, clip_len, stride)
        ]

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        row, start = self.windows[index]
        indices = clip_indices(self.lengths[row], start, self.clip_len, self.stride)
        clip = torch.as_tensor(self.frames.frames(self.video_ids[row], self.view, indices))
        return row, torch.as_tensor(centre_crop(clip, self.size))


def extract_features(
    encoder: nn.Module,
    frames: Any,
    manifest_subset: Manifest,
    view: str,
    clip_len: int,
    clip_stride: int,
    clip_size: int,
    batch_size: int = 16,
    device: str | torch.device | None = None,
    workers: int = 0,
) -> Tensor:
    """Mean backbone feature of each video's half-overlapping, centre-cropped windows (section 3).

    Windows are batched across videos, and one batch of clips is in memory at a time (with
    workers, each of them decodes one more batch ahead). No random numbers are drawn.

    Args:
        encoder: `.features` maps clips (B, 3, T, H, W) float to (B, F).
        frames: `.frames(video_id, view, frame_indices)` gives uint8 (T, H, W, C).
        manifest_subset: the videos, e.g. `manifest.split("test")`.
        view: "rgb" or "flow".
        clip_len: frames of a window.
        clip_stride: video frames from one frame of a window to the next.
        clip_size: side of the encoder's input, pixels.
        batch_size: windows encoded at once; without influence on the result.
        device: where to encode; None means where the encoder is.
        workers: processes that decode; 0 decodes in this one.

    Returns:
        float32 (N, F) on the CPU, a row for each row of the manifest, in its order.

    Raises:
        ValueError: no videos, or features that are not finite.
    """
    if not len(manifest_subset.table):
        raise ValueError("no videos to extract features from: the manifest's split is empty")
    windows = Windows(frames, manifest_subset, view, clip_len, clip_stride, clip_size)
    device = torch.device(device) if device is not None else _device_of(encoder)
    was_training = encoder.training
    encoder.to(device).eval()
    try:
        return _mean_by_row(encoder, _loader(windows, batch_size, workers), view, device)
    finally:
        encoder.train(was_training)


def _device_of(module: nn.Module) -> torch.device:
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def _loader(windows: Windows, batch_size: int, workers: int) -> DataLoader:
    return DataLoader(
        windows,
        batch_size,
        num_workers=workers,
        prefetch_factor=1 if workers else None,
        generator=torch.Generator(),  # else the loader draws from torch's global generator
    )


@torch.no_grad()
def _mean_by_row(encoder: nn.Module, batches: DataLoader, view: str, device: torch.device) -> Tensor:
    lengths: Sequence[int] = batches.dataset.lengths
    total, count = None, torch.zeros(len(lengths), 1)
    for rows, clips in batches:
        # sums on the CPU: index_add_ on a GPU adds in no fixed order
        features = encoder.features(to_input(clips.to(device), view)).float().cpu()
        if total is None:
            total = torch.zeros(len(lengths), features.shape[1])
        total.index_add_(0, rows, features)
        count.index_add_(0, rows, torch.ones(len(rows), 1))
    mean = total / count
    if not mean.isfinite().all():
        row = int((~mean.isfinite()).any(dim=1).nonzero()[0])
        raise ValueError(
            f"the {view} features of video_id {batches.dataset.video_ids[row]} are not finite: "
            "the encoder's weights are broken, train it again or load another checkpoint"
        )
    return mean


def network_features(
    run_folder: str | Path, manifest: Manifest, frames: Any, split: str, batch_size: int = 16, workers: int = 0
) -> Tensor:
    """Features of a split by the network of a run; kept in its folder and read from there the next time.

    Args:
        run_folder: of :func:`cprlib.pretrain.fit`; its configuration gives view, clip length, stride and size.
        manifest: all videos.
        frames: as in :func:`extract_features`.
        split: "train" or "test".
        batch_size, workers: as in :func:`extract_features`.

    Returns:
        float32 (N, F), a row for each video of the split.
    """
    config, part = load_checkpoint(run_folder)["config"], manifest.split(split)
    path = resolve(run_folder) / f"features_{split}.pt"
    if path.exists():
        saved = torch.load(path, weights_only=True)
        if saved["paths"] == part.table.path.tolist():
            return saved["features"]
    encoder = load_encoder(run_folder).to("cuda" if torch.cuda.is_available() else "cpu")
    shape = config["clip_len"], config["clip_stride"], config["clip_size"]
    features = extract_features(encoder, frames, part, config["view"], *shape, batch_size, workers=workers)
    with atomic_path(path) as tmp:
        torch.save({"paths": part.table.path.tolist(), "features": features}, tmp)
    return features
