import errno
import os
import pickle
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch

from cprlib.data import frame_cache as store
from cprlib.data.flow import extract_flow
from cprlib.data.frame_cache import build_cache
from cprlib.data.frames import CachedFrames, VideoFrames, open_frames
from cprlib.data.manifest import Manifest
from cprlib.data.video import write_video
from tests.data.made import described, gliding

VIEWS = ("rgb", "flow")


def make(folder: Path, with_flow: bool = True) -> Manifest:
    """Three videos of different length, size and aspect ratio."""
    paths = [folder / f"v{number}.mp4" for number in range(3)]
    for path, (count, *size) in zip(paths, [(20, 48, 64), (9, 64, 40), (2, 32, 32)], strict=True):
        write_video(path, gliding(count, 2, 1, *size))
    manifest = described(*paths, split=["train", "test", "train"])
    return extract_flow(manifest, folder / "flow", "dis", workers=1) if with_flow else manifest


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Manifest:
    return make(tmp_path_factory.mktemp("videos"))


@pytest.fixture
def filled(monkeypatch) -> list[int]:
    """The numbers of the videos that this process has put into a cache."""
    numbers, fill = [], store._fill
    monkeypatch.setattr(store, "_fill", lambda job, **given: (numbers.append(job[0]), fill(job, **given))[1])
    return numbers


@pytest.mark.parametrize("workers", [1, 2])
def test_the_cache_holds_the_frames_of_the_files(manifest, tmp_path, workers):
    build_cache(manifest, tmp_path, VIEWS, 24, workers)
    decoded = open_frames(manifest, VIEWS, 24)
    cached = open_frames(manifest, VIEWS, 24, tmp_path)
    assert isinstance(decoded, VideoFrames) and isinstance(cached, CachedFrames)
    sizes = [(24, 32), (38, 24), (24, 24)]
    for row in manifest.table.itertuples():
        for view, channels in (("rgb", 3), ("flow", 2)):
            last = row.num_frames - 1
            for indices in (range(row.num_frames), [last, 0, 0, 1], np.array([last])):
                a, b = (f.frames(row.video_id, view, indices) for f in (decoded, cached))
                assert a.dtype == b.dtype == torch.uint8
                assert a.shape == (len(indices), *sizes[row.video_id], channels)
                assert torch.equal(a, b)
    assert sorted(p.suffix for p in tmp_path.glob("[!.]*")) == [".bin", ".bin", ".json", ".json"]


def test_the_cache_may_keep_the_source_size(manifest, tmp_path):
    build_cache(manifest, tmp_path, ["rgb"], None, 1)
    frames = open_frames(manifest, ["rgb"], None, tmp_path).frames(1, "rgb", [0])
    assert torch.equal(frames, open_frames(manifest, ["rgb"]).frames(1, "rgb", [0]))
    assert frames.shape == (1, 64, 40, 3)


def test_returned_frames_are_copies(manifest, tmp_path):
    build_cache(manifest, tmp_path, ["rgb"], 16, 1)
    frames = open_frames(manifest, ["rgb"], 16, tmp_path)
    first = frames.frames(0, "rgb", [0, 1])
    kept = first.clone()
    first.zero_()
    assert torch.equal(frames.frames(0, "rgb", [0, 1]), kept)


def test_part_of_the_manifest_opens_the_whole_cache(manifest, tmp_path):
    build_cache(manifest, tmp_path, VIEWS, 16, 1)
    part = open_frames(manifest.split("test"), VIEWS, 16, tmp_path)
    whole = open_frames(manifest, VIEWS, 16, tmp_path)
    assert torch.equal(part.frames(1, "flow", [3]), whole.frames(1, "flow", [3]))
    with pytest.raises(KeyError):
        part.frames(0, "rgb", [0])


