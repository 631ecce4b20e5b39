"""Correctness and speed of video readers: single frames and clips, against a sequential decode.

    python bench/readers.py FOLDER

"ours" is the reader that `probe` chose; it is compared with decord and, if installed, torchcodec.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from cprlib.data import seeking
from cprlib.data.container import decode
from cprlib.data.files import find_videos
from cprlib.data.video import probe, read_clip
from cprlib.store.errors import one_line

CLIP, CLIPS, SINGLE = 16, 2, 8  # frames of a clip; clips and single frames per video


def readers(path: str, reader: str) -> dict[str, Callable]:
    """Name -> frame numbers -> (T, H, W, 3) uint8."""
    import decord

    found = {
        "ours": lambda indices: read_clip(path, indices, reader=reader).numpy(),
        "decord": lambda indices: decord.VideoReader(path, num_threads=1).get_batch(indices).asnumpy(),
    }
    try:
        from torchcodec.decoders import VideoDecoder

        options = dict(dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact")
        found["torchcodec"] = lambda indices: VideoDecoder(path, **options).get_frames_at(indices).data.numpy()
    except (ImportError, RuntimeError):
        pass
    return found


def measure(path: Path, draw: np.random.Generator, counts: Counter) -> None:
    """Add the results of one video to `counts`."""
    truth, kind = np.stack(list(decode(path))), path.suffix
    info = probe(path)
    counts[kind, "videos"] += 1
    counts[kind, info.reader] += 1
    clips = [list(range(s, s + CLIP)) for s in draw.integers(0, max(1, len(truth) - CLIP), CLIPS)]
    asked = [[i for i in clip if i < len(truth)] for clip in clips]
    asked += [[i] for i in draw.integers(0, len(truth), SINGLE).tolist()]
    for name, read in readers(str(path), info.reader).items():
        seeking._kept.clear()  # the first visit to a file
        for number, indices in enumerate(asked):
            start = time.perf_counter()
            try:
                frames = read(indices)
            except Exception:
                frames = None
            if number < CLIPS:
                counts[kind, name, "seconds", number] += time.perf_counter() - start
            right = frames is not None and frames.shape == truth[indices].shape
            wrong = (frames != truth[indices]).any((1, 2, 3)).sum() if right else len(indices)
            counts[kind, name, "wrong"] += int(wrong)
            counts[kind, name, "frames"] += len(indices)


@one_line()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="videos, at any depth")
    counts, draw = Counter(), np.random.default_rng(0)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for path in find_videos(parser.parse_args().folder):
        measure(path, draw, counts)
    for kind, name in sorted({key[:2] for key in counts if len(key) == 3}):
        videos = counts[kind, "videos"]
        first, again = (1000 * counts[kind, name, "seconds", n] / videos for n in range(CLIPS))
        wrong, frames = counts[kind, name, "wrong"], counts[kind, name, "frames"]
        print(f"| {kind} | {name} | {wrong} of {frames} | {first:.1f} ms | {again:.1f} ms |")
    print({" ".join(key): value for key, value in counts.items() if len(key) == 2})


if __name__ == "__main__":
    main()
