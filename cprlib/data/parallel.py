"""One function over many files in several processes; a failing file never stops the others."""

import atexit
import ctypes
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

try:
    import resource
except ImportError:  # Windows
    resource = None

from cprlib.store.files import socket_folder
from cprlib.store.progress import progress

MEMORY, DAY = 4 * 10**9, 86400  # limits for one file: bytes beyond what a worker has, and seconds

KEPT, OLD_KEPT = 2**28, 2**25  # largest block kept when freed, bytes; an old glibc takes no more than the second


class WorkerKilled(RuntimeError):
    """The process working on an item ended: this item, no other, is to blame."""


def cores() -> int:
    """How many cores this process may use: those its job was given (affinity, control group), or all."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        own = min(own, max(1, round(int(quota) / int(period))))  # "max" is no number: no limit
    return own


def _limited() -> None:
    """Limit a worker, one of many: no thread pool of its own, and no more memory than a video can need."""
    cv2.setNumThreads(1)
    if resource and sys.platform == "linux":
        used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData"))
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (used * 1024 + MEMORY,) * 2)


def short_sockets() -> None:
    """Put the sockets between processes in a folder with a short name, whatever TMPDIR is: long ones are refused."""
    place, settings = socket_folder(), multiprocessing.current_process()._config  # where multiprocessing looks, too
    if place != tempfile.gettempdir() and not settings.get("tempdir"):
        settings["tempdir"] = tempfile.mkdtemp(prefix="cprlib-", dir=place)
        atexit.register(shutil.rmtree, settings["tempdir"], ignore_errors=True)


def keep_memory(worker: int = 0) -> None:
    """Let this process keep freed memory for the next clips (Linux): allocating it anew took up to half of their time.

    Args:
        worker: number, as a DataLoader passes it; not used.
    """
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        return
    top, single = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    libc.mallopt(top, 2 * KEPT)
    libc.mallopt(single, KEPT) or libc.mallopt(single, OLD_KEPT)


def clip_loader(clips: Dataset, workers: int, **options: Any) -> DataLoader:
    """A DataLoader whose processes, this one and `workers` more, keep the memory of clips.

    Each worker prepares two batches ahead; for a GPU they are in pinned memory, which is copied while it computes.
    """
    keep_memory()
    pinned = torch.cuda.is_available()
    return DataLoader(clips, num_workers=workers, worker_init_fn=keep_memory, pin_memory=pinned, **options)


def read_shard(text: str) -> tuple[int, int]:
    """(i, n) from "i/n" on a command line: job i of n, counted from 0."""
    if not (match := re.fullmatch(r"(\d+)/(\d+)", text)):
        raise ValueError(f"shard: {text!r} is not i/n, e.g. 0/8 for the first of eight jobs")
    return int(match[1]), int(match[2])


def check_shard(shard: tuple[int, int]) -> tuple[int, int]:
    """Raise a ValueError unless it is (i, n), job i of n, with i in 0..n-1."""
    if not 0 <= shard[0] < shard[1]:
        raise ValueError(f"shard is {shard}; expected (i, n) with i from 0 to n - 1")
    return shard


def parallel_map(
    function: Callable, items: Sequence, workers: int | None, description: str, seconds: int = DAY
) -> Iterator[tuple[Any, Any]]:
    """Call `function` on each item, in `workers` processes (in this one for 1), showing progress.

    The processes are started afresh, not forked: decord, OpenCV and CUDA do not survive a fork.

    Args:
        function: picklable, of one argument.
        items: arguments.
        workers: number of processes; None = one per core that this process may use.
        description: shown with the progress.
        seconds: time limit of an item in a worker.

    Yields:
        (item, result or the exception that was raised), in the order in which they finish.

    An item that needs more than :data:`MEMORY`, takes too long or ends its process (a crash inside a decoder, the
    machine out of memory) gives an exception as well: the items being worked on are then run again, each in a process
    of its own.
    """
    if workers is not None and workers < 0:
        raise ValueError(f"workers is {workers}; expected a number of processes")
    workers = min(workers or cores(), len(items))
    if workers <= 1:
        for item in progress(items, description):
            yield item, _caught(function, item)
        return
    short_sockets()
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(["torch", "cv2", "av"])  # imported once, not per worker
    start = partial(ProcessPoolExecutor, mp_context=context, initializer=_limited)
    yield from progress(
        _pooled(partial(_caught, partial(_timed, seconds, function)), items, workers, start), description, len(items)
    )


def check_done(failed: Sequence[str], total: int, missing: str) -> None:
    """Raise a RuntimeError if some of `total` videos failed ("file (reason)" each); to be called after all others."""
    if failed:
        raise RuntimeError(
            f"no {missing} for {len(failed)} of {total} videos, the others are done: "
            f"{'; '.join(sorted(failed)[:5])}; repair these or make the manifest again, then rerun"
        )


def _pooled(function: Callable, items: Sequence, workers: int, start: Callable) -> Iterator[tuple[Any, Any]]:
    """Submit only as many items as there are workers, to know which ones a killed worker may have been at."""
    rest, running, pool = iter(items), {}, start(workers)
    try:
        while True:
            for item in islice(rest, workers - len(running)):
                running[pool.submit(function, item)] = item
            if not running:
                return
            suspects = []
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                item = running.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    suspects.append(item)
                else:
                    yield item, future.result()
            if suspects:
                suspects += running.values()
                running, pool = {}, start(workers)
            for item in suspects:
                yield item, _alone(function, item, start)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _alone(function: Callable, item: Any, start: Callable) -> Any:
    """The result in a process of its own, or a WorkerKilled if that ended."""
    with start(1) as pool:
        try:
            return pool.submit(function, item).result()
        except BrokenProcessPool:
            return WorkerKilled("its process ended (a crash in the decoder, too little memory, or it took too long)")


def _timed(seconds: int, function: Callable, item: Any) -> Any:
    """The result; the process ends if that takes too long, even inside native code."""
    if not hasattr(signal, "alarm"):  # Windows
        return function(item)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    try:
        return function(item)
    finally:
        signal.alarm(0)


def _caught(function: Callable, item: Any) -> Any:
    """The result, or the exception as a value."""
    try:
        return function(item)
    except MemoryError:
        return WorkerKilled(f"it needs more than {MEMORY / 1e9:.0f} GB of memory")
    except Exception as error:  # reported by the caller, with all others, after the last item
        return error
