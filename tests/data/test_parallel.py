import os
import signal
from functools import partial

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
