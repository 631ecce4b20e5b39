"""Built-in data: things that move in front of scenes, in which no single view easily gives the class.

A class is a motion and a look (what moves): there are six of each, and 18 of the 36 pairs are classes, so that every
motion has three looks and every look three motions. Flow sees the motion first, RGB the thing and the scene behind it:
the built-in version of "cricket and baseball swings look alike in flow". What hides the class in one view is bridged by
the other: a thing is filmed in front of several scenes, which it shares with others; a motion is done in three ways;
and the camera moves. Takes of one recording share scene, pattern, brightness and way of moving (siblings, like g01_c01,
g01_c02 … of UCF101) and differ in speed, size, place and camera. Every video depends only on (seed, class, recording,
take), so the data are the same on every run. How they were chosen: docs/built-in-data.md.

    python -m data_prep.toy_actions outputs/data/toy
"""

import argparse
import itertools
import json
from functools import partial
from pathlib import Path

import av
import numpy as np
import pandas as pd
import torch

from cprlib.data.container import VideoError, open_video
from cprlib.data.flow import extract_flow
from cprlib.data.frame_cache import build_cache
from cprlib.data.manifest import Manifest
from cprlib.data.parallel import parallel_map
from cprlib.data.video import VideoInfo, probe, write_video
from cprlib.store.errors import one_line
from cprlib.store.files import check_place, resolve
from data_prep.remembered import Remembered, beside
from data_prep.toy_shapes import scene, thing, trajectory

MOTIONS = ("slide", "bounce", "spin", "pulse", "circle", "diagonal")
LOOKS = ("ball", "bar", "corner", "pole", "pair", "cross")
SCENES = ("waves", "clouds", "checks", "stripes", "ripples", "bricks")
CLASSES = tuple((motion, LOOKS[(n + step) % 6]) for n, motion in enumerate(MOTIONS) for step in (0, 1, 3))
SCENES_EACH = 3  # thing n is filmed in front of scenes n, n + 1 and n + 2
WIDTH, HEIGHT, FPS = 80, 60, 25.0
DRAWING = 2  # version of the drawings; a new one redraws all videos
SIZE = (12, 15)  # radius of the thing, pixels
CAMERA = 0.15  # spread of the camera's speed, pixels per frame
SHADES = ((0.28, 0.34), (0.51, 0.57), (0.05, 0.15), (0.85, 0.95))  # scene dark and light, thing dark and light


def render(number: int, recording: int, take: int, seed: int = 0) -> torch.Tensor:
    """Draw one video.

    Args:
        number: of the class.
        recording, take, seed: what random draws depend on, besides the class.

    Returns:
        (T, H, W, 3) uint8, T 32..40.
    """
    motion, look = CLASSES[number]
    shared = np.random.default_rng([seed, number, recording])  # what the takes of a recording share
    own = np.random.default_rng([seed, number, recording, 1 + take])
    t = np.arange(own.integers(32, 41))[:, None, None].astype(float)
    drift = own.normal(0, CAMERA, 2)[:, None, None, None] * t
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    dy, dx, turn, size = trajectory(motion, t, shared.integers(3), own)
    centre_y, centre_x = HEIGHT / 2 + own.uniform(-5, 5), WIDTH / 2 + own.uniform(-10, 10)
    scale = size * own.uniform(*SIZE)
    behind = SCENES[(LOOKS.index(look) + shared.integers(SCENES_EACH)) % len(SCENES)]
    background = scene(behind, y - drift[0], x - drift[1], shared)  # (T, H, W)
    oy, ox = y - drift[0] - centre_y - dy, x - drift[1] - centre_x - dx
    local_y, local_x = (np.cos(turn) * oy - np.sin(turn) * ox) / scale, (np.cos(turn) * ox + np.sin(turn) * oy) / scale
    cover, brightness = thing(look, local_y, local_x, shared)
    # All recordings in nearly the same greys: if colour told them apart, a network would learn nothing else.
    colours = shared.uniform(*np.transpose(SHADES))[:, None] + shared.uniform(-0.03, 0.03, (4, 3))
    picture = _tint(background, colours[0], colours[1])
    picture += cover[..., None] * (_tint(brightness, colours[2], colours[3]) - picture)
    picture = picture * own.uniform(0.9, 1.05) + own.normal(0, 0.02, picture.shape)
    return torch.from_numpy((picture.clip(0, 1) * 255).round().astype(np.uint8))


