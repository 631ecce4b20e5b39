"""Features of whole videos: windows over the video, encoded in batches, averaged (section 3)."""

from collections.abc import Callable, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from cprlib.data.augmentation import CROPS, evaluation_crops, to_input
from cprlib.data.content import view_contents
from cprlib.data.manifest import Manifest
from cprlib.data.parallel import clip_loader
from cprlib.data.sampling import clip_indices, window_starts
from cprlib.evaluation.judged import check_judged
from cprlib.evaluation.kept import joined, keep, kept, part_file, shard_rows
from cprlib.evaluation.on_devices import on_devices
from cprlib.methods import VIEWS
from cprlib.store.checkpoints import load_checkpoint, load_encoder
from cprlib.store.files import resolve
from cprlib.store.fingerprint import Fingerprint, hash_weights
from cprlib.training import ranks
from cprlib.training.schedule import pick_device

AT_ONCE = 64  # frames of a video in memory before they are resized


class Windows(Dataset):
    """The test clips of a table of videos, as items (row of the table, uint8 (crops, T, size, size, C)).

    Args:
        frames: `.frames(video_id, view, frame_indices)` gives uint8 (T, H, W, C).
        videos: a row per video, e.g. `manifest.split("test")`.
        view: a name of :data:`cprlib.methods.VIEWS`.
        clip_len, stride, size: T, step between frames, side of the encoder's input in pixels.
        crops: see :func:`cprlib.data.augmentation.evaluation_crops`.
        middle: only the window in the middle of each video, for a quick look.
    """

    def __init__(
        self,
        frames: Any,
        videos: Manifest,
        view: str,
        clip_len: int,
        stride: int,
        size: int,
        crops: str = "centre",
        middle: bool = False,
    ):
        if not len(videos.table):
            raise ValueError("no videos to encode: the manifest's split is empty")
        self.frames, self.view, self.size, self.crops = frames, view, size, crops
        self.video_ids = [int(i) for i in videos.table["video_id"]]
        self.lengths = [int(n) for n in videos.table["num_frames"]]
        self.clip_len, self.stride = clip_len, stride
        self.windows = []
        for row, length in enumerate(self.lengths):
            starts = window_starts(length, clip_len, stride)
            self.windows += [(row, start) for start in (starts[len(starts) // 2 :][:1] if middle else starts)]

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[int, Tensor]]:
        """Several items; a frame shared by windows of a video is read and resized once."""
        items, source = [], VIEWS[self.view].source
        for row, group in groupby((self.windows[i] for i in indices), itemgetter(0)):
            clips = [clip_indices(self.lengths[row], start, self.clip_len, self.stride) for _, start in group]
            numbers, places = np.unique(clips, return_inverse=True)
            parts = (numbers[i : i + AT_ONCE].tolist() for i in range(0, len(numbers), AT_ONCE))
            frames = (self.frames.frames(self.video_ids[row], source, part) for part in parts)
            crops = torch.cat([evaluation_crops(part, self.size, source, self.crops) for part in frames], dim=1)
            items += [(row, crops[:, clip]) for clip in places.reshape(len(clips), -1)]
        return items


def mean_over_windows(
    function: Callable[[Tensor], Tensor],
    windows: Windows,
    batch_size: int = 16,
    device: str | torch.device = "cpu",
    workers: int = 0,
    rows: range | None = None,
) -> Tensor:
    """Mean of a function of clips over all windows and crops of each video.

    Clips are batched across videos, and one batch of clips is in memory at a time (with workers, each of them decodes
    one more batch ahead). No random numbers are drawn. Several processes (:mod:`cprlib.training.ranks`) share the
    videos, and each gets the result of all.

    Args:
        function: clips (B, 3, T, H, W) float → (B, F).
        windows: the clips.
        batch_size: clips at once, at least the crops of one window; does not affect the result.
        device: where the clips go.
        workers: processes that decode; 0 decodes in this one.
        rows: of the table, to compute; None: all. Batches are composed as for all rows, so that rounding is the same.

    Returns:
        float32 (N, F) on the CPU, one row per requested video, in the order of the table.

    Raises:
        ValueError: a result is not finite; names the video.
    """
    total, count = None, torch.zeros(len(windows.lengths), 1)
    rows = range(len(count)) if rows is None else rows
    batches = _batches(windows, max(1, batch_size // CROPS[windows.crops]), rows)
    ahead = {"prefetch_factor": 1} if workers else {}
    own = torch.Generator()  # else the loader draws from torch's global generator
    loader = clip_loader(windows, workers, batch_sampler=batches, generator=own, **ahead)
    with torch.no_grad():
        for videos, clips in loader:
            videos = videos.repeat_interleave(clips.shape[1])
            values = function(to_input(clips.flatten(0, 1).to(device, non_blocking=True), windows.view))
            values = values.float().cpu()  # sums on the CPU: index_add_ on a GPU adds in no fixed order
            if total is None:
                total = torch.zeros(len(count), values.shape[1])
            mine = videos % ranks.size() == ranks.rank()
            total.index_add_(0, videos[mine], values[mine])
            count.index_add_(0, videos[mine], torch.ones(int(mine.sum()), 1))
    mean = (ranks.summed(total) / ranks.summed(count))[rows.start : rows.stop]
    if not mean.isfinite().all():
        row = rows[int((~mean.isfinite()).any(dim=1).nonzero()[0])]
        raise ValueError(
            f"the {windows.view} features of video_id {windows.video_ids[row]} are not finite: "
            "the encoder's weights are broken, train it again or load another checkpoint"
        )
    return mean


def _batches(windows: Windows, size: int, rows: range) -> list[list[int]]:
    """The batches of this process that contain a requested video."""
    videos = [row for row, _ in windows.windows]
    own = [n for n, row in enumerate(videos) if row % ranks.size() == ranks.rank()]
    batches = [own[start : start + size] for start in range(0, len(own), size)]
    wanted = [batch for batch in batches if any(videos[n] in rows for n in batch)]
    return wanted or [[0]]  # a process without videos encodes one, to learn the feature length


def extract_features(
    encoder: nn.Module, windows: Windows, batch_size: int = 16, workers: int = 0, rows: range | None = None
) -> Tensor:
    """Mean backbone feature of each video's windows (section 3).

    Args:
        encoder: `.features` maps clips (B, 3, T, H, W) float to (B, F); runs on its own device, in evaluation mode.
        windows: the clips.
        batch_size, workers, rows: as in :func:`mean_over_windows`.

    Returns:
        float32 (N, F) on the CPU.
    """
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    was_training = encoder.training
    encoder.eval()
    try:
        return mean_over_windows(encoder.features, windows, batch_size, device, workers, rows)
    finally:
        encoder.train(was_training)


def clip_shape(training: str | Path, config: Mapping[str, Any]) -> tuple[int, int, int]:
    """(clip_len, clip_stride, clip_size) of a training, from its checkpoint's config; ValueError if it lacks them."""
    shape = tuple(config.get(name) for name in ("clip_len", "clip_stride", "clip_size"))
    if not all(isinstance(number, int) and number > 0 for number in shape):
        raise ValueError(f"{training}: its checkpoint does not say what clips it was trained with; train it again")
    return shape


def network_features(
    training: str | Path,
    manifest: Manifest,
    frames: Any,
    split: str,
    batch_size: int = 16,
    workers: int = 0,
    view: str | None = None,
    devices: int = 1,
    shard: tuple[int, int] = (0, 1),
) -> Tensor:
    """Features of a split by a trained network; cached in its folder and reused while their inputs are unchanged.

    Args:
        training: folder of :func:`cprlib.training.fit`; its configuration gives view, clip length, stride and size.
        manifest: all videos, those of the training or of another data set.
        frames: as in :class:`Windows`, at the size given by its `short_side`.
        split: "train" or "test".
        batch_size, workers: as in :func:`mean_over_windows`; view: for a network of several views; None: its first.
        devices: processes that share the videos, see :func:`cprlib.evaluation.on_devices.on_devices`.
        shard: (i, n): only the i-th of n parts (i = 0..n-1), for n jobs; a later call for all videos joins the parts.

    Returns:
        float32 (N, F), one row per video of the split, or of the shard.

    Raises:
        ValueError: the network was trained on test videos of this manifest, or on flow of another scale.
    """
    part, saved = manifest.split(split), load_checkpoint(training)
    view, shape = view or saved["config"]["view"], clip_shape(training, saved["config"])
    check_judged(training, manifest, view)
    made_from = Fingerprint(
        {
            "network": hash_weights(saved["encoder"]),
            "clips": {"view": view, "shape": shape, "short_side": getattr(frames, "short_side", None)},
            **view_contents(part, (VIEWS[view].source,)),
        }
    )
    path = resolve(training) / f"features_{split}_{made_from.hash[:12]}.pt"
    found, rows = kept(path, len(part), made_from.hash), shard_rows(len(part), shard)
    if (found := joined(path, len(part), made_from.hash) if found is None else found) is not None:
        return found[rows.start : rows.stop]
    if shard[1] > 1:
        path = part_file(path, shard)
        if (found := kept(path, len(rows), made_from.hash)) is not None:
            return found
    if devices > ranks.size():
        given = {"split": split, "batch_size": batch_size, "workers": workers, "view": view, "shard": shard}
        return on_devices("cprlib.evaluation.features:network_features", training, manifest, frames, devices, **given)
    encoder = load_encoder(training, view).to(pick_device("auto"))
    features = extract_features(encoder, Windows(frames, part, view, *shape), batch_size, workers, rows)
    if not ranks.rank():
        keep(path, features, made_from.hash)
    return features
