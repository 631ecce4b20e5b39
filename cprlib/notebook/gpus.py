"""GPUs of this machine for the steps of the pipeline: ``python -m cprlib.notebook.gpus NUMBER COMMAND ...``.

A command gets the GPUs that the fewest other commands use, in ``CUDA_VISIBLE_DEVICES``, and keeps them until it ends,
however it ends. It never waits: the pipeline decides how many steps run at once.
"""

import argparse
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cprlib.store.files import lock


def visible() -> list[str]:
    """The GPUs that this process may use, as CUDA names them: those of ``CUDA_VISIBLE_DEVICES`` if it is set."""
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        names = [name.strip() for name in given.split(",")]
        return list(itertools.takewhile(lambda name: name not in ("", "-1"), names))
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    parts = re.findall(r"\(UUID: (MIG-[^)]+)\)", listed)  # of a divided GPU a process sees one part, by its name
    return parts or [str(number) for number, _ in enumerate(re.findall(r"^GPU ", listed, re.MULTILINE))]


def take(number: int) -> list[str]:
    """Reserve `number` visible GPUs, or all if there are fewer, for this process and the command it becomes."""
    gpus, mine = visible(), []
    folder = Path(tempfile.gettempdir()) / f"cprlib-gpus-{getattr(os, 'getuid', int)()}"
    folder.mkdir(exist_ok=True)
    for others in itertools.count():  # first GPUs that no other process has, then those that one has, …
        for gpu in gpus:
            file = folder / f"{gpu.replace('/', '-')}.{others}"
            if len(mine) < min(number, len(gpus)) and gpu not in mine and _locked(file):
                mine.append(gpu)
        if len(mine) >= min(number, len(gpus)):
            return mine


def _locked(path: Path) -> bool:
    """Lock a file until this process ends; False if another process has it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    if lock(handle) is False:
        os.close(handle)
        return False
    os.set_inheritable(handle, True)  # the lock stays with the command
    return True


def main() -> None:
    """Become the command, with GPUs of its own if there are any."""
    parser = argparse.ArgumentParser("python -m cprlib.notebook.gpus", description=main.__doc__)
    parser.add_argument("number", type=int, help="how many GPUs")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    number, command = vars(parser.parse_args()).values()
    if not command or not shutil.which(command[0]):
        parser.error(f"no command {' '.join(command[:1])}; give one after the number")
    if gpus := take(number):
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    if os.name == "nt":
        sys.exit(subprocess.run(command).returncode)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
