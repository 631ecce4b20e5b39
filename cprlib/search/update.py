"""Make an index of a folder, and update it by the content of its files."""

import multiprocessing
import os
import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np
import pandas as pd
import torch

from cprlib.data.container import VideoError
from cprlib.data.files import find_videos, fingerprint, stored_path
from cprlib.data.manifest import Manifest
from cprlib.data.parallel import WorkerKilled, parallel_map
from cprlib.data.text_table import TABLES, place_of, read_text_table
from cprlib.evaluation.video_encoder import VideoEncoder
from cprlib.search.index import (
    ABOUT,
    COLUMNS,
    PLACE,
    VIDEOS,
    Index,
    cached_encoder,
    check_same_encoder,
    default_index,
    read_about,
    read_table,
)
from cprlib.search.shards import Vectors, read_vectors, shard_file, to_merge, write_shard
from cprlib.store.files import atomic_path, locked, write_json

SECONDS, BYTES = 60.0, 2**28  # finished vectors are written after this time, or at this size


class Update(NamedTuple):
    """The result of an update: numbers of files, and file -> why it is left out."""

    new: int
    known: int
    gone: int
    problems: dict[str, str]


def update_index(
    videos: str | Path, run: str | Path, out: str | Path | None = None, workers: int | None = None
) -> tuple[Index, Update]:
    """Make an index of the videos below a folder, or update it; only new content is encoded.

    Files are identified by their content: a moved or copied video keeps its vectors, a changed one gets new ones, and
    those of deleted files are dropped. Finished vectors are written at least once a minute, so an interrupted call can
    be resumed. A file that is not a video is left out until it changes.

    Args:
        videos: the folder, or a table with a column path, such as a manifest, of videos anywhere.
        run: networks, see :func:`cprlib.evaluation.video_encoder.load_encoder`.
        out: folder of the index; None: see :func:`default_index`.
        workers: processes; None: one per core, at most 4 on a GPU.

    Raises:
        FileNotFoundError: no such folder, no video in it, or no network.
        ValueError: the index was made by other networks, or of another folder that still exists.
    """
    source, encoder = Path(os.path.realpath(videos)), cached_encoder(str(run))
    folder = Path(os.path.realpath(out)) if out else default_index(source, encoder)
    if file := next((place for place in (folder, *folder.parents) if place.is_file()), None):
        raise ValueError(f"{file} is a file; name a folder for the index")
    if workers is None and torch.cuda.is_available():
        workers = min(4, os.cpu_count() or 1)
    with locked(folder):
        listed = videos_of(source)
        paths = [path for path in listed if path.is_file()]
        if not paths:
            raise FileNotFoundError(f"{source}: none of its videos exists, e.g. {listed[0]}; correct the paths")
        _open(folder, source, paths, encoder)
        table, old = _state_of(paths), read_table(folder)
        table = _with_content(table, old)
        kept = old.drop_duplicates("content").set_index("content")[["problem", *PLACE]]
        known = table[table.content.isin(kept.index)].join(kept, on="content")
        new = table[~table.content.isin(kept.index)]
        gone = len(set(old.path) - set(table.path))
        one = partial(_vectors, run=str(encoder.path), made_from=encoder.fingerprint.hash)
        made = _embed(folder, new, known, one, workers)
        _tidy(folder, pd.concat([known, made], ignore_index=True))
    index = Index(folder)
    missing = {str(path): "it is not there" for path in listed if path not in {*paths}}
    return index, Update(len(new), len(known), gone, index.problems | missing)


def videos_of(source: Path) -> list[Path]:
    """The video files below a folder, or those in the column path of a table, such as a manifest.

    Raises:
        FileNotFoundError, ValueError: there are none, or they are in an LMDB.
    """
    if source.is_dir() or not source.suffix:
        return find_videos(source)
    if not source.is_file() or source.suffix.lower() not in (*TABLES, ".parquet"):
        told = "is neither a folder of videos nor" if source.exists() else "is not there; give a folder of videos, or"
        raise FileNotFoundError(f"{source} {told} a table (.csv, .tsv, .txt) with a column path")
    if source.suffix == ".parquet":
        table = Manifest.read(source).table
    else:
        table = read_text_table(source, ("path",))[0]
    if "lmdb" in set(table.get("reader", ())):
        raise ValueError(f"{source}: videos in an LMDB cannot be searched; give a folder of video files")
    if not len(table):
        raise ValueError(f"{source}: no rows; list one video path per row")
    return [Path(path) for path in sorted({place_of(text, source) for text in table.path})]


