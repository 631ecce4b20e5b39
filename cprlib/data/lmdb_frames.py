"""Frames straight from the LMDBs that CoCLR published: one record per video, a list of JPEGs.

Key ``%09d`` holds a msgpack list of JPEG files; ``__order__`` lists the names ``Class/video``, and the position of a
name is its key. msgpack 0.6, which wrote them, did not tell bytes from text; ``raw=True`` reads old and new. Flow was
written by OpenCV, whose first channel is blue: blue is u, green is v, red is constant 128; the levels are those of
`cprlib.data.flow_file.quantise` with bound 20.

Here a video is called ``<LMDB>/<Class>/<video>``. Each process opens an LMDB when it first reads from it.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import lmdb
import msgpack
import numpy as np

from cprlib.data.container import VideoError, stored_numbers

FLOW_BOUND = 20.0  # pixels per frame
AGAIN = "download it again, or make it whole with mdb_copy -c"
CHANNELS = {"rgb": [2, 1, 0], "flow": [0, 1]}  # of a picture that OpenCV reads: blue, green, red
_opened: dict[str, tuple[int, lmdb.Environment, dict[str, int]]] = {}  # LMDB -> process, environment, name -> key


def read_lmdb(path: str | Path, view: str, frame_indices: Sequence[int]) -> np.ndarray:
    """Read some frames of a video; only these are decoded.

    Args:
        path: ``<LMDB>/<Class>/<video>``, of the LMDB that holds the view.
        view: "rgb", or "flow" for levels of u and v.
        frame_indices: T frame numbers, in any order, repeats allowed; the last frame of a video has no flow of its own
            and gets that of the frame before.

    Returns:
        (T, H, W, C) uint8, C = 3 for rgb, 2 for flow.

    Raises:
        FileNotFoundError: no such LMDB.
        IndexError: a frame number outside the video.
        VideoError: the LMDB, the record or a JPEG in it is missing, truncated or broken.
    """
    jpegs = read_jpegs(path)
    indices, places = np.unique(stored_numbers(path, frame_indices, len(jpegs), view), return_inverse=True)
    frames = [_decode(path, index, jpegs[index]) for index in indices.tolist()]
    if any(frame.shape != frames[0].shape for frame in frames):
        raise VideoError(path, "frame size changes")
    return np.stack(frames)[places][..., CHANNELS[view]]


def read_jpegs(path: str | Path) -> list[bytes]:
    """The record of a video: its frames as JPEG files.

    Raises:
        FileNotFoundError, VideoError: as for `read_lmdb`.
    """
    environment, keys = open_lmdb(Path(path).parents[1])
    key = keys.get("/".join(Path(path).parts[-2:]))
    try:
        with environment.begin(buffers=True) as transaction:
            record = None if key is None else transaction.get(b"%09d" % key)
            jpegs = None if record is None else msgpack.unpackb(record, raw=True)
    except (lmdb.Error, ValueError) as error:  # what msgpack raises is a ValueError
        raise VideoError(path, f"truncated or broken record ({error})") from error
    if jpegs is None:
        raise VideoError(path, "not in the LMDB; make the manifest again")
    if not isinstance(jpegs, list) or not all(isinstance(jpeg, bytes) for jpeg in jpegs):
        raise VideoError(path, "its record is no list of JPEGs")
    return jpegs


def lmdb_names(folder: str | Path) -> list[str]:
    """The videos of an LMDB, ``Class/video`` each, in the order of their keys."""
    return list(open_lmdb(folder)[1])


def lmdb_file(folder: str | Path) -> Path:
    """The one file of an LMDB: itself, or ``data.mdb`` where the LMDB is a folder."""
    return Path(folder, "data.mdb") if Path(folder).is_dir() else Path(folder)


def check_lmdbs(paths: Iterable[str]) -> None:
    """Open the LMDBs of some videos, so that a missing or truncated one is found early."""
    for folder in {Path(path).parents[1] for path in paths}:
        open_lmdb(folder)


def open_lmdb(folder: str | Path) -> tuple[lmdb.Environment, dict[str, int]]:
    """This process's environment and the key of each name; opened once, read-only and without a lock.

    Raises:
        FileNotFoundError: no such LMDB.
        VideoError: truncated, not an LMDB, or in another layout.
    """
    folder = os.path.realpath(folder)
    process, environment, keys = _opened.get(folder, (None, None, None))
    if process == os.getpid():
        return environment, keys
    if environment is not None:
        environment.close()  # the parent's, which a forked process must not use
        del _opened[folder]
    environment = _open(folder)
    try:
        with environment.begin() as transaction:
            names = msgpack.unpackb(transaction.get(b"__order__", b""), raw=True)
        keys = {name.decode(): place for place, name in enumerate(names)}
    except (lmdb.Error, ValueError, TypeError, AttributeError) as error:
        environment.close()
        raise VideoError(folder, "no readable __order__ in this LMDB; expected one in CoCLR's layout") from error
    _opened[folder] = (os.getpid(), environment, keys)
    return environment, keys


def _open(folder: str) -> lmdb.Environment:
    """Open an LMDB if it is whole: reading beyond the end of a truncated one would kill the process."""
    file = lmdb_file(folder)
    if not file.is_file():
        raise FileNotFoundError(f"no LMDB at {folder}; restore it or make the manifest again")
    try:
        environment = lmdb.open(folder, subdir=os.path.isdir(folder), readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise VideoError(folder, f"no LMDB, or truncated ({error}); {AGAIN}") from error
    size, whole = file.stat().st_size, (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if size < whole:
        environment.close()
        raise VideoError(folder, f"truncated LMDB ({size} of {whole} bytes); {AGAIN}")
    return environment


def _decode(path: str | Path, index: int, jpeg: bytes) -> np.ndarray:
    """One JPEG: (H, W, 3) uint8 in OpenCV's order, BGR."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) if jpeg else None
    if picture is None:
        raise VideoError(path, f"broken JPEG (frame {index})")
    return picture
