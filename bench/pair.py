"""One benchmark: ours and a straightforward reference on the same input, alternately, with a check that they agree."""

import ctypes
import datetime
import gc
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from cprlib.store.files import write_csv

CPU = torch.device("cpu")
TURN = 0.05  # seconds of a turn, at least: short functions are called repeatedly


@dataclass
class Pair:
    """What to compare.

    Attributes:
        name: of the benchmark, with its sizes.
        reference, ours: functions without arguments; their results are compared.
        agree: a function of both results, the reference's first; returns a text, raises AssertionError if they differ.
        floor: the unavoidable part of the work, timed in the same turns; None = not known.
        items: how many of what one call processes, e.g. ``(8, "samples")``.
        repeats: number of turns.
        device: of the work.
    """

    name: str
    reference: Callable[[], Any]
    ours: Callable[[], Any]
    agree: Callable[[Any, Any], str] = lambda a, b: "not compared"
    floor: Callable[[], Any] | None = None
    items: tuple[float, str] | None = None
    repeats: int = 7
    device: torch.device = CPU


def measure(pair: Pair) -> dict[str, Any]:
    """Run a pair alternately.

    Returns:
        Medians in ms, the median ratio with its quartiles, ours over the floor, peak memory of one call of each in MB.
    """
    sides = {"reference": pair.reference, "ours": pair.ours} | ({"floor": pair.floor} if pair.floor else {})
    memory, results, calls = {}, {}, {}
    for name, side in sides.items():
        start = time.process_time()
        memory[name], results[name] = peak(side, pair.device)
        calls[name] = max(1, round(TURN / (time.process_time() - start)))
    agreement = pair.agree(results["reference"], results["ours"])
    del results
    turns = [
        {name: seconds(side, calls[name], pair.device) for name, side in sides.items()} for _ in range(pair.repeats)
    ]
    medians = {name: 1e3 * statistics.median(turn[name] for turn in turns) for name in sides}
    low, middle, high = _quartiles([turn["reference"] / turn["ours"] for turn in turns])
    row = {
        "benchmark": pair.name,
        "ratio": round(middle, 2),
        "ratio_25": round(low, 2),
        "ratio_75": round(high, 2),
        **{f"{name}_ms": round(value, 3) for name, value in medians.items()},
        **{f"{name}_mb": round(memory[name], 1) for name in ("reference", "ours")},
        "agreement": agreement,
    }
    if pair.floor:
        row["over_floor"] = round(statistics.median(turn["ours"] / turn["floor"] for turn in turns), 2)
    if pair.items:
        row["per_second"] = f"{pair.items[0] / medians['ours'] * 1e3:.4g} {pair.items[1]}"
    return row


def text_of(row: dict[str, Any]) -> str:
    """The result as one line of text."""
    line = (
        f"{row['benchmark']}: {row['reference_ms']:.4g} ms, here {row['ours_ms']:.4g} ms, {row['ratio']:.1f} x faster "
        f"({row['ratio_25']:.1f} to {row['ratio_75']:.1f})"
    )
    line += f", {row['over_floor']:.2f} x the floor" if "over_floor" in row else ""
    line += f", {row['per_second']}/s" if "per_second" in row else ""
    return f"{line}; peak {row['reference_mb']:.0f} and {row['ours_mb']:.0f} MB; {row['agreement']}"


def machine(device: torch.device) -> dict[str, Any]:
    """Date, machine and its load."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else _cpu()
    return {
        "date": str(datetime.date.today()),
        "machine": name,
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
    }


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a CSV file."""
    before = [pd.read_csv(path)] if path.exists() else []
    write_csv(path, pd.concat([*before, pd.DataFrame([row])]))


def _cpu() -> str:
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    found = re.search(r"model name\s*: (.+)", text)
    return f"{found[1] if found else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def seconds(function: Callable, calls: int, device: torch.device) -> float:
    """Seconds per call: CPU time of this process on a CPU, as others may use it, too; wall-clock time on a GPU."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    start = clock()
    for _ in range(calls):
        function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (clock() - start) / calls


def peak(function: Callable, device: torch.device) -> tuple[float, Any]:
    """Peak memory of one call above the level before it, in MB (NaN if unknown), and its result."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before, result = torch.cuda.memory_allocated(), function()
        return (torch.cuda.max_memory_allocated() - before) / 1e6, result
    if sys.platform != "linux":
        return float("nan"), function()
    ctypes.CDLL(None).malloc_trim(0)  # return memory freed by earlier calls, or its reuse would not be counted
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    before, result = _status("VmRSS"), function()
    return (_status("VmHWM") - before) / 1e3, result


def _status(name: str) -> int:
    """A value of /proc/self/status, in kB."""
    return int(re.search(rf"{name}:\s*(\d+)", Path("/proc/self/status").read_text())[1])


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    return tuple(statistics.quantiles(values, n=4, method="inclusive")) if len(values) > 1 else (values[0],) * 3
