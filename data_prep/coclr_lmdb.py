"""UCF101 as CoCLR published it: a manifest from its LMDBs of frames and the official split files.

    python -m data_prep.coclr_lmdb RGB_LMDB FLOW_LMDB SPLITS OUT_MANIFEST --split 1

The LMDBs are those of ucf101_rgb_lmdb.tar and ucf101_flow_lmdb.tar, unpacked; "-" as FLOW_LMDB means none. Nothing is
converted: frames are read from the LMDBs, which must stay where they are. SPLITS as for data_prep.ucf101. Videos that
cannot be read are left out and listed. The LMDBs hold no frame rate; the manifest gets UCF101's, 25.
"""

import argparse
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cprlib.data.container import VideoError
from cprlib.data.lmdb_frames import lmdb_file, lmdb_names, read_jpegs, read_lmdb
from cprlib.data.manifest import Manifest
from cprlib.data.video import VideoInfo
from cprlib.store.files import resolve
from data_prep.common import Entry, describe, match, run
from data_prep.ucf101 import read_lists

FPS = 25.0
SPREAD = 8  # levels; JPEG noise in flow's constant channel stays far below


def build(
    rgb: str | Path,
    flow: str | Path | None,
    splits: str | Path,
    split: int = 1,
    workers: int | None = None,
    memory: Path | None = None,
) -> tuple[Manifest, pd.DataFrame]:
    """Describe the videos of one official split.

    Args:
        rgb: LMDB of frames.
        flow: LMDB of TV-L1 flow, or None.
        splits: folder of the official lists.
        split: 1, 2 or 3.
        workers: processes; None = one per core.
        memory: file that keeps what was found in each video, so that it is inspected only once.

    Returns:
        The manifest, and the problems (columns path, reason). A video whose flow is too short is cut to its flow.

    Raises:
        FileNotFoundError: no such LMDB, or no list for this split.
        ValueError: an LMDB is truncated or has another layout, or the lists belong to other videos.
    """
    folder = resolve(splits)
    classes, listed = read_lists(folder, split)
    entries, problems = match(_videos(rgb), listed, folder)
    if flow is not None:
        flows = {path.stem.lower(): str(path) for path in _videos(flow)}
        entries = [replace(entry, flow_path=flows.get(entry.path.stem.lower(), "")) for entry in entries]
        reason = f"has no flow in {resolve(flow)}"
        problems += [{"path": str(entry.path), "reason": reason} for entry in entries if not entry.flow_path]
        entries = [entry for entry in entries if entry.flow_path]
    return describe(entries, classes, workers, problems, look=_look, memory=memory, files=_files)


def _files(entry: Entry) -> list[Path]:
    """The LMDBs that a video is read from."""
    return [lmdb_file(Path(path).parents[1]) for path in (entry.path, entry.flow_path) if str(path)]


def _videos(folder: str | Path) -> list[Path]:
    """``<LMDB>/<Class>/<video>`` of all videos in an LMDB."""
    folder = resolve(folder)
    return [folder / name for name in lmdb_names(folder)]


def _look(entry: Entry, min_frames: int) -> tuple[VideoInfo, str]:
    """What the manifest says of a video in an LMDB, and a hash of its record."""
    count, (height, width), content = _ends(str(entry.path), "rgb")
    if entry.flow_path:
        try:
            count = min(count, _ends(entry.flow_path, "flow")[0] + 1)
        except VideoError as error:
            raise VideoError(entry.path, f"flow: {error.reason}") from error
    if count < min_frames:
        raise VideoError(entry.path, f"too short ({count} frames)")
    return VideoInfo(count, width, height, FPS, "lmdb"), content


def _ends(path: str, view: str) -> tuple[int, tuple[int, int], str]:
    """Frames, size and hash of a record, of which the first and the last frame are decoded."""
    jpegs = read_jpegs(path)
    if not jpegs:
        raise VideoError(path, "too short (0 frames)")
    for number, jpeg in enumerate(jpegs):
        if jpeg[:2] != b"\xff\xd8":
            raise VideoError(path, f"broken JPEG (frame {number})")
    ends = read_lmdb(path, "rgb", [0, len(jpegs) - 1])
    if view == "flow" and np.ptp(np.percentile(ends[..., 0], (25, 75))) > SPREAD:
        raise VideoError(path, "red channel is not constant; are the RGB and the flow LMDB swapped?")
    return len(jpegs), ends.shape[1:3], hashlib.sha1(b"".join(jpegs)).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rgb", help="LMDB of frames")
    parser.add_argument("flow", help="LMDB of flow, or - for none")
    parser.add_argument("splits", help="folder of the official lists")
    parser.add_argument("--split", type=int, choices=(1, 2, 3), default=1)
    run(parser, lambda a: build(a.rgb, None if a.flow == "-" else a.flow, a.splits, a.split, a.workers, a.memory))


if __name__ == "__main__":
    main()