def _sum(frames, video_id: int) -> int:
    return int(frames.frames(video_id, "rgb", [0, 1]).sum())


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_loader_workers_can_use_it(manifest, tmp_path, method):
    build_cache(manifest, tmp_path, ["rgb"], 16, 1)
    frames = open_frames(manifest, ["rgb"], 16, tmp_path)
    assert len(pickle.dumps(frames)) < 20_000  # without the frames
    with get_context(method).Pool(1) as pool:
        assert pool.apply(_sum, (frames, 0)) == _sum(frames, 0)


def test_a_cache_reserves_disk_space_before_it_is_filled(manifest, tmp_path, monkeypatch):
    """A memory map on a full disk would kill the process. A cache with a damaged index is built again."""

    def full(*_):
        raise OSError(errno.ENOSPC, "no space")

    with (
        monkeypatch.context() as patch,
        pytest.raises(OSError, match="rgb_16.part not written: no space left on the disk"),
    ):
        patch.setattr(os, "posix_fallocate", full, raising=False)
        build_cache(manifest, tmp_path, ["rgb"], 16, 1)
    assert not (tmp_path / "rgb_16.part").exists()
    build_cache(manifest, tmp_path, ["rgb"], 16, 1)
    data, index = tmp_path / "rgb_16.bin", tmp_path / "rgb_16.json"
    assert data.stat().st_blocks * 512 >= data.stat().st_size
    before = index.read_bytes()
    index.write_bytes(before.replace(b'offset": 0', b'offset": 9'))
    cached = open_frames(manifest, ["rgb"], 16, tmp_path)
    assert index.read_bytes() == before and isinstance(cached, CachedFrames)


@pytest.mark.parametrize("folder", [None, "cache"])
def test_frames_outside_a_video_are_refused(manifest, tmp_path, folder):
    if folder:
        build_cache(manifest, tmp_path / folder, VIEWS, 16, 1)
    frames = open_frames(manifest, VIEWS, 16, folder and tmp_path / folder)
    for view in VIEWS:
        for wrong in ([20], [-1], [3, 21]):
            with pytest.raises(IndexError):
                frames.frames(0, view, wrong)


def test_clear_errors(manifest, tmp_path):
    with pytest.raises(ValueError, match="'depth'.*rgb, flow"):
        open_frames(manifest, ["depth"])
    with pytest.raises(FileNotFoundError, match="rgb_16.bin; run build_cache"):
        CachedFrames(manifest, tmp_path, ["rgb"], 16)
    without = Manifest(manifest.table.assign(flow_path=""))
    for call in (open_frames, lambda *a: build_cache(a[0], tmp_path, a[1], 16)):
        with pytest.raises(ValueError, match="no flow yet for .*v0.mp4"):
            call(without, VIEWS)
    build_cache(manifest, tmp_path, ["rgb"], 16, 1)
    other = manifest.table.assign(num_frames=[20, 8, 2])
    with pytest.raises(ValueError, match="v1.mp4 as they are now; run build_cache"):
        CachedFrames(Manifest(other), tmp_path, ["rgb"], 16)


def test_a_cache_is_identified_by_content_and_rebuilt_if_it_does_not_match(tmp_path):
    """Moved videos keep their cache; a deleted cache, or one of other videos, is rebuilt on opening."""
    manifest = make(tmp_path / "here", with_flow=False)
    build_cache(manifest, tmp_path / "c", ["rgb"], 16, 1)
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "c").glob("*.bin")}
    (tmp_path / "here").rename(tmp_path / "there")
    moved = Manifest(manifest.table.assign(path=[p.replace("/here/", "/there/") for p in manifest.table.path]))
    build_cache(moved, tmp_path / "c", ["rgb"], 16, 1)
    expected = open_frames(moved, ["rgb"], 16).frames(1, "rgb", [4])
    assert torch.equal(open_frames(moved, ["rgb"], 16, tmp_path / "c").frames(1, "rgb", [4]), expected)
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "c").glob("*.bin")}
    for path in times:
        path.unlink()
    part = moved.split("test")
    assert len(open_frames(part, ["rgb"], 16, tmp_path / "c").places["rgb"]) == len(part)
    assert len(open_frames(moved, ["rgb"], 16, tmp_path / "c").places["rgb"]) == len(moved)  # not only the part
    write_video(moved.table.path[1], gliding(9, 2, 1, 64, 40, seed=77))
    again = open_frames(moved, ["rgb"], 16, tmp_path / "c").frames(1, "rgb", [4])
    assert torch.equal(again, open_frames(moved, ["rgb"], 16).frames(1, "rgb", [4])) and not torch.equal(
        again, expected
    )


