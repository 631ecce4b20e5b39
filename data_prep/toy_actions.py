"""Built-in data: small moving scenes in which no single view tells the class.

A class is a motion (slide, bounce, spin, pulse) times a look (object and scene). Flow sees the motion and hardly the
look, RGB the look more easily than the motion: the built-in version of "cricket and baseball swings look alike in
flow". Takes of one recording share scene, colours and object (siblings, like g01_c01, g01_c02 … of UCF101) and differ
in speed, size, place and camera drift. Every video comes from (seed, class, recording, take) alone, so the data are
the same on every run.

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
from cprlib.data.frames import build_cache
from cprlib.data.manifest import Manifest
from cprlib.data.parallel import parallel_map
from cprlib.data.video import VideoInfo, probe, write_video
from cprlib.store.files import resolve
from data_prep.remembered import Remembered, beside

MOTIONS = ("slide", "bounce", "spin", "pulse")
LOOKS = ("ball_on_waves", "tile_on_clouds", "star_on_checks")
WIDTH, HEIGHT, FPS = 80, 60, 25.0


def soft(distance: np.ndarray, width: float) -> np.ndarray:
    """1 inside (distance < 0), 0 outside, with an edge `width` wide, so that nothing flickers when it moves."""
    return 1 / (1 + np.exp(np.clip(distance / width, -30, 30)))


def scene(look: str, y: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness 0..1 of the background at (y, x), in pixels: waves, clouds or checks."""
    angle, phase, period = rng.uniform(-0.4, 0.4), rng.uniform(0, 6.28, 2), rng.uniform(12, 18)
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    if look == "ball_on_waves":
        return 0.5 + 0.5 * np.sin(6.28 * u / period + phase[0] + 1.5 * np.sin(6.28 * v / 40 + phase[1]))
    if look == "star_on_checks":
        return 0.5 + 0.5 * np.tanh(4 * np.sin(6.28 * u / period + phase[0]) * np.sin(6.28 * v / period + phase[1]))
    waves = rng.normal(0, 0.16, (6, 2))  # clouds: a few waves of random direction
    return 0.5 + 0.18 * sum(
        np.sin(fy * y + fx * x + p) for (fy, fx), p in zip(waves, rng.uniform(0, 6.28, 6), strict=True)
    )


