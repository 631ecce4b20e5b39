"""Optical flow: estimate it, extract it for a whole manifest, store it and read it back."""

import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from cprlib.data.container import VideoError, decode
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
from cprlib.data.parallel import parallel_map
from cprlib.data.video import fingerprint, resize

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
METHODS = ("tvl1", "dis")


def estimate(
    frames: torch.Tensor, method: str = "tvl1", device: str | None = None, short_side: int = 0
) -> torch.Tensor:
    """Dense optical flow from each frame to the next.

    Args:
        frames: (T, H, W, 3) uint8 RGB, T >= 2.
        method: "tvl1" (the paper's, with OpenCV's default parameters) or "dis" (100 x faster).
        device: "cpu" or None.
        short_side: count in the pixels of a picture this high or wide, whichever is the smaller, so that a motion has
            the same flow whatever the resolution: larger frames are made smaller before, the flow of smaller ones is
            multiplied after. 0: in pixels of the frames as they are.

    Returns:
        (T-1, 2, H, W) float32: u to the right and v downwards, in pixels per frame; H and W are those of the frames,
        at most `short_side` the smaller.

    Raises:
        ValueError: unknown method or device, or fewer than two frames.
    """
    if device not in (None, "cpu"):
        raise ValueError(f"device is {device!r}; flow is estimated on the 'cpu'")
    if frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) < 2 or frames.dtype != torch.uint8:
        raise ValueError(f"frames are {frames.dtype} {tuple(frames.shape)}; expected uint8 (T >= 2, H, W, 3)")
    return torch.from_numpy(np.stack([*flow_frames(frames.cpu().numpy(), method, short_side)]))


def extract_flow(
    manifest: Manifest,
    folder: str | Path,
    method: str = "tvl1",
    bound: float = 20.0,
    workers: int | None = None,
    short_side: int = 0,
) -> Manifest:
    """Estimate and store the flow of every video; what is already there and still fits is kept.

    A file is named after the content of its video and the settings that decide its own, whatever the video is called:
    it is found again after a move, and data sets that give the same folder share it.

    Args:
        manifest: the videos.
        folder: receives ``<method>-<bound>-<short_side>/<fingerprint of the video>.mp4``.
        method, short_side: see `estimate`.
        bound: see `write_flow`.
        workers: processes; None = one per core.

    Returns:
        The manifest with `flow_path` filled in.

    Raises:
        ValueError: unknown method, bound not positive, short_side negative, or videos in an LMDB.
        RuntimeError: some videos failed; raised after all others were done, naming them.
    """
    _matcher(method)
    if not bound > 0:
        raise ValueError(f"bound is {bound}; expected a positive number of pixels per frame")
    if short_side < 0:
        raise ValueError(f"short_side is {short_side}; expected a number of pixels, or 0")
    if (manifest.table.reader == "lmdb").any():
        raise ValueError("videos in an LMDB have their flow in another; give both to python -m data_prep.coclr_lmdb")
    manifest.check_files()
    place = Path(os.path.abspath(folder)) / f"{method}-{float(bound)}-{short_side}"
    sources = [fingerprint(path) for path in manifest.table.path]
    table = manifest.table.assign(flow_path=[str(place / f"{source}.mp4") for source in sources])
    rows = zip(table.path, table.flow_path, table.num_frames, table.fps, sources, strict=True)
    jobs = list({row[1]: row for row in rows}.values())  # copies of a video share their flow
    one = partial(_extract_one, method=method, bound=bound, short_side=short_side)
    done = parallel_map(one, jobs, workers, f"{method} flow")
    failed = [f"{job[0]} ({error})" for job, error in done if isinstance(error, Exception)]
    if failed:
        raise RuntimeError(
            f"no flow for {len(failed)} of {len(jobs)} videos, the others are done: "
            f"{'; '.join(sorted(failed)[:5])}; repair these or make the manifest again, then rerun"
        )
    return Manifest(table, manifest.whole)


def _extract_one(job: tuple[str, str, int, float, str], method: str, bound: float, short_side: int) -> None:
    """Flow of one video to its file, one frame in memory at a time, unless the file is there."""
    path, flow_path, num_frames, fps, source = job
    if Path(flow_path).is_file():
        try:
            info = flow_info(flow_path)
            about = (info.method, info.bound, info.num_frames, info.source, info.short_side)
            if about == (method, bound, num_frames - 1, source, short_side):
                return
        except VideoError:
            pass  # not a flow file: made anew
    write_flow(flow_path, flow_frames(decode(path), method, short_side), method, bound, fps, source, short_side)
    if flow_info(flow_path).num_frames != num_frames - 1:
        raise VideoError(path, f"no longer has the {num_frames} frames of the manifest")


def flow_frames(frames: Iterable[np.ndarray], method: str, short_side: int) -> Iterator[np.ndarray]:
    """As `estimate`, frame by frame: (2, H, W) float32 for each pair of neighbouring (H, W, 3) uint8 frames."""
    matcher, previous = _matcher(method), None
    for frame in frames:
        side = min(frame.shape[:2])
        if 0 < short_side < side:
            frame = resize(frame[None], short_side)[0]
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if previous is not None:
            flow = matcher.calc(previous, grey, None).transpose(2, 0, 1)
            yield flow * np.float32(short_side / side) if short_side > side else flow
        previous = grey


def _matcher(method: str):
    """OpenCV's estimator."""
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}")
    if method == "tvl1":
        return cv2.optflow.DualTVL1OpticalFlow_create()
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
