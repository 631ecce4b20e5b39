"""One function over many files in several processes; a failing file never stops the others."""

import atexit
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import cv2

from cprlib.store.files import socket_folder
from cprlib.store.progress import progress


def _one_thread() -> None:
    """A worker is one of many: no thread pool of its own."""
    cv2.setNumThreads(1)


def short_sockets() -> None:
    """Let processes talk through sockets in a folder with a short name, whatever TMPDIR is: longer ones are refused."""
    place, settings = socket_folder(), multiprocessing.current_process()._config  # where multiprocessing looks, too
    if place != tempfile.gettempdir() and not settings.get("tempdir"):
        settings["tempdir"] = tempfile.mkdtemp(prefix="cprlib-", dir=place)
        atexit.register(shutil.rmtree, settings["tempdir"], ignore_errors=True)


def parallel_map(
    function: Callable, items: Sequence, workers: int | None, description: str
) -> Iterator[tuple[Any, Any]]:
    """Call `function` on each item, in `workers` processes (in this one for 1), showing progress.

    The processes are started afresh, not forked: decord, OpenCV and CUDA do not survive a fork.

    Args:
        function: picklable, of one argument.
        items: arguments.
        workers: number of processes; None = one per core.
        description: shown with the progress.

    Yields:
        (item, result or the exception that was raised), in the order in which they finish.

    Raises:
        RuntimeError: a worker was killed (out of memory, or a crash inside a decoder).
    """
    workers = min(workers or os.cpu_count() or 1, len(items))
    if workers <= 1:
        for item in progress(items, description):
            yield item, _caught(function, item)
        return
    short_sockets()
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(["torch", "cv2", "av"])  # imported once, not per worker
    with ProcessPoolExecutor(workers, context, _one_thread) as pool:
        futures = {pool.submit(_caught, function, item): item for item in items}
        for future in progress(as_completed(futures), description, len(items)):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool as error:
                raise RuntimeError(
                    f"{description}: a worker process was killed near {futures[future]}; "
                    "what was finished is kept: run again, with fewer workers if memory ran out"
                ) from error


def _caught(function: Callable, item: Any) -> Any:
    """The result, or the exception as a value."""
    try:
        return function(item)
    except Exception as error:  # reported by the caller, with all others, after the last item
        return error