def thing(look: str, y: np.ndarray, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and brightness (each 0..1) of the object in its own coordinates, radius 1."""
    radius, angle = np.hypot(y, x), np.arctan2(y, x)
    dots = rng.uniform(2.2, 3.0)
    if look == "ball_on_waves":
        return soft(radius - 1, 0.05), 0.5 + 0.5 * np.tanh(3 * np.sin(dots * x) * np.sin(dots * y))
    if look == "tile_on_clouds":
        return soft(np.maximum(abs(x) / 1.1, abs(y) / 0.65) - 1, 0.05), 0.5 + 0.5 * np.tanh(3 * np.sin(2 * dots * x))
    return soft(radius - 0.72 - 0.33 * np.cos(5 * angle), 0.05), 0.5 + 0.5 * np.tanh(
        3 * np.sin(2 * dots * radius + angle)
    )


def trajectory(motion: str, t: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Offset y and x in pixels, turn in radians and size factor of the object over time t (frames)."""
    rate, phase, still = 6.28 / rng.uniform(14, 22), rng.uniform(0, 6.28), np.zeros_like(t)
    swing, turn = np.sin(rate * t + phase), rng.uniform(0, 6.28)
    if motion == "slide":
        return still, rng.uniform(9, 14) * swing, still + turn, still + 1
    if motion == "bounce":
        return rng.uniform(8, 12) * (1 - 2 * abs(swing)), still, still + turn, still + 1
    if motion == "spin":
        return still, still, turn + rng.choice([-1, 1]) * rng.uniform(0.16, 0.3) * t, still + 1
    return still, still, still + turn, 1 + rng.uniform(0.3, 0.4) * swing


def render(motion: str, look: str, seed: int, number: int, recording: int, take: int) -> torch.Tensor:
    """Draw one video.

    Args:
        motion, look: the class.
        seed, number, recording, take: what the draws depend on; `number` is that of the class.

    Returns:
        (T, H, W, 3) uint8, T 32..44.
    """
    shared = np.random.default_rng([seed, number, recording])  # scene, colours and object of the recording
    own = np.random.default_rng([seed, number, recording, 1 + take])
    t = np.arange(own.integers(32, 45))[:, None, None].astype(float)
    drift = own.normal(0, 0.12, 2)[:, None, None, None] * t  # the camera moves a little
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    dy, dx, turn, size = trajectory(motion, t, own)
    centre_y, centre_x = HEIGHT / 2 + own.uniform(-7, 7), WIDTH / 2 + own.uniform(-12, 12)
    scale = size * own.uniform(10, 15)
    background = scene(look, y - drift[0], x - drift[1], shared)  # (T, H, W)
    oy, ox = y - drift[0] - centre_y - dy, x - drift[1] - centre_x - dx
    local_y, local_x = (np.cos(turn) * oy - np.sin(turn) * ox) / scale, (np.cos(turn) * ox + np.sin(turn) * oy) / scale
    cover, brightness = thing(look, local_y, local_x, shared)
    # Muted colours: if colour alone told the recordings apart, a network would never learn the patterns.
    grey = shared.uniform((0.05, 0.6, 0.05, 0.6), (0.35, 0.95, 0.35, 0.95))[:, None]
    colours = (grey + shared.uniform(-0.08, 0.08, (4, 3))).clip(0, 1)
    picture = _tint(background, colours[0], colours[1])
    picture += cover[..., None] * (_tint(brightness, colours[2], colours[3]) - picture)
    picture = picture * own.uniform(0.85, 1.1) + own.normal(0, 0.02, picture.shape)
    return torch.from_numpy((picture.clip(0, 1) * 255).round().astype(np.uint8))


def _tint(brightness: np.ndarray, dark: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Brightness (…) → colour (…, 3) between two colours."""
    return dark + brightness[..., None] * (light - dark)


def build(folder: Path, recordings: int = 20, takes: int = 2, seed: int = 0, workers: int = 2) -> Manifest:
    """Render all videos that are missing, damaged or of another seed, and describe them.

    Args:
        folder: receives ``videos/<class>/<video>.mp4``.
        recordings: per class; the last quarter of them is for testing.
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
    classes = list(itertools.product(MOTIONS, LOOKS))
    jobs = list(itertools.product(range(len(classes)), range(recordings), range(takes)))
    memory = Remembered(beside(Path(folder) / "videos.csv"))
    done = {job: _known(folder, seed, job, memory) for job in jobs}
    new = [job for job in jobs if done[job] is None]
    for job, row in parallel_map(partial(_one, folder, seed), new, workers, "toy actions"):
        done[job] = row
        if not isinstance(row, Exception):
            info = VideoInfo(*(row[name] for name in VideoInfo._fields))
            memory.put(row["path"], memory.state([row["path"]]), (info, str(seed)))
    memory.save()
    failed = [error for error in done.values() if isinstance(error, Exception)]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(jobs)} videos could not be rendered: {failed[0]}") from failed[0]
    table = pd.DataFrame([done[job] for job in jobs])
    table["split"] = np.where(table.pop("recording") < recordings - recordings // 4, "train", "test")
    table["video_id"], table["flow_path"] = range(len(table)), ""
    return Manifest(table).validate()


def build_all(folder: Path, recordings: int = 20, short_side: int = 60) -> Manifest:
    """The videos with their flow (DIS) and the cache of all frames, in one call; what is there is kept.

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
    """What the manifest says of a video before it is looked into."""
    number, recording, take = job
    class_name = "_".join(list(itertools.product(MOTIONS, LOOKS))[number])
    source_id = f"{class_name}_g{recording + 1:02}"
    path = Path(folder) / "videos" / class_name / f"{source_id}_c{take + 1:02}.mp4"
    return {
        "path": str(path),
        "label": number,
        "class_name": class_name,
        "source_id": source_id,
        "recording": recording,
    }


def _known(folder: Path, seed: int, job: tuple[int, int, int], memory: Remembered) -> dict | None:
    """The row of a video of this seed that has not changed since it was made."""
    row = _row(folder, job)
    found = memory.get(row["path"], [row["path"]])
    return {**row, **found[0]._asdict()} if isinstance(found, tuple) and found[1] == str(seed) else None


def _one(folder: Path, seed: int, job: tuple[int, int, int]) -> dict:
    """Render one video unless that of this seed is there; its row of the manifest."""
    row = _row(folder, job)
    try:
        if made_with_seed(row["path"]) == seed:
            return {**row, **probe(row["path"])._asdict()}
    except (OSError, VideoError):
        pass  # missing or damaged
    number, recording, take = job
    frames = render(*list(itertools.product(MOTIONS, LOOKS))[number], seed, number, recording, take)
    write_video(row["path"], frames, fps=FPS, about={"seed": seed} if seed else {})
    return {**row, **probe(row["path"])._asdict()}


def made_with_seed(path: str | Path) -> int | None:
    """The seed of a video, which its comment tells, 0 if it does not; None for a video that is not ours."""
    try:
        with open_video(path) as (container, _):
            about = json.loads(container.metadata.get("comment", "{}"))
    except (av.FFmpegError, json.JSONDecodeError):
        return None
    return about.get("seed", 0) if about.get("cprlib") == "rgb" else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="receives videos/ and videos.csv")
    parser.add_argument("--recordings", type=int, default=20, help="per class, a quarter for testing (default 20)")
    parser.add_argument("--takes", type=int, default=2, help="videos per recording (default 2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    folder = resolve(args.folder)
    manifest = build(folder, args.recordings, takes=args.takes, seed=args.seed, workers=args.workers)
    manifest.write(folder / "videos.csv")
    print(f"{len(manifest)} videos of {len(MOTIONS) * len(LOOKS)} classes: {folder / 'videos.csv'}")


if __name__ == "__main__":
    main()
