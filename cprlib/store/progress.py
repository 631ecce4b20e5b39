"""Progress: a bar in JupyterLab or a terminal, sparse lines elsewhere, marked if they come from another process."""

import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO


def progress(
    iterable: Iterable,
    description: str,
    total: int | None = None,
    status: Callable[[], str] | None = None,
    seconds: float = 30.0,
) -> Iterator:
    """Show progress: a bar in JupyterLab or a terminal, a line every `seconds` elsewhere.

    Args:
        iterable: what to go through.
        description: what is being done.
        total: number of items, if `iterable` has no length.
        status: called after an item when progress is shown; e.g. the loss.
        seconds: least time between two lines.

    Yields:
        The items.
    """
    total = len(iterable) if total is None and hasattr(iterable, "__len__") else total
    if not os.environ.get("CPR_BATCH") and ("JPY_SESSION_NAME" in os.environ or sys.stderr.isatty()):
        from tqdm.auto import tqdm

        bar = tqdm(iterable, description, total, disable=total == 0)
        for item in bar:
            yield item
            if status:
                bar.set_postfix_str(status())
        return
    start = last = time.monotonic()
    for done, item in enumerate(iterable, 1):
        yield item
        now = time.monotonic()
        if now - last >= seconds or done == total:
            last = now
            left = f"/{total}, {(now - start) * (total - done) / done:.0f} s left" if total else ""
            print(f"{description}: {done}{left}{', ' + status() if status else ''}", flush=True)


class Marked(io.TextIOBase):
    """Passes on whole lines, each behind a mark that says where it comes from.

    Args:
        stream: that they are written to.
        mark: put before each line.
    """

    def __init__(self, stream: TextIO, mark: str):
        self.stream, self.mark, self.rest = stream, mark, ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        self.stream.writelines(f"{self.mark}{line}\n" for line in lines)
        self.stream.flush()
        return len(text)
