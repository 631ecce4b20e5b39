import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import Dataset

from cprlib.data.parallel import WorkerKilled, clip_loader, cores, parallel_map
from cprlib.data.video import read_clip
from tests.data.made import encoded, moving


def invert(x: float) -> float:
    return 1 / x


def die(x: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_and_failures_come_with_their_items(workers):
    found = dict(parallel_map(invert, [1, 2, 0, 4], workers, "inverting"))
    assert isinstance(found.pop(0), ZeroDivisionError)
    assert found == {1: 1.0, 2: 0.5, 4: 0.25}


def faults(block: int) -> int:
    """Page faults of allocating `block` bytes after a block like it was freed."""
    np.ones(block, np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(block, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


class Faults(Dataset):
    """Page faults of a worker for 20 MB."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return faults(20_000_000)


@pytest.mark.skipif(sys.platform != "linux", reason="malloc of Linux")
@pytest.mark.parametrize("workers", [0, 1])
def test_memory_of_a_clip_is_reused_for_the_next_one(workers):
    assert next(iter(clip_loader(Faults(), workers))) < 100  # of 4883 pages


def test_nothing_to_do():
    assert list(parallel_map(invert, [], 2, "nothing")) == []


def some_die(x: int) -> int:
    """1 crashes, 2 asks for more memory than there is, 3 never ends."""
    if x == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if x == 2:
        return len(bytearray(12 * 10**9))
    while x == 3:
        pass
    return x


def test_an_item_that_kills_its_worker_is_named_and_the_others_continue():
    found = dict(parallel_map(some_die, range(8), 2, "dying", seconds=4))
    assert {x for x, y in found.items() if x == y} == {0, 4, 5, 6, 7}
    assert all(isinstance(found[x], WorkerKilled) for x in (1, 2, 3))
    assert "crash in the decoder" in str(found[1]) and "more than 4 GB of memory" in str(found[2])


def test_as_many_workers_as_the_job_has_cores():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_long_path_for_temporary_files_works(tmp_path):
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    line = "from cprlib.data.parallel import parallel_map; print(sorted(dict(parallel_map(abs, [-1, 2], 2, 'x'))))"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", line], cwd=root, env={**os.environ, "TMPDIR": str(deep)}, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.endswith("[-1, 2]\n"), done.stderr
    assert list(deep.iterdir()) == []


class Clips(Dataset):
    """Clips of a video file."""

    def __init__(self, path: Path):
        self.path = path

    def __getitem__(self, start: int) -> np.ndarray:
        return np.asarray(read_clip(self.path, range(start, start + 4)))


def test_workers_can_read_videos_after_this_process_did(tmp_path):
    """As in a notebook that shows clips, then trains: a forked worker must not wait for threads of this process."""
    clips = Clips(encoded(tmp_path / "video.mp4", moving(8, 240, 320)))
    here = clips[2]
    (there,) = clip_loader(clips, 1, sampler=[2], batch_size=None, timeout=30)
    assert np.array_equal(here, there)