def test_a_finished_cache_is_kept_and_a_changed_video_rebuilds_it(tmp_path, filled):
    manifest = make(tmp_path, with_flow=False)
    build_cache(manifest, tmp_path / "c", ["rgb"], 16, 1)
    build_cache(manifest, tmp_path / "c", ["rgb"], 16, 1)
    assert filled == [0, 1, 2]
    write_video(manifest.table.path[1], gliding(9, 2, 1, 64, 40, seed=77))
    build_cache(manifest, tmp_path / "c", ["rgb"], 16, 1)
    assert filled == [0, 1, 2] * 2
    os.truncate(tmp_path / "c/rgb_16.bin", 1000)
    with pytest.raises(store.CacheMismatch, match="rgb_16.bin was cut short; run build_cache again"):
        CachedFrames(manifest, tmp_path / "c", ["rgb"], 16)
    build_cache(manifest, tmp_path / "c", ["rgb"], 16, 1)
    assert filled == [0, 1, 2] * 3
    cached = open_frames(manifest, ["rgb"], 16, tmp_path / "c").frames(1, "rgb", [4])
    assert torch.equal(cached, open_frames(manifest, ["rgb"], 16).frames(1, "rgb", [4]))


def test_a_broken_video_is_named_and_the_others_are_not_read_twice(tmp_path, monkeypatch, filled):
    manifest = make(tmp_path, with_flow=False)
    good = Path(manifest.table.path[1]).read_bytes()
    contents = store.contents(manifest)
    monkeypatch.setattr(store, "contents", lambda manifest, view: contents)
    Path(manifest.table.path[1]).write_bytes(good[:-300])
    with pytest.raises(RuntimeError, match="1 of 3 videos.*v1.mp4"):
        build_cache(manifest, tmp_path / "c", ["rgb"], 16, 1)
    with pytest.raises(FileNotFoundError):
        CachedFrames(manifest, tmp_path / "c", ["rgb"], 16)
    Path(manifest.table.path[1]).write_bytes(good)
    filled.clear()
    build_cache(manifest, tmp_path / "c", ["rgb"], 16, 1)
    assert filled == [1]


KILLED = """
import sys, time
from cprlib.data import frame_cache as store
from cprlib.data.manifest import Manifest

fill = store._fill
def slow(job, **arguments):
    if job[0] == 2:
        time.sleep(60)
    return fill(job, **arguments)
store._fill = slow
store.build_cache(Manifest.read(sys.argv[1]), sys.argv[2], ["rgb"], 16, 1)
"""


def test_a_killed_build_is_resumed(tmp_path, filled):
    manifest = make(tmp_path, with_flow=False)
    manifest.write(tmp_path / "m.csv")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "m.csv"), str(tmp_path / "c")]
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    log, deadline = tmp_path / "c" / "rgb_16.done", time.monotonic() + 60
    while not log.exists() or len(log.read_text().splitlines()) < 3:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    log.write_text(log.read_text() + "2")  # an entry cut off by the kill
    build_cache(manifest, tmp_path / "c", ["rgb"], 16, 1)
    assert filled == [2]
    cached, decoded = open_frames(manifest, ["rgb"], 16, tmp_path / "c"), open_frames(manifest, ["rgb"], 16)
    for row in manifest.table.itertuples():
        every = range(row.num_frames)
        a, b = (f.frames(row.video_id, "rgb", every) for f in (cached, decoded))
        assert torch.equal(a, b)
