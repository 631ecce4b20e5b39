"""The frame cache: every frame of every video decoded once into one file per view.

python -m cprlib.data.frame_cache MANIFEST FOLDER --views rgb flow --short-side 60
"""

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha1
from pathlib import Path

import numpy as np

from cprlib.data.container import decode
from cprlib.data.content import contents
from cprlib.data.flow import read_flow_levels
from cprlib.data.lmdb_frames import read_lmdb
from cprlib.data.manifest import Manifest
from cprlib.data.parallel import check_done, check_shard, parallel_map, read_shard
from cprlib.data.video import resize, resize_to, resized_size
from cprlib.methods import VIEWS, sources_of
from cprlib.store.errors import one_line
from cprlib.store.files import allocate, locked, resolve, writing
from cprlib.store.sealed import read_sealed, write_sealed

CHANNELS = {name: view.channels for name, view in VIEWS.items() if view.source == name}
CHUNK = 256  # flow frames decoded at once


class CacheMismatch(ValueError):
    """A frame cache that was built for other videos."""


def build_cache(
    manifest: Manifest,
    folder: str | Path,
    views: Sequence[str],
    short_side: int,
    workers: int | None = None,
    shard: tuple[int, int] = (0, 1),
) -> None:
    """Decode every frame once into one file per view; an interrupted call is continued.

    Args:
        manifest: the videos.
        folder: receives the cache, which is rebuilt when a video changed.
        views: "rgb", "flow" or both.
        short_side: of the cached frames, in pixels.
        workers: processes; None = one per core.
        shard: (i, n): only every n-th video, from the i-th on (i = 0..n-1), into a folder of its own, for n jobs. A
            call for all videos then copies their frames from there and deletes these folders.

    Raises:
        ValueError: no flow yet, an unknown view, a negative short_side or an impossible shard.
        RuntimeError: some videos failed; raised after all others were done, naming them.
    """
    views, whole, (number, of) = sources_of(views), Path(folder), check_shard(shard)
    if short_side and short_side < 0:
        raise ValueError(f"short_side is {short_side}; expected a number of pixels, or 0")
    place = whole / f"part{number}of{of}" if of > 1 else whole
    if of > 1:
        manifest = Manifest(manifest.table[number::of].reset_index(drop=True), manifest.table)
    manifest.check_files(views)
    for view in views:
        if place != whole and _is_cached(manifest, whole, view, short_side):
            continue
        with locked(place / f"{view}_{short_side or 'full'}"):
            _build_view(manifest, place, view, short_side, workers)


def cache_files(folder: Path, view: str, short_side: int | None) -> tuple[Path, Path]:
    """Files of the frames, one video after the other, and of the index that says where each begins."""
    data = folder / f"{view}_{short_side or 'full'}.bin"
    return data, data.with_suffix(".json")


def find_places(manifest: Manifest, view: str, index: Path) -> dict[int, tuple]:
    """video_id → (offset in bytes, (frames, height, width, channels))."""
    videos = _indexed(index)
    if not _is_whole(index.with_suffix(".bin"), videos):
        raise CacheMismatch(f"{index.with_suffix('.bin')} was cut short; run build_cache again")
    known = {video["content"]: (video["offset"], video["shape"]) for video in videos}
    places = {}
    for row, content in zip(manifest.table.itertuples(index=False), contents(manifest, view), strict=True):
        places[row.video_id] = place = known.get(content)
        if place is None or place[1][0] != _file(row, view)[1]:
            raise CacheMismatch(
                f"{index}: the cache does not hold the {view} frames of {row.path} as they are now; "
                "run build_cache again, or give another cache folder"
            )
    return places


def _is_whole(data: Path, videos: list[dict]) -> bool:
    """Whether a file has the size of all its frames."""
    return data.is_file() and data.stat().st_size == sum(int(np.prod(video["shape"])) for video in videos)


def _is_cached(manifest: Manifest, folder: Path, view: str, short_side: int | None) -> bool:
    """Whether a cache holds the videos of a manifest."""
    data, index = cache_files(folder, view, short_side)
    try:
        return data.is_file() and index.is_file() and bool(find_places(manifest, view, index))
    except CacheMismatch:
        return False


def _shards(folder: Path, data: Path) -> list[Path]:
    """The finished caches of shards of a view, to be joined."""
    return [path for path in folder.glob(f"part*of*/{data.name}") if path.with_suffix(".json").is_file()]


def _file(row, view: str) -> tuple[str, int]:
    """The file of a view and how many frames it has."""
    return (row.path, row.num_frames) if view == "rgb" else (row.flow_path, row.num_frames - 1)


def _layout(manifest: Manifest, view: str, short_side: int | None) -> list[dict]:
    """What the cache of one view holds, video after video."""
    videos, offset = [], 0
    for row, content in zip(manifest.table.itertuples(index=False), contents(manifest, view), strict=True):
        path, count = _file(row, view)
        shape = [count, *resized_size(row.height, row.width, short_side), CHANNELS[view]]
        videos.append({"path": path, "content": content, "shape": shape, "offset": offset})
        offset += int(np.prod(shape))
    return videos


def _unplaced(videos: list[dict]) -> list[dict]:
    """What a cache holds, without the paths."""
    return [{name: value for name, value in video.items() if name != "path"} for video in videos]


