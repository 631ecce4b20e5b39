"""Features of videos, windows of several in one batch, against one window at a time; retrieval of Kinetics' size."""

from collections.abc import Iterator

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import normalize

from bench.pair import Pair
from cprlib.data.augmentation import evaluation_crops, to_input
from cprlib.data.manifest import Manifest
from cprlib.data.sampling import clip_indices
from cprlib.encoders import build_encoder
from cprlib.evaluation.features import Windows, extract_features, window_starts
from cprlib.evaluation.retrieval import nearest_neighbours

FRAMES, SIZE, VIDEOS, LENGTH = 8, 40, 24, 60
QUERIES, GALLERY, WIDTH, NEAREST = 20_000, 240_000, 512, 50


class Noise:
    """Frames that are at hand: the network's time alone counts."""

    def __init__(self):
        shape = VIDEOS, LENGTH, 48, 60, 3
        self.videos = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def frames(self, video_id: int, view: str, indices: list[int]) -> Tensor:
        return self.videos[video_id, indices]


def pairs(device: torch.device) -> Iterator[Pair]:
    """Both."""
    yield _features(device)
    yield _retrieval()


def _features(device: torch.device) -> Pair:
    frames, encoder = Noise(), build_encoder("tiny", 64).to(device).eval()
    videos = Manifest(pd.DataFrame({"video_id": range(VIDEOS), "num_frames": LENGTH}))
    windows = Windows(frames, videos, "rgb", FRAMES, 1, SIZE)

    @torch.no_grad()
    def one_by_one() -> Tensor:
        means = []
        for video in range(VIDEOS):
            found = []
            for start in window_starts(LENGTH, FRAMES):
                clip = frames.frames(video, "rgb", clip_indices(LENGTH, start, FRAMES))
                crop = evaluation_crops(clip, SIZE, "rgb")
                found.append(encoder.features(to_input(crop.to(device), "rgb")).cpu())
            means.append(torch.cat(found).mean(dim=0))
        return torch.stack(means)

    name = f"features of {VIDEOS} videos, {len(windows)} windows of {FRAMES} x {SIZE} x {SIZE}, tiny"
    return Pair(
        name, one_by_one, lambda: extract_features(encoder, windows), _close, None, (VIDEOS, "videos"), 5, device
    )


def _retrieval() -> Pair:
    """A few of the queries, as a block takes as long as any other; 256 of them make 250 MB of similarities."""
    part = 64
    g = torch.Generator().manual_seed(0)
    query, gallery = (normalize(torch.randn(n, WIDTH, generator=g), dim=1) for n in (part, GALLERY))

    def one_by_one() -> Tensor:
        return torch.stack([(gallery @ q).topk(NEAREST).indices for q in query])

    def floor() -> Tensor:
        return torch.cat([block @ gallery.T for block in query.split(64)])[:, 0]

    name = f"{part} of {QUERIES} queries, {NEAREST} nearest of {GALLERY} x {WIDTH} features"

    def ours() -> Tensor:
        return nearest_neighbours(query, gallery, NEAREST)[0]

    return Pair(name, one_by_one, ours, _same_rows, floor, (part, "queries"), 2)


def _close(a: Tensor, b: Tensor) -> str:
    error = float((a - b).abs().max() / a.abs().max())
    assert error < 1e-4
    return f"features differ by {error:.1e} of the largest"


def _same_rows(a: Tensor, b: Tensor) -> str:
    share = float((a == b).float().mean())
    assert share > 0.999  # similarities that differ by rounding may change places
    return f"{share:.2%} same rows at the same rank"
