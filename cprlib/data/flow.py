"""Optical flow: estimate it, extract it for a whole manifest, store it and read it back."""

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
from cprlib.data.video import fingerprint

__all__ = [
    "FlowInfo",
    "dequantise",
    "estimate",
    "extract_flow",
    "flow_info",
    "quantise",
    "read_flow",
    "read_flow_levels",
    "write_flow",
]
METHODS = ("tvl1", "dis")


def estimate(frames: torch.Tensor, method: str = "tvl1", device: str | None = None) -> torch.Tensor:
    """Dense optical flow from each frame to the next.

    Args:
        frames: (T, H, W, 3) uint8 RGB, T >= 2.
        method: "tvl1" (the paper's, with OpenCV's default parameters) or "dis" (100 x faster).
        device: "cpu" or None.

    Returns:
        (T-1, 2, H, W) float32: u to the right and v downwards, in pixels per frame.

    Raises:
        ValueError: unknown method or device, or fewer than two frames.
    """
    if device not in (None, "cpu"):
        raise ValueError(f"device is {device!r}; flow is estimated on the 'cpu'")
    if frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) < 2 or frames.dtype != torch.uint8:
        raise ValueError(f"frames are {frames.dtype} {tuple(frames.shape)}; expected uint8 (T >= 2, H, W, 3)")
    return torch.from_numpy(np.stack([*_flow_frames(frames.cpu().numpy(), method)]))


def extract_flow(
    manifest: Manifest,
    folder: str | Path,
    method: str = "tvl1",
    bound: float = 20.0,
    workers: int | None = None,
) -> Manifest:
    """Estimate and store the flow of every video; what is already there and still fits is kept.

    Args:
        manifest: the videos.
        folder: receives ``<class>/<video>.mp4``.
        method, bound: see `estimate` and `write_flow`.
        workers: processes; None = one per core.

    Returns:
        The manifest with `flow_path` filled in.

    Raises:
        ValueError: unknown method, bound not positive, or videos in an LMDB.
        RuntimeError: some videos failed; raised after all others were done, naming them.
    """
    _matcher(method)
    if not bound > 0:
        raise ValueError(f"bound is {bound}; expected a positive number of pixels per frame")
    if (manifest.table.reader == "lmdb").any():
        raise ValueError("videos in an LMDB have their flow in another; give both to python -m data_prep.coclr_lmdb")
    manifest.check_files()
    table = manifest.table.assign(flow_path=_flow_paths(manifest.table, Path(folder)))
    jobs = list(zip(table.path, table.flow_path, table.num_frames, table.fps, strict=True))
    one = partial(_extract_one, method=method, bound=bound)
    done = parallel_map(one, jobs, workers, f"{method} flow")
    failed = [f"{job[0]} ({error})" for job, error in done if isinstance(error, Exception)]
    if failed:
        raise RuntimeError(
            f"no flow for {len(failed)} of {len(jobs)} videos, the others are done: "
            f"{'; '.join(sorted(failed)[:5])}; repair these or make the manifest again, then rerun"
        )
    return Manifest(table, manifest.whole)


def _flow_paths(table, folder: Path) -> list[str]:
    """A file per video; two videos of one name in one class are told apart by their number."""
    names = table.class_name + "/" + table.path.map(lambda path: Path(path).stem)
    number = table.groupby(names).cumcount()
    names = names + number.map(lambda n: f"_{n + 1}" if n else "")
    return [str(folder.resolve() / f"{name}.mp4") for name in names]


def _extract_one(job: tuple[str, str, int, float], method: str, bound: float) -> None:
    """Flow of one video to its file, one frame in memory at a time, unless the file is there."""
    path, flow_path, num_frames, fps = job
    source = fingerprint(path)
    if Path(flow_path).is_file():
        try:
            info = flow_info(flow_path)
            about = (info.method, info.bound, info.num_frames, info.source)
            if about == (method, bound, num_frames - 1, source):
                return
        except VideoError:
            pass  # not a flow file: made anew
    write_flow(flow_path, _flow_frames(decode(path), method), method, bound, fps, source)
    if flow_info(flow_path).num_frames != num_frames - 1:
        raise VideoError(path, f"no longer has the {num_frames} frames of the manifest")


def _flow_frames(frames: Iterable[np.ndarray], method: str) -> Iterator[np.ndarray]:
    """(2, H, W) float32 for each pair of neighbouring (H, W, 3) frames."""
    matcher, previous = _matcher(method), None
    for frame in frames:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if previous is not None:
            yield matcher.calc(previous, grey, None).transpose(2, 0, 1)
        previous = grey


def _matcher(method: str):
    """OpenCV's estimator."""
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}")
    if method == "tvl1":
        return cv2.optflow.DualTVL1OpticalFlow_create()
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
