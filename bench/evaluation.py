"""Features of videos in batches across videos, against one window at a time; retrieval at Kinetics' size."""

import io
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize
from torchvision.transforms.v2 import functional as TF

from bench.pair import Pair
from bench.samples import JpegSamples, a_few_videos
from cprlib.data.augmentation import evaluation_crops, to_input
from cprlib.data.container import open_video
from cprlib.data.frames import VideoFrames
from cprlib.data.manifest import Manifest
from cprlib.data.parallel import keep_memory
from cprlib.data.sampling import clip_indices, window_starts
from cprlib.encoders import IMAGENET_MEAN, IMAGENET_STD, build_encoder
from cprlib.evaluation.features import Windows, extract_features
from cprlib.evaluation.retrieval import nearest_neighbours

FRAMES, SIZE, VIDEOS, LENGTH = 8, 40, 24, 60
QUERIES, GALLERY, WIDTH, NEAREST = 20_000, 240_000, 512, 50


class Noise:
    """Frames in memory, so that only the network's time counts."""

    def __init__(self):
        shape = VIDEOS, LENGTH, 48, 60, 3
        self.videos = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def frames(self, video_id: int, view: str, indices: list[int]) -> Tensor:
        return self.videos[video_id, indices]


def pairs(device: torch.device) -> Iterator[Pair]:
    """Features from video files, features of clips in memory, retrieval."""
    keep_memory()
    with TemporaryDirectory(prefix="cprlib-") as folder:
        yield _from_files(a_few_videos(Path(folder)), device)
    yield _features(device)
    yield _retrieval()


def _from_files(videos: Manifest, device: torch.device) -> Pair:
    """The reference reads JPEG frames and processes every window by itself, frame by frame."""
    stored, encoder = JpegSamples(videos), build_encoder("tiny", 64).to(device).eval()
    windows = Windows(VideoFrames(videos, ("rgb",)), videos, "rgb", FRAMES, 1, SIZE)

    def frame(data: bytes) -> Tensor:
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        picture = TF.center_crop(picture, min(picture.size)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        x = TF.to_dtype(TF.pil_to_tensor(picture), torch.float32, scale=True)
        return TF.normalize(x, IMAGENET_MEAN, IMAGENET_STD)

    @torch.no_grad()
    def one_by_one() -> Tensor:
        sums = torch.zeros(len(windows.lengths), 128)
        for row, start in windows.windows:
            numbers = clip_indices(windows.lengths[row], start, FRAMES)
            clip = torch.stack([frame(stored.stored[row, "rgb"][i]) for i in numbers], dim=1)
            sums[row] += encoder.features(clip[None].to(device))[0].cpu()
        return sums

    @torch.no_grad()
    def floor() -> Tensor:
        for path in videos.table.path:
            with open_video(path) as (container, stream):
                sum(1 for _ in container.decode(stream))
        clips = torch.zeros(len(windows), 3, FRAMES, SIZE, SIZE, device=device)
        return torch.cat([encoder.features(part) for part in clips.split(16)])

    def alike(a: Tensor, b: Tensor) -> str:
        cosine = float(cosine_similarity(a, b).min())
        assert cosine > 0.999, cosine
        return f"features differ by JPEG's losses, cosine {cosine:.4f} or more"

    name = f"features of {len(videos.table)} video files, {len(windows)} windows of {FRAMES} x {SIZE} x {SIZE}, tiny"
    items = len(videos.table), "videos"
    return Pair(name, one_by_one, lambda: extract_features(encoder, windows), alike, floor, items, 5, device)


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
    """A few of the queries, as all blocks take equally long; 256 queries make 250 MB of similarities."""
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
    assert share > 0.999  # rounding may swap nearly equal similarities
    return f"{share:.2%} same rows at the same rank"