def _build_view(manifest: Manifest, folder: Path, view: str, short_side, workers) -> None:
    """Fill ``.part`` video by video, note each in ``.done``, then move the whole into place."""
    data, index = cache_files(folder, view, short_side)
    videos = _layout(manifest, view, short_side)
    if index.is_file() and _is_whole(data, videos) and _unplaced(_indexed(index)) == _unplaced(videos):
        return
    part, log = data.with_suffix(".part"), data.with_suffix(".done")
    done = _resume(part, log, videos)
    made = {v["content"]: (path, v) for path in _shards(folder, data) for v in _indexed(path.with_suffix(".json"))}
    rows = enumerate(zip(videos, manifest.table.reader, strict=True))
    jobs = [(n, video, reader, made.get(video["content"])) for n, (video, reader) in rows if n not in done]
    failed = []
    with writing(log), log.open("a") as notes:
        fill = partial(_fill, part=part, view=view, short_side=short_side)
        for (number, video, *_), error in parallel_map(fill, jobs, workers, f"{view} frame cache"):
            if error is None:
                print(number, file=notes, flush=True)
            else:
                failed.append(f"{video['path']} ({error})")
    check_done(failed, len(videos), f"{view} frame cache")
    index.unlink(missing_ok=True)  # an index never stands beside frames that it does not describe
    part.replace(data)
    write_sealed(index, {"short_side": short_side, "videos": videos})
    log.unlink()
    for path in _shards(folder, data):
        path.with_suffix(".json").unlink()  # first: an index never stands without its frames
        path.unlink()
        if not list(path.parent.glob("*.json")):
            shutil.rmtree(path.parent)


def _indexed(index: Path) -> list[dict]:
    """The videos in a cache's index; none, with a warning, if it is damaged."""
    try:
        return read_sealed(index)["videos"]
    except ValueError as error:
        print(f"{str(error).split(';')[0]}; the cache is made again", flush=True)
        return []


def _resume(part: Path, log: Path, videos: list[dict]) -> set[int]:
    """Numbers of the videos already in `part`, which is begun anew if it was made for others."""
    key = sha1(json.dumps(_unplaced(videos)).encode()).hexdigest()
    if part.is_file() and log.is_file():
        lines = log.read_text().split("\n")[:-1]  # a line without its end was cut off by a kill
        if lines[:1] == [key]:
            log.write_text("\n".join(lines) + "\n")
            return {int(line) for line in lines[1:]}
    log.unlink(missing_ok=True)
    size = videos[-1]["offset"] + int(np.prod(videos[-1]["shape"]))
    part.unlink(missing_ok=True)
    if size > (free := shutil.disk_usage(part.parent).free):
        raise OSError(f"{part}: the cache needs {size / 1e9:.1f} GB, {free / 1e9:.1f} are free; make room, run again")
    allocate(part, size)
    with writing(log):
        log.write_text(key + "\n")
    return set()


def _fill(job: tuple[int, dict, str, tuple | None], part: Path, view: str, short_side: int | None) -> None:
    """Decode one video into its place, or copy what another job has decoded."""
    _, video, reader, made = job
    count, *frame = video["shape"]
    place = np.memmap(part, np.uint8, "r+", video["offset"], (count, *frame))
    if made and made[1]["shape"] == video["shape"]:
        place[:] = np.memmap(made[0], np.uint8, "r", made[1]["offset"], place.shape)
        return place.flush()
    written = 0
    for chunk in _chunks(video["path"], view, count, reader):
        chunk = resize(chunk, short_side) if view == "rgb" else resize_to(chunk, *frame[:2])
        if list(chunk.shape[1:]) != frame or written + len(chunk) > count:
            raise ValueError("is not as the manifest says; make the manifest again")
        place[written : written + len(chunk)] = chunk
        written += len(chunk)
    if written != count:
        raise ValueError(f"has {written} frames, {count} in the manifest; make the manifest again")
    place.flush()


def _chunks(path: str, view: str, count: int, reader: str) -> Iterator[np.ndarray]:
    """All frames of a file in order, some at a time: (t, H, W, C) uint8."""
    if view == "rgb" and reader != "lmdb":
        yield from (frame[None] for frame in decode(path))
        return
    for start in range(0, count, CHUNK):
        indices = range(start, min(start + CHUNK, count))
        yield read_lmdb(path, view, indices) if reader == "lmdb" else read_flow_levels(path, indices).numpy()


def main() -> None:
    """``python -m cprlib.data.frame_cache MANIFEST FOLDER --views rgb flow --short-side 60``: build a frame cache."""
    parser = argparse.ArgumentParser(prog="python -m cprlib.data.frame_cache", description="Decode all frames once.")
    parser.add_argument("manifest")
    parser.add_argument("folder", help="receives the cache")
    parser.add_argument("--views", nargs="+", default=["rgb", "flow"])
    parser.add_argument("--short-side", type=int, default=0, help="pixels; 0: as they are")
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument("--shard", default="0/1", help="i/n: every n-th video from the i-th on, to be joined")
    args = parser.parse_args()
    with one_line():
        manifest, size = Manifest.read(resolve(args.manifest)), args.short_side or None
        build_cache(manifest, resolve(args.folder), args.views, size, args.workers, read_shard(args.shard))


if __name__ == "__main__":
    main()
