"""Frames by video and view: decoded from files or LMDBs, or read from a cache that was decoded once.

Flow frames are levels (see `cprlib.data.flow`). Resizing leaves the levels as they are, so a level stands for the same
displacement at any frame size, in pixels of the size at which flow was measured.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cprlib.data.container import stored_numbers
from cprlib.data.flow import read_flow_levels
from cprlib.data.frame_cache import CacheMismatch, build_cache, cache_files, find_places
from cprlib.data.lmdb_frames import read_lmdb
from cprlib.data.manifest import Manifest
from cprlib.data.video import read_clip, resize, resize_to, resized_size
from cprlib.methods import sources_of
from cprlib.store.files import resolve
from cprlib.store.folders import read_config, recorded_path


class VideoFrames:
    """Frames decoded from the files of a manifest on every call.

    Args:
        manifest: the videos.
        views: "rgb", "flow" or both.
        short_side: resize to this height or width, whichever is the smaller, in pixels.
    """

    def __init__(self, manifest: Manifest, views: Sequence[str], short_side: int | None = None):
        manifest.check_files(sources_of(views))
        columns = ["video_id", "path", "flow_path", "reader", "height", "width"]
        self.files = {row[0]: row[1:] for row in manifest.table[columns].itertuples(index=False)}
        self.short_side, self.opened = short_side, (list(views), short_side, None)

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
        self.short_side, self.opened, self.places, self.bytes = short_side, (views, short_side, str(folder)), {}, {}
        for view in views:
            data, index = cache_files(Path(folder), view, short_side)
            if not index.is_file() or not data.is_file():
                raise FileNotFoundError(f"no frame cache at {data}; run build_cache first")
            self.places[view] = find_places(manifest, view, index)
            self.bytes[view] = np.asarray(np.memmap(data, np.uint8, "r"))

    def __reduce__(self):  # pickle would copy all that a memory map holds
        return CachedFrames, self.arguments

    def frames(self, video_id: int, view: str, frame_indices: Sequence[int]) -> torch.Tensor:
        """(T, H, W, C) uint8 of the frames with these numbers: C = 3 for rgb, 2 for flow levels."""
        offset, (count, *frame) = self.places[view][video_id]
        numbers = stored_numbers(f"video {video_id}", frame_indices, count, view)
        size = count * frame[0] * frame[1] * frame[2]
        video = self.bytes[view][offset : offset + size].reshape(count, *frame)
        return torch.from_numpy(np.asarray(video[numbers]))


def open_frames(
    manifest: Manifest,
    views: Sequence[str],
    short_side: int | None = None,
    cache: str | Path | None = None,
) -> VideoFrames | CachedFrames:
    """Frames of the views' sources, decoded from the files or, if there is to be a cache, from that.

    A cache that is missing or out of date is built first.

    Args:
        manifest: the videos.
        views: names of :data:`cprlib.methods.VIEWS`.
        short_side: of the frames, in pixels; None or 0: as they are.
        cache: its folder; None or "": no cache.
    """
    short_side = short_side or None
    if not cache:
        return VideoFrames(manifest, views, short_side)
    cache = resolve(cache)
    try:
        return CachedFrames(manifest, cache, views, short_side)
    except (FileNotFoundError, CacheMismatch):
        build_cache(Manifest(manifest.all_rows), cache, views, short_side)
        return CachedFrames(manifest, cache, views, short_side)


def recorded_frames(training: str | Path, manifest: Manifest, views: Sequence[str]) -> VideoFrames | CachedFrames:
    """The frames that a network was trained with: at its short side, from its cache."""
    return open_frames(manifest, views, read_config(training)["short_side"], recorded_path(training, "cache"))