def _open(folder: Path, source: Path, paths: list[Path], encoder: VideoEncoder) -> None:
    """Make the folder of an index, or check that it belongs to these networks and videos."""
    about = {"source": str(source), "encoder": stored_path(encoder.path, folder)}
    about["root"] = str(source) if source.is_dir() else os.path.commonpath([path.parent for path in paths])
    known = read_about(folder) if (folder / ABOUT).exists() else {}
    if known:
        check_same_encoder(folder, known, encoder)
        if known["source"] != str(source) and Path(known["source"]).exists():  # else the videos were moved
            raise ValueError(
                f"{folder} is an index of {known['source']}, not of {source}; give another folder with --out"
            )
    else:
        parts = {view: [columns.start, columns.stop] for view, columns in encoder.parts().items()}
        known = {"fingerprint": encoder.fingerprint.parts, "parts": parts}
    if known | about != known:
        write_json(folder / ABOUT, known | about)


def _write_table(folder: Path, table: pd.DataFrame) -> None:
    with atomic_path(folder / VIDEOS) as tmp:
        table[COLUMNS].sort_values("path").to_parquet(tmp, index=False)


def _state_of(paths: list[Path]) -> pd.DataFrame:
    stats = [path.stat() for path in paths]  # copying can set mtime, but not ctime
    times = [max(s.st_mtime_ns, s.st_ctime_ns) for s in stats]
    return pd.DataFrame({"path": map(str, paths), "size": [s.st_size for s in stats], "time": times})


def _with_content(table: pd.DataFrame, old: pd.DataFrame) -> pd.DataFrame:
    """Add a hash of the content; files with unchanged size and time keep their old one."""
    known = {(r.path, r.size, r.time): r.content for r in old.itertuples()}
    keys = table[["path", "size", "time"]].itertuples(index=False)
    return table.assign(content=[known.get(tuple(key)) or fingerprint(key.path) for key in keys])


def _embed(folder: Path, new: pd.DataFrame, known: pd.DataFrame, one: Callable, workers: int | None) -> pd.DataFrame:
    """Encode new videos and write their vectors shard by shard, each followed by the table.

    Returns:
        `new` with problem and place of each video; copies share theirs.
    """
    first = new.drop_duplicates("content").set_index("path")["content"]
    parts, waiting, last = [pd.DataFrame(columns=["content", "problem", *PLACE])], {}, time.monotonic()

    def flush() -> None:
        if waiting:
            place = write_shard(folder, uuid4().hex[:12], list(waiting.values()))
            parts.append(place.assign(content=list(waiting), problem=""))
            waiting.clear()
        _write_table(folder, pd.concat([known, _placed(new, parts)], ignore_index=True))

    try:
        for path, found in parallel_map(one, list(first.index), workers, "videos"):
            if isinstance(found, Exception):
                if not isinstance(found, ValueError | OSError | WorkerKilled):
                    raise found
                reason = found.reason if isinstance(found, VideoError) else str(found)
                parts.append(pd.DataFrame([{"content": first[path], "problem": reason, **dict.fromkeys(PLACE[1:], 0)}]))
                continue
            waiting[first[path]] = found
            if time.monotonic() - last > SECONDS or sum(v.size for v in waiting.values()) > BYTES:
                flush()
                last = time.monotonic()
    finally:
        flush()
    return _placed(new, parts)


def _placed(new: pd.DataFrame, parts: list[pd.DataFrame]) -> pd.DataFrame:
    places = pd.concat([part for part in parts if len(part)] or parts).set_index("content")
    placed = new[new.content.isin(places.index)].join(places, on="content")
    return placed.fillna({"shard": ""}).astype(dict.fromkeys(PLACE[1:], "int64"))


def _vectors(path: str, run: str, made_from: str) -> Vectors:
    if multiprocessing.parent_process():  # one of several workers
        torch.set_num_threads(1)
    whole, windows, seconds = _encoder_of(run, made_from).vectors(path)
    return Vectors(whole.numpy(), windows.numpy().astype(np.float16), seconds.numpy())


@lru_cache(1)
def _encoder_of(run: str, made_from: str) -> VideoEncoder:
    """The networks of a run, once a process; they must be those that the index was opened with."""
    encoder = cached_encoder(run)
    if encoder.fingerprint.hash != made_from:
        raise RuntimeError(f"{run} has been trained again meanwhile; run the same command again")
    return encoder


def _tidy(folder: Path, table: pd.DataFrame) -> None:
    """Merge small and half-dead shards, write the table, and delete files that no video needs."""
    living = table[table.problem == ""].drop_duplicates("content")
    for group in to_merge(living, folder):
        merged = living[living.shard.isin(group)]
        vectors = [read_vectors(folder, row) for _, row in merged.iterrows()]
        place = write_shard(folder, uuid4().hex[:12], vectors).assign(content=merged.content.to_numpy())
        moved = table.content.isin(merged.content)
        placed = table[moved].drop(columns=PLACE).join(place.set_index("content"), on="content")
        table = pd.concat([table[~moved], placed], ignore_index=True)
    _write_table(folder, table)
    needed = {shard_file(folder, shard, kind) for shard in set(table.shard) for kind in ("whole", "windows", "seconds")}
    for path in set((folder / "shards").glob("*.npy")) - needed:
        path.unlink()
