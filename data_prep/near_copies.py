"""Find test videos that show nearly the same pictures as a training video: they make any network look good."""

import cv2
import numpy as np

from cprlib.data.manifest import Manifest
from cprlib.data.parallel import parallel_map
from cprlib.data.video import read_clip

SIZE = (16, 12)  # width and height at which pictures are compared, in pixels
LEAST = 0.95  # mean correlation of three pictures


def near_copies(manifest: Manifest, workers: int | None = None, least: float = LEAST) -> list[dict]:
    """Compare three pictures of each test video with those of all training videos.

    Args:
        manifest: videos with their split.
        workers: processes; None = one per core.
        least: mean correlation, in [-1, 1], from which two videos count as near copies.

    Returns:
        A remark (path, reason) for each test video that has a near copy.
    """
    table = manifest.table[manifest.table.split != "unused"].reset_index(drop=True)
    jobs = list(table[["path", "num_frames", "reader"]].itertuples(index=False, name=None))
    seen = {job[0]: found for job, found in parallel_map(signature, jobs, workers, "comparing pictures")}
    table = table[[not isinstance(seen[path], Exception) for path in table.path]]
    train, test = table[table.split == "train"], table[table.split == "test"]
    if train.empty or test.empty:
        return []
    known, remarks = np.stack([seen[path] for path in train.path]), []
    for path in test.path:
        likeness = known @ seen[path]
        best = int(likeness.argmax())
        if likeness[best] >= least:
            remarks.append(
                {"path": path, "reason": f"looks like a training video ({train.path.iloc[best]}, {likeness[best]:.2f})"}
            )
    return remarks


def signature(job: tuple[str, int, str]) -> np.ndarray:
    """First, middle and last picture of a video in grey and small, float32 of length 1; dot products are correlations.

    Args:
        job: path, frames and reader, as in a manifest.
    """
    path, count, reader = job
    pictures = read_clip(path, [0, count // 2, count - 1], reader=reader).numpy()
    small = [cv2.resize(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), SIZE, interpolation=cv2.INTER_AREA) for p in pictures]
    x = np.stack(small).reshape(3, -1).astype(np.float32)
    x -= x.mean(axis=1, keepdims=True)
    return (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1) / np.sqrt(3)).ravel()
