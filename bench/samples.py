"""Training samples from video files, against frames stored as JPEG and transformed one by one with PIL.

A sample is two clips of a video in RGB and flow, 32 frames of 128 x 128 each, fully augmented, as network input.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import ColorJitter
from torchvision.transforms.v2 import functional as TF

from bench.pair import Pair
from cprlib.data.augmentation import draw_crop, to_inputs
from cprlib.data.files import find_videos
from cprlib.data.flow import extract_flow
from cprlib.data.frames import VideoFrames, open_frames
from cprlib.data.manifest import Manifest
from cprlib.data.parallel import keep_memory
from cprlib.data.sampling import ClipPairs, clip_indices, draw_start
from cprlib.data.seeking import frame_index, pictures_at
from cprlib.data.video import probe
from cprlib.encoders import IMAGENET_MEAN, IMAGENET_STD
from cprlib.store.files import resolve
from data_prep import toy_actions

VIEWS, LENGTH, SIZE, VIDEOS, LONGEST = {"rgb": 3, "flow": 2}, 32, 128, 4, 200


def a_few_videos(folder: Path) -> Manifest:
    """Real videos of 320 x 240 if available, else built-in ones; with flow."""
    place = resolve("${CPR_DATA:-../shared}/videos/ucf101-original")
    if not place.is_dir():
        return extract_flow(toy_actions.build(folder, recordings=2, takes=1, workers=1), folder / "flow", "dis", 20.0)
    found = ((path, probe(path)) for path in sorted(find_videos(place))[::7])
    some = [(str(path), info) for path, info in found if LENGTH < info.num_frames < LONGEST][:VIDEOS]
    rows = [{"path": path, "source_id": path, **info._asdict()} for path, info in some]
    table = pd.DataFrame(rows).assign(label=0, class_name="c", split="train", flow_path="", video_id=range(len(rows)))
    return extract_flow(Manifest(table).validate(), folder / "flow", "dis", 20.0, workers=1)


class JpegSamples:
    """The reference; draws the same clips and crops as :class:`cprlib.data.sampling.ClipPairs`."""

    def __init__(self, manifest: Manifest):
        frames, self.lengths, self.stored = VideoFrames(manifest, VIEWS), manifest.table.num_frames.tolist(), {}
        for video, length in enumerate(self.lengths):
            for view in VIEWS:
                pictures = frames.frames(video, view, range(length)).numpy()
                self.stored[video, view] = [self._jpeg(picture) for picture in pictures]

    @staticmethod
    def _jpeg(picture: np.ndarray) -> bytes:
        if picture.shape[2] == 2:
            picture = np.concatenate([picture, np.full_like(picture[:, :, :1], 128)], axis=2)
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "jpeg", quality=95)
        return file.getvalue()

    def __getitem__(self, item: tuple[int, int]) -> dict:
        video, seed = item
        g, length = torch.Generator().manual_seed(seed), self.lengths[video]
        starts = [draw_start(length, LENGTH, 1, g)] * 2
        if torch.rand((), generator=g) < 0.5:
            starts[1] = draw_start(length, LENGTH, 1, g)
            strong = torch.rand(2, generator=g) < 0.3
        else:
            strong = torch.tensor([True, False])[torch.randperm(2, generator=g)]
        crops = [draw_crop(g), draw_crop(g)]
        sides = zip(starts, crops, strong.tolist(), strict=True)
        clips = [{view: self._clip(video, view, *side) for view in VIEWS} for side in sides]
        return {"clips": clips, "strong": strong}

    def _clip(self, video: int, view: str, start: int, crop, strong: bool) -> Tensor:
        change = None
        if strong and view == "rgb":
            draw = np.random.default_rng(start)
            jitter = ColorJitter(0.4, 0.4, 0.4, 0.1) if draw.random() < 0.8 else None
            change = jitter, draw.random() < 0.2, draw.uniform(0.1, 2) if draw.random() < 0.5 else None
        indices = clip_indices(self.lengths[video], start, LENGTH)
        frames = [self._frame(self.stored[video, view][i], view, crop, change) for i in indices]
        return torch.stack(frames, dim=1)

    @staticmethod
    def _frame(data: bytes, view: str, crop, change) -> Tensor:
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        width, height = picture.size
        h = min(height, round((crop.area * height * width / crop.aspect) ** 0.5))
        w = min(width, round((crop.area * height * width * crop.aspect) ** 0.5))
        top, left = round(crop.y * (height - h)), round(crop.x * (width - w))
        picture = picture.crop((left, top, left + w, top + h)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        if crop.flip:
            picture = ImageOps.mirror(picture)
        if change:
            jitter, grey, sigma = change
            picture = jitter(picture) if jitter else picture
            picture = ImageOps.grayscale(picture).convert("RGB") if grey else picture
            picture = picture.filter(ImageFilter.GaussianBlur(sigma)) if sigma else picture
        x = TF.to_dtype(TF.pil_to_tensor(picture), torch.float32, scale=True)
        if view == "rgb":
            return TF.normalize(x, IMAGENET_MEAN, IMAGENET_STD)
        x = 2 * x - 1
        return torch.stack([-x[0] if crop.flip else x[0], x[1], torch.zeros_like(x[0])])


def inputs(pairs: ClipPairs, item: tuple[int, int]) -> dict:
    """Ours: a sample as network input; training makes the photometric changes per batch, on the device."""
    sample = pairs[item]
    strong = torch.stack([sample["strong_q"], sample["strong_k"]])
    batch = {view: torch.stack([sample[side][view] for side in "qk"]) for view in VIEWS}
    x = to_inputs(batch, VIEWS, strong, torch.Generator().manual_seed(item[1]))
    return {"clips": [{view: x[view][n] for view in VIEWS} for n in range(2)], "strong": strong}


class Decoding(VideoFrames):
    """The floor: frames are decoded, and nothing else."""

    def frames(self, video_id: int, view: str, frame_indices: Sequence[int]) -> Tensor:
        path = self.files[video_id][0 if view == "rgb" else 1]
        index = frame_index(path)
        for _ in pictures_at(path, sorted({min(i, len(index.stamps) - 1) for i in frame_indices}), index):
            pass
        return torch.zeros(len(frame_indices), 1, 1, VIEWS[view], dtype=torch.uint8)


def pairs(device: torch.device) -> Iterator[Pair]:
    """From the video files, and from a frame cache of the papers' short side."""
    with TemporaryDirectory(prefix="cprlib-") as folder:
        manifest = a_few_videos(Path(folder))
        reference, rows = JpegSamples(manifest), len(manifest.table)
        keep_memory()

        def samples(frames: Any, change: Callable, size: int = SIZE) -> Callable[[], list[dict]]:
            made = ClipPairs(manifest.table, manifest.source_codes, frames, VIEWS, VIEWS, LENGTH, 1, size)
            return _some(lambda item: change(made, item), rows)

        cached = open_frames(manifest, VIEWS, SIZE, Path(folder) / "cache")
        decoded = samples(Decoding(manifest, VIEWS), ClipPairs.__getitem__, 1)
        for name, frames, floor in (
            ("from video files", VideoFrames(manifest, VIEWS), decoded),
            ("from a frame cache of short side 128", cached, None),
        ):
            sides = _some(reference.__getitem__, rows), samples(frames, inputs)
            yield Pair(f"{rows} samples {name}", *sides, _alike, floor, (rows, "samples"))


def _some(function: Callable[[tuple[int, int]], dict], rows: int) -> Callable[[], list[dict]]:
    """A function that makes one sample per video, new ones at each call."""
    numbers = count()

    def call() -> list[dict]:
        seed = next(numbers)
        return [function((row, seed)) for row in range(rows)]

    return call


def _alike(a: list[dict], b: list[dict]) -> str:
    """Clips without photometric changes are equal up to the losses of JPEG and resizing."""
    errors = []
    for one, other in zip(a, b, strict=True):
        assert torch.equal(one["strong"], other["strong"])
        for n in range(2):
            views = VIEWS if not one["strong"][n] else ("flow",)
            errors += [float((one["clips"][n][view] - other["clips"][n][view]).abs().mean()) for view in views]
    assert max(errors) < 0.3, errors  # a cache of smaller frames is blurred where the crop is small
    return f"weak clips and flow differ by {max(errors):.3f} on average at most, in standard deviations"
