"""Start the processes that train together, or be one of them.

On one machine torchrun is started here. On several machines it is started on each, or anything else that sets the same
variables (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), see docs/several-machines.md.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, get_type_hints

import torch
from torch import distributed

from cprlib.store.tensors import load_safely
from cprlib.training.ranks import rank, size


def launch(function: str, arguments: Mapping[str, Any], devices: int, device: str = "auto") -> Any:
    """Call a function in several processes of this machine and print what the first one says.

    Where this process is itself one of as many that were started together, on one machine or on several, it calls the
    function with the others.

    Args:
        function: its name, e.g. "cprlib.training.fit:fit".
        arguments: JSON-like; "config" is a mapping of the settings that the function's annotation names.
        devices: processes, each with a GPU of its own where there are GPUs.
        device: "cpu" does without.

    Returns:
        What the first process returned: a tensor, or a list of such.

    Raises:
        ValueError: fewer GPUs or processes than that, or the number of one GPU.
        RuntimeError: a process ended early; all others were ended, too.
    """
    if ":" in device:
        raise ValueError(f"devices: {devices} need as many GPUs, but device is {device!r}; give cuda, or auto")
    if (started := int(os.environ.get("WORLD_SIZE", 1))) > 1:
        if started != devices:
            raise ValueError(f"devices: {devices} asked for, but {started} processes were started (WORLD_SIZE)")
        join(device)
        return call(function, arguments)
    if 0 < torch.cuda.device_count() < devices and device != "cpu":
        raise ValueError(f"devices: {devices} asked for, but this machine has {torch.cuda.device_count()} GPUs")
    path = os.pathsep.join(filter(None, sys.path))
    with tempfile.TemporaryDirectory(prefix="cprlib-") as folder:
        file = Path(folder) / "settings.json"
        file.write_text(json.dumps({"function": function, "arguments": dict(arguments), "device": device}))
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}"]
        process = subprocess.Popen(
            [*torchrun, "-m", "cprlib.training.one_rank", str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "CPR_BATCH": "1"},
        )
        try:
            told = _stream(process)
        finally:  # also where this process is interrupted
            process.terminate()
        if process.wait():
            raise RuntimeError(_cause(told))
        result = file.with_name(RESULT)
        return load_safely(result) if result.exists() else None


def join(device: str) -> None:
    """Meet the processes that were started together with this one; from now on the first one alone prints.

    Args:
        device: with "cpu" this process takes no GPU, else that of its number on its machine.
    """
    if on_gpu := torch.cuda.is_available() and device != "cpu":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    own = torch.device("cuda", torch.cuda.current_device()) if on_gpu else None
    distributed.init_process_group("nccl" if on_gpu else "gloo", device_id=own)
    warnings.filterwarnings("ignore", category=FutureWarning, module="cprlib.training.ranks")  # torch, of its names
    if rank():
        os.environ["CPR_TENSORBOARD"] = "0"
        sys.stdout = open(os.devnull, "w")


def call(function: str, arguments: Mapping[str, Any]) -> Any:
    """Call a function in one of the processes, which have met; the arguments are those of :func:`launch`."""
    called, given = resolve_name(function), dict(arguments)
    if "config" in given:
        kind = get_type_hints(called)["config"]
        given["config"] = kind(**{**given["config"], "devices": size()})
    return called(**given)


def _stream(process: subprocess.Popen) -> list[str]:
    """Print the lines of the training; the rest, torchrun's own, is returned."""
    told = []
    for line in process.stdout:
        if line.startswith(SAID):
            print(line.removeprefix(SAID), end="", flush=True)
        else:
            told.append(line.rstrip())
    process.wait()
    return told


SAID, RESULT, AGAIN = "training | ", "result.pt", "what was finished is kept: run it again"


def _cause(told: list[str]) -> str:
    """Why the processes ended, from torchrun's report."""
    errors = [line.removeprefix("error: ") for line in told if line.startswith("error: ")]
    if errors:
        return errors[0]
    ends = re.findall(r"^ *rank\s*: (\d+).*?exitcode\s*: (-?\d+)", "\n".join(told), re.DOTALL | re.MULTILINE)
    if not ends:
        return f"the processes of the training ended: {told[-1] if told else 'without a word'}"
    rank, code = min(((r, int(c)) for r, c in ends), key=lambda end: (end[1] >= 0, end[1] == -signal.SIGTERM))
    crashes = [line.removeprefix("crash: ") for line in told if line.startswith("crash: ")]
    if crashes and (code >= 0 or code == -signal.SIGTERM):  # else the others crashed as this one was killed
        return f"a process of the training ended: {crashes[0]}; {AGAIN}"
    how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
    return f"process {rank} of the training {how}; {AGAIN}"
