"""Optical flow: estimate it, extract it for a whole manifest, store it and read it back."""

import argparse
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from cprlib.data.container import VideoError, decode
from cprlib.data.estimators import Estimator, estimator
from cprlib.data.flow_file import (
    FlowInfo,
    dequantise,
    flow_info,
    quantise,
    read_flow,
    read_flow_levels,
    write_flow,
)
from cprlib.data.manifest import Manifest
from cprlib.data.parallel import check_done, check_shard, parallel_map, read_shard
from cprlib.data.video import fingerprint, resize
from cprlib.store.errors import one_line
from cprlib.store.files import link, locked, remove_leftovers, resolve

__all__ = [
    "FlowInfo",
    "dequantise",
    "estimate",
    "extract_flow",
    "flow_frames",
    "flow_info",
    "quantise",
    "read_flow",
    "read_flow_levels",
    "write_flow",
]
FEW, LONG = 1000, 60  # frames and seconds from which the duration is announced


def estimate(
    frames: torch.Tensor,
    method: str = "tvl1",
    device: str | None = None,
    short_side: int = 0,
    weights: str | Path | None = None,
) -> torch.Tensor:
    """Dense optical flow from each frame to the next.

    Args:
        frames: (T, H, W, 3) uint8 RGB, T >= 2.
        method: "tvl1" (the paper's, with OpenCV's default parameters), "dis" (100 x faster), "raft_small" or
            "raft_large" (torchvision's networks).
        device: None or "cpu": OpenCV's TV-L1 and DIS; a GPU, e.g. "cuda": the same TV-L1, many pairs of frames at once
            (:mod:`cprlib.data.tvl1`); RAFT runs on both.
        short_side: give flow in pixels of a picture with this short side, so that a motion has the same flow at any
            resolution: larger frames are made smaller before, the flow of smaller ones is multiplied after. 0: in
            pixels of the frames themselves.
        weights: of RAFT, see :func:`cprlib.data.estimators.estimator`.

    Returns:
        (T-1, 2, H, W) float32: u to the right and v downwards, in pixels per frame; H and W are those of the frames,
        the smaller at most `short_side`.

    Raises:
        ValueError: unknown method or device, or fewer than two frames.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) < 2 or frames.dtype != torch.uint8:
        raise ValueError(f"frames are {frames.dtype} {tuple(frames.shape)}; expected uint8 (T >= 2, H, W, 3)")
    return torch.from_numpy(np.stack([*flow_frames(frames.cpu().numpy(), method, short_side, device, weights)]))


def extract_flow(
    manifest: Manifest,
    folder: str | Path,
    method: str = "tvl1",
    bound: float = 20.0,
    workers: int | None = None,
    short_side: int = 0,
    device: str | None = None,
    weights: str | Path | None = None,
    shard: tuple[int, int] = (0, 1),
    others: Sequence[str | Path] = (),
) -> Manifest:
    """Estimate and store the flow of every video; files that are there and still fit are kept.

    A flow file is named after its settings and its video's content, not the video's name: so it is found again after a
    move, data sets with the same `folder` share it, and files that `others` have are linked.

    Args:
        manifest: the videos.
        folder: receives ``<method>-<bound>-<short_side>/<fingerprint of the video>.mp4``.
        method, short_side, device, weights: see `estimate`. The files of RAFT are named after its weights, too.
        bound: see `write_flow`.
        workers: processes; None = one per core. A few that share a GPU keep it busy while they decode and encode.
        shard: (i, n): only every n-th video, from the i-th on (i = 0..n-1), for n jobs that share the folder.
        others: flow folders of other data sets, which may hold the same videos under other names.

    Returns:
        The manifest with `flow_path` filled in.

    Raises:
        ValueError: unknown method, bound not positive or infinite, short_side negative, or videos in an LMDB.
        RuntimeError: some videos failed; raised after all others were done, naming them.
    """
    estimate_flow, (number, of) = estimator(method, device, weights), check_shard(shard)
    if not 0 < bound < float("inf"):
        raise ValueError(f"bound is {bound}; expected a positive number of pixels per frame")
    if short_side < 0:
        raise ValueError(f"short_side is {short_side}; expected a number of pixels, or 0")
    if (manifest.table.reader == "lmdb").any():
        raise ValueError("videos in an LMDB have their flow in another; give both to python -m data_prep.coclr_lmdb")
    manifest.check_files()
    name = method if weights is None else f"{method}-{fingerprint(weights)[:8]}"
    place = Path(os.path.abspath(folder)) / f"{name}-{float(bound)}-{short_side}"
    sources = [fingerprint(path) for path in manifest.table.path]
    table = manifest.table.assign(flow_path=[str(place / f"{source}.mp4") for source in sources])
    rows = zip(table.path, table.flow_path, table.num_frames, table.fps, sources, strict=True)
    jobs = list({row[1]: row for row in rows}.values())[number::of]  # copies of a video share their flow
    one = partial(_extract_one, name=name, bound=bound, short_side=short_side, setting=(method, device, weights))
    with locked(place.with_name(f"{place.name}-{number}of{of}")):  # else two runs that share it would both make it
        remove_leftovers(place)
        todo = [job for job in jobs if not _is_there(job, others, name, bound, short_side)]
        _forecast(todo, estimate_flow, short_side, workers)
        done = list(parallel_map(one, todo, workers, f"{method} flow"))
    check_done([f"{job[0]} ({error})" for job, error in done if isinstance(error, Exception)], len(jobs), "flow")
    return Manifest(table, manifest.whole)


Job = tuple[str, str, int, float, str]  # video, flow file, frames, frames per second, fingerprint of the video


def _is_done(job: Job, name: str, bound: float, short_side: int) -> bool:
    """Whether the flow file of a video is there and still fits."""
    _, flow_path, num_frames, _, source = job
    try:
        info = flow_info(flow_path)
    except (FileNotFoundError, VideoError):  # not a flow file: make it
        return False
    about = (info.method, info.bound, info.num_frames, info.source, info.short_side)
    return about == (name, bound, num_frames - 1, source, short_side)


def _is_there(job: Job, others: Sequence[str | Path], name: str, bound: float, short_side: int) -> bool:
    """Whether the flow of a video is there, or in another data set, from which it is then linked."""
    own = Path(job[1])
    for path in (own, *(Path(other) / own.parent.name / own.name for other in others)):
        if _is_done((job[0], str(path), *job[2:]), name, bound, short_side):
            if path != own:
                link(path, own)
            return True
    return False


def _extract_one(job: Job, name: str, bound: float, short_side: int, setting: tuple) -> None:
    """Write the flow of one video, with few frames in memory at a time."""
    path, flow_path, num_frames, fps, source = job
    flow = _flow_frames(decode(path), _kept_estimator(*setting), short_side)
    write_flow(flow_path, flow, name, bound, fps, source, short_side)
    if flow_info(flow_path).num_frames != num_frames - 1:
        raise VideoError(path, f"no longer has the {num_frames} frames of the manifest")


_kept_estimator = lru_cache(1)(estimator)  # a process loads a network once


def _forecast(jobs: Sequence[Job], estimate_flow: Estimator, short_side: int, workers: int | None) -> None:
    """Announce a long extraction: its time, by one pair of frames, and its size, by that of the videos."""
    frames = sum(job[2] for job in jobs)
    if frames < FEW:
        return
    start = time.monotonic()
    try:
        for _ in _flow_frames(islice(decode(jobs[0][0]), 2), estimate_flow, short_side):
            pass
    except (OSError, ValueError):  # a broken video is reported with all others
        return
    seconds = frames * (time.monotonic() - start) / min(workers or os.cpu_count() or 1, len(jobs))
    size = sum(os.path.getsize(job[0]) for job in jobs)
    if seconds > LONG:
        time_taken = f"{seconds / 3600:.1f} h" if seconds > 3600 else f"{seconds / 60:.0f} min"
        print(f"flow of {len(jobs)} videos: about {time_taken}, {size / 1e6:,.0f} MB", flush=True)


def flow_frames(
    frames: Iterable[np.ndarray],
    method: str,
    short_side: int,
    device: str | None = None,
    weights: str | Path | None = None,
) -> Iterator[np.ndarray]:
    """As `estimate`, frame by frame: (2, H, W) float32 for each pair of neighbouring (H, W, 3) uint8 frames."""
    return _flow_frames(frames, estimator(method, device, weights), short_side)


def _flow_frames(frames: Iterable[np.ndarray], estimate_flow: Estimator, short_side: int) -> Iterator[np.ndarray]:
    side = 0

    def sized() -> Iterator[np.ndarray]:
        nonlocal side
        for frame in frames:
            side = min(frame.shape[:2])
            yield resize(frame[None], short_side)[0] if 0 < short_side < side else frame

    for flow in estimate_flow(sized()):
        yield flow * np.float32(short_side / side) if short_side > side else flow


def main() -> None:
    """``python -m cprlib.data.flow MANIFEST FOLDER --device cuda --shard 0/8``: extract flow, or a part of it."""
    parser = argparse.ArgumentParser(prog="python -m cprlib.data.flow", description="Extract the flow of all videos.")
    parser.add_argument("manifest")
    parser.add_argument("folder", help="receives the flow files; notebook 01 finds them there")
    parser.add_argument("--method", default="tvl1")
    parser.add_argument("--bound", type=float, default=20.0, help="pixels per frame")
    parser.add_argument("--short-side", type=int, default=0, help="flow is in pixels of frames this size; 0: their own")
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument("--device", help="a GPU, e.g. cuda")
    parser.add_argument("--weights", help="of RAFT")
    parser.add_argument("--shard", default="0/1", help="i/n: only every n-th video, from the i-th on")
    parser.add_argument("--others", nargs="*", default=[], help="flow folders in which the same videos may be")
    args = parser.parse_args()
    with one_line():
        manifest, folder = Manifest.read(resolve(args.manifest)), resolve(args.folder)
        place = (args.short_side, args.device, args.weights, read_shard(args.shard), args.others)
        extract_flow(manifest, folder, args.method, args.bound, args.workers, *place)


if __name__ == "__main__":
    main()