def _tint(brightness: np.ndarray, dark: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Brightness (…) → colour (…, 3) between two colours."""
    return dark + brightness[..., None] * (light - dark)


def build(folder: Path, recordings: int = 16, takes: int = 2, seed: int = 0, workers: int = 2) -> Manifest:
    """Render all videos that are missing, damaged or of another seed, and describe them.

    Args:
        folder: receives ``videos/<class>/<video>.mp4``.
        recordings: per class; the last three eighths are for testing.
        takes: videos per recording.
        seed: of all draws.
        workers: processes.

    Returns:
        The manifest, without flow.

    Raises:
        ValueError: too few recordings for a test split.
    """
    if recordings < 4 or takes < 1:
        raise ValueError(f"recordings is {recordings}, takes {takes}; at least 4 recordings and 1 take are needed")
    check_place(Path(folder) / "videos.csv")
    jobs = list(itertools.product(range(len(CLASSES)), range(recordings), range(takes)))
    memory = Remembered(beside(Path(folder) / "videos.csv"))
    done = {job: _known(folder, seed, job, memory) for job in jobs}
    new = [job for job in jobs if done[job] is None]
    for job, row in parallel_map(partial(_one, folder, seed), new, workers, "toy actions"):
        done[job] = row
        if not isinstance(row, Exception):
            info = VideoInfo(*(row[name] for name in VideoInfo._fields))
            memory.put(row["path"], memory.state([row["path"]]), (info, f"{seed}/{DRAWING}"))
    memory.save()
    failed = [error for error in done.values() if isinstance(error, Exception)]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(jobs)} videos could not be rendered: {failed[0]}") from failed[0]
    table = pd.DataFrame([done[job] for job in jobs])
    table["split"] = np.where(table.pop("recording") < recordings - recordings * 3 // 8, "train", "test")
    table["video_id"], table["flow_path"] = range(len(table)), ""
    return Manifest(table).validate()


def build_all(folder: Path, recordings: int = 16, short_side: int = 60) -> Manifest:
    """Make videos, flow (DIS) and the cache of all frames in one call; what exists is kept.

    Args:
        folder: receives ``videos/``, ``flow/``, ``cache/`` and ``manifest.csv``.
        recordings: as for :func:`build`.
        short_side: of the cached frames, in pixels.
    """
    manifest = extract_flow(build(folder, recordings), folder / "flow", "dis", 8.0)
    manifest.write(folder / "manifest.csv")
    build_cache(manifest, folder / "cache", ["rgb", "flow"], short_side)
    return manifest


def _row(folder: Path, job: tuple[int, int, int]) -> dict:
    """What the manifest says of a video before it is inspected."""
    number, recording, take = job
    class_name = "_".join(CLASSES[number])
    source_id = f"{class_name}_g{recording + 1:02}"
    path = Path(folder) / "videos" / class_name / f"{source_id}_c{take + 1:02}.mp4"
    names = {"label": number, "class_name": class_name, "source_id": source_id, "recording": recording}
    return {"path": str(path), **names}


def _known(folder: Path, seed: int, job: tuple[int, int, int], memory: Remembered) -> dict | None:
    """The row of a video of this seed that has not changed since it was made."""
    row = _row(folder, job)
    found = memory.get(row["path"], [row["path"]])
    return {**row, **found[0]._asdict()} if isinstance(found, tuple) and found[1] == f"{seed}/{DRAWING}" else None


def _one(folder: Path, seed: int, job: tuple[int, int, int]) -> dict:
    """Render one video unless it is there with this seed; return its row of the manifest."""
    row = _row(folder, job)
    try:
        if made_with_seed(row["path"]) == seed:
            return {**row, **probe(row["path"])._asdict()}
    except (OSError, VideoError):
        pass  # missing or damaged
    number, recording, take = job
    frames = render(number, recording, take, seed)
    write_video(row["path"], frames, fps=FPS, about={"seed": seed, "drawing": DRAWING})
    return {**row, **probe(row["path"])._asdict()}


def made_with_seed(path: str | Path) -> int | None:
    """The seed in a video's comment; None if the video is not ours or of another drawing version."""
    try:
        with open_video(path) as (container, _):
            about = json.loads(container.metadata.get("comment", "{}"))
    except (av.FFmpegError, json.JSONDecodeError):
        return None
    return about.get("seed") if about.get("drawing") == DRAWING else None


@one_line()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="receives videos/ and videos.csv")
    parser.add_argument("--recordings", type=int, default=16, help="per class, 3 of 8 for testing (default 16)")
    parser.add_argument("--takes", type=int, default=2, help="videos per recording (default 2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    folder = resolve(args.folder)
    manifest = build(folder, args.recordings, takes=args.takes, seed=args.seed, workers=args.workers)
    manifest.write(folder / "videos.csv")
    print(f"{len(manifest)} videos of {len(CLASSES)} classes: {folder / 'videos.csv'}")


if __name__ == "__main__":
    main()
