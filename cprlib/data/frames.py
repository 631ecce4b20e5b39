"""Frames by video and view: decoded from files or LMDBs, or from a cache that was decoded once.

Flow frames are levels (see `cprlib.data.flow`). Resizing leaves the levels as they are, so a level always stands for
the same displacement, in the pixels that the flow was counted in, whatever the size of the frame.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha1
from pathlib import Path
from shutil import disk_usage

import numpy as np
import torch

from cprlib.data.container import decode
from cprlib.data.content import flow_contents, video_contents
from cprlib.data.flow import read_flow_levels
from cprlib.data.lmdb_frames import read_lmdb
from cprlib.data.manifest import Manifest
from cprlib.data.parallel import parallel_map
from cprlib.data.video import read_clip, resize, resize_to, resized_size
from cprlib.methods import VIEWS, sources_of
from cprlib.store.files import locked, read_json, resolve, write_json

CHANNELS = {name: view.channels for name, view in VIEWS.items() if view.source == name}
CHUNK = 256  # flow frames decoded at once while the cache is built


class CacheMismatch(ValueError):
    """A frame cache that was built for other videos."""


class VideoFrames:
    """Frames decoded from the files of a manifest, each time they are asked for.

    Args:
        manifest: the videos.
        views: "rgb", "flow" or both.
        short_side: resize to this height or width, whichever is the smaller, in pixels.
    """

    def __init__(self, manifest: Manifest, views: Sequence[str], short_side: int | None = None):
        manifest.check_files(sources_of(views))
        columns = ["video_id", "path", "flow_path", "reader", "height", "width"]
        self.files = {row[0]: row[1:] for row in manifest.table[columns].itertuples(index=False)}
        self.short_side = short_side

    def frames(self, video_id: int, view: str, frame_indices: Sequence[int]) -> torch.Tensor:
        """(T, H, W, C) uint8 of the frames with these numbers: C = 3 for rgb, 2 for flow levels."""
        path, flow_path, reader, *size = self.files[video_id]
        if reader == "lmdb":
            frames = read_lmdb(path if view == "rgb" else flow_path, view, frame_indices)
            return torch.from_numpy(resize(frames, self.short_side))
        if view == "rgb":
            return read_clip(path, frame_indices, self.short_side, reader)
        levels = read_flow_levels(flow_path, frame_indices).numpy()
        return torch.from_numpy(resize_to(levels, *resized_size(*size, self.short_side)))


class CachedFrames:
    """The same from one memory-mapped file per view, made by `build_cache`.

    Args:
        manifest: the videos, or a part of those that the cache was built for.
        folder: of the cache.
        views, short_side: as the cache was built.

    Raises:
        FileNotFoundError: no such cache.
        CacheMismatch: the cache was built for other videos.
    """

    def __init__(self, manifest: Manifest, folder: str | Path, views: Sequence[str], short_side):
        views = sources_of(views)
        self.arguments = (manifest, folder, views, short_side)
        self.short_side, self.places, self.bytes = short_side, {}, {}
        for view in views:
            data, index = _cache_files(Path(folder), view, short_side)
            if not index.is_file() or not data.is_file():
                raise FileNotFoundError(f"no frame cache at {data}; run build_cache first")
            self.places[view] = _places(manifest, view, read_json(index)["videos"], index)
            self.bytes[view] = np.asarray(np.memmap(data, np.uint8, "r"))

    def __reduce__(self):  # a memory map would be pickled with all that it holds
        return CachedFrames, self.arguments

    def frames(self, video_id: int, view: str, frame_indices: Sequence[int]) -> torch.Tensor:
        """(T, H, W, C) uint8 of the frames with these numbers: C = 3 for rgb, 2 for flow levels."""
        offset, (count, *frame) = self.places[view][video_id]
        indices = np.asarray(frame_indices, dtype=np.int64)
        last = count - 1 + (view == "flow")  # the last frame has the flow of the one before
        if indices.size == 0 or indices.min() < 0 or indices.max() > last:
            raise IndexError(f"video {video_id}: frames {indices.tolist()} asked for of 0..{last}")
        size = count * frame[0] * frame[1] * frame[2]
        video = self.bytes[view][offset : offset + size].reshape(count, *frame)
        return torch.from_numpy(np.asarray(video[indices.clip(max=count - 1)]))


def open_frames(
    manifest: Manifest,
    views: Sequence[str],
    short_side: int | None = None,
    cache_folder: str | Path | None = None,
) -> VideoFrames | CachedFrames:
    """Frames of the views' sources, decoded from the files or, where `cache_folder` is given, from the cache there.

    A cache that is missing, or does not hold these videos as they are now, is built first.
    """
    if cache_folder is None:
        return VideoFrames(manifest, views, short_side)
    try:
        return CachedFrames(manifest, cache_folder, views, short_side)
    except (FileNotFoundError, CacheMismatch):
        whole = manifest if manifest.whole is None else Manifest(manifest.whole)
        build_cache(whole, cache_folder, views, short_side)
        return CachedFrames(manifest, cache_folder, views, short_side)


def build_cache(
    manifest: Manifest,
    folder: str | Path,
    views: Sequence[str],
    short_side: int,
    workers: int | None = None,
) -> None:
    """Decode every frame once into one file per view; goes on where an earlier call was stopped.

    Args:
        manifest: the videos.
        folder: receives the cache; it is made again when a video changed.
        views: "rgb", "flow" or both.
        short_side: of the cached frames, in pixels.
        workers: processes; None = one per core.

    Raises:
        ValueError: no flow yet, or an unknown view.
        RuntimeError: some videos failed; raised after all others were done, naming them.
    """
    views = sources_of(views)
    manifest.check_files(views)
    for view in views:
        with locked(Path(folder) / f"{view}_{short_side or 'full'}"):
            _build_view(manifest, Path(folder), view, short_side, workers)


def _cache_files(folder: Path, view: str, short_side: int | None) -> tuple[Path, Path]:
    """The frames, one video after the other, and the index that says where each begins."""
    data = folder / f"{view}_{short_side or 'full'}.bin"
    return data, data.with_suffix(".json")


def _places(manifest: Manifest, view: str, videos: list[dict], index: Path) -> dict[int, tuple]:
    """video_id → (offset in bytes, (frames, height, width, channels))."""
    known = {video["content"]: (video["offset"], video["shape"]) for video in videos}
    contents = video_contents(manifest) if view == "rgb" else flow_contents(manifest)
    places = {}
    for row, content in zip(manifest.table.itertuples(index=False), contents, strict=True):
        places[row.video_id] = place = known.get(content)
        if place is None or place[1][0] != _file(row, view)[1]:
            raise CacheMismatch(
                f"{index}: the cache does not hold the {view} frames of {row.path} as they are now; "
                "run build_cache again, or give another cache folder"
            )
    return places


def _file(row, view: str) -> tuple[str, int]:
    """The file of a view and how many frames it has."""
    return (row.path, row.num_frames) if view == "rgb" else (row.flow_path, row.num_frames - 1)


def _layout(manifest: Manifest, view: str, short_side: int | None) -> list[dict]:
    """What the cache of one view holds, video after video."""
    videos, offset = [], 0
    contents = video_contents(manifest) if view == "rgb" else flow_contents(manifest)
    for row, content in zip(manifest.table.itertuples(index=False), contents, strict=True):
        path, count = _file(row, view)
        shape = [count, *resized_size(row.height, row.width, short_side), CHANNELS[view]]
        videos.append({"path": path, "content": content, "shape": shape, "offset": offset})
        offset += int(np.prod(shape))
    return videos


def _unplaced(videos: list[dict]) -> list[dict]:
    """What a cache holds, wherever the files lie."""
    return [{name: value for name, value in video.items() if name != "path"} for video in videos]


def _build_view(manifest: Manifest, folder: Path, view: str, short_side, workers) -> None:
    """Fill ``.part`` video by video, note each in ``.done``, then put the whole in its place."""
    data, index = _cache_files(folder, view, short_side)
    videos = _layout(manifest, view, short_side)
    if data.is_file() and index.is_file() and _unplaced(read_json(index)["videos"]) == _unplaced(videos):
        return
    part, log = data.with_suffix(".part"), data.with_suffix(".done")
    done = _resume(part, log, videos)
    jobs = [(n, *job) for n, job in enumerate(zip(videos, manifest.table.reader, strict=True)) if n not in done]
    failed = []
    with log.open("a") as notes:
        fill = partial(_fill, part=part, view=view, short_side=short_side)
        for (number, video, _), error in parallel_map(fill, jobs, workers, f"{view} frame cache"):
            if error is None:
                print(number, file=notes, flush=True)
            else:
                failed.append(f"{video['path']} ({error})")
    if failed:
        raise RuntimeError(
            f"{len(failed)} of {len(videos)} videos could not be cached, the others are done: "
            f"{'; '.join(sorted(failed)[:5])}; repair these or make the manifest again, then rerun"
        )
    index.unlink(missing_ok=True)  # an index never stands beside frames that it does not describe
    part.replace(data)
    write_json(index, {"short_side": short_side, "videos": videos})
    log.unlink()


def _resume(part: Path, log: Path, videos: list[dict]) -> set[int]:
    """Numbers of the videos that `part` holds already; begins anew if it was made for others."""
    key = sha1(json.dumps(_unplaced(videos)).encode()).hexdigest()
    if part.is_file() and log.is_file():
        lines = log.read_text().split("\n")[:-1]  # a line without its end was cut off by a kill
        if lines[:1] == [key]:
            log.write_text("\n".join(lines) + "\n")
            return {int(line) for line in lines[1:]}
    part.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    size = videos[-1]["offset"] + int(np.prod(videos[-1]["shape"]))
    free = disk_usage(part.parent).free
    if size > free:
        raise OSError(f"{part}: the cache needs {size / 1e9:.1f} GB, {free / 1e9:.1f} are free")
    with part.open("wb") as file:
        file.truncate(size)
    log.write_text(key + "\n")
    return set()


def _fill(job: tuple[int, dict, str], part: Path, view: str, short_side: int | None) -> None:
    """Decode one video into its place."""
    _, video, reader = job
    count, *frame = video["shape"]
    place = np.memmap(part, np.uint8, "r+", video["offset"], (count, *frame))
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
    """``python -m cprlib.data.frames MANIFEST FOLDER --views rgb flow --short-side 60``: build a frame cache."""
    parser = argparse.ArgumentParser(prog="python -m cprlib.data.frames", description="Decode all frames once.")
    parser.add_argument("manifest")
    parser.add_argument("folder", help="receives the cache")
    parser.add_argument("--views", nargs="+", default=["rgb", "flow"])
    parser.add_argument("--short-side", type=int, default=0, help="pixels; 0: as they are")
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    args = parser.parse_args()
    try:
        manifest = Manifest.read(resolve(args.manifest))
        build_cache(manifest, resolve(args.folder), args.views, args.short_side or None, args.workers)
    except (ValueError, OSError, RuntimeError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
