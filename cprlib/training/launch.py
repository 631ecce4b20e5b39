"""Start the processes that train together, or be one of them.

On one machine :func:`launch` starts torchrun. On several machines, start torchrun on each, or anything else that sets
the same variables (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), see docs/several-machines.md.
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
    """Call a function in several processes of this machine and print the output of the first one.

    If this process already belongs to a group started together (WORLD_SIZE), it only joins the group and calls the
    function.

    Args:
        function: its name, e.g. "cprlib.training.fit:fit".
        arguments: JSON-like; "config" is a mapping of settings, of the type that the function's annotation names.
        devices: number of processes, each with its own GPU if there are GPUs.
        device: "cpu" uses no GPU.

    Returns:
        What the first process returned: a tensor or a list of tensors.

    Raises:
        ValueError: too few GPUs, a group of another size, or a device that names a single GPU.
        RuntimeError: a process ended early; the others were stopped.
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
        finally:  # also if this process is interrupted
            process.terminate()
        if process.wait():
            raise RuntimeError(_cause(told))
        result = file.with_name(RESULT)
        return load_safely(result) if result.exists() else None


def join(device: str) -> None:
    """Join the group of processes started together; from now on only the first one prints.

    Args:
        device: "cpu": no GPU; otherwise this process takes the GPU of its local rank.
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
    """Call a function in one process of a joined group; the arguments are those of :func:`launch`."""
    called, given = resolve_name(function), dict(arguments)
    if "config" in given:
        kind = get_type_hints(called)["config"]
        given["config"] = kind(**{**given["config"], "devices": size()})
    return called(**given)


def _stream(process: subprocess.Popen) -> list[str]:
    """Print the training's lines and return the others, which are torchrun's."""
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
        return f"the processes of the training ended: {told[-1] if told else 'without any output'}"
    rank, code = min(((r, int(c)) for r, c in ends), key=lambda end: (end[1] >= 0, end[1] == -signal.SIGTERM))
    crashes = [line.removeprefix("crash: ") for line in told if line.startswith("crash: ")]
    if crashes and (code >= 0 or code == -signal.SIGTERM):  # else the others crashed because this one was killed
        return f"a process of the training ended: {crashes[0]}; {AGAIN}"
    how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
    return f"process {rank} of the training {how}; {AGAIN}"
