import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from cprlib.data.parallel import parallel_map


def invert(x: float) -> float:
    return 1 / x


def die(x: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_and_failures_come_with_their_items(workers):
    found = dict(parallel_map(invert, [1, 2, 0, 4], workers, "inverting"))
    assert isinstance(found.pop(0), ZeroDivisionError)
    assert found == {1: 1.0, 2: 0.5, 4: 0.25}


def test_nothing_to_do():
    assert list(parallel_map(invert, [], 2, "nothing")) == []


def test_a_killed_worker_is_reported_with_a_remedy():
    with pytest.raises(RuntimeError, match="dying: a worker process was killed.*fewer workers"):
        list(parallel_map(partial(die), [1, 2], 2, "dying"))


def test_a_long_folder_for_temporary_files_is_no_hindrance(tmp_path):
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    line = "from cprlib.data.parallel import parallel_map; print(sorted(dict(parallel_map(abs, [-1, 2], 2, 'x'))))"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", line], cwd=root, env={**os.environ, "TMPDIR": str(deep)}, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.endswith("[-1, 2]\n"), done.stderr
    assert list(deep.iterdir()) == []
