"""One of several processes that work together: ``torchrun --nproc-per-node N -m cprlib.training.one_rank FILE``.

On several machines torchrun is started on each, with the usual ``--nnodes`` and ``--rdzv-endpoint``. FILE is JSON:
"function", e.g. "cprlib.training.fit:fit", "arguments" of it, with its "config" as a mapping, and "device". Tensors
that it returns are written beside FILE, as result.pt.
"""

import io
import json
import os
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import get_type_hints

import torch
from torch import distributed

from cprlib.store.tensors import save_tensors
from cprlib.training.ranks import RESULT, SAID, rank, size


class _Said(io.TextIOBase):
    """Marks the lines of the first process and swallows those of the others."""

    def __init__(self, stream):
        self.stream, self.rest = stream, ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        if not rank():
            self.stream.writelines(f"{SAID}{line}\n" for line in lines)
            self.stream.flush()
        return len(text)


def main() -> None:
    """Call the function; the first error that is foreseen is told in one line."""
    file = Path(sys.argv[1])
    given = json.loads(file.read_text())
    if on_gpu := torch.cuda.is_available() and given["device"] != "cpu":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    own = torch.device("cuda", torch.cuda.current_device()) if on_gpu else None
    distributed.init_process_group("nccl" if on_gpu else "gloo", device_id=own)
    sys.stdout = _Said(sys.stdout)
    if rank():
        os.environ["CPR_TENSORBOARD"] = "0"
    try:
        function, arguments = resolve_name(given["function"]), given["arguments"]
        if "config" in arguments:
            kind = get_type_hints(function)["config"]
            arguments["config"] = kind(**{**arguments["config"], "devices": size()})
        result = function(**arguments)
        if isinstance(result, torch.Tensor | list) and not rank():
            save_tensors(file.with_name(RESULT), result)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        os._exit(1)  # torchrun ends the others
    except Exception as error:  # e.g. the GPU's memory is full, or another process has ended
        print(f"crash: {type(error).__name__}: {str(error).partition(chr(10))[0]}", file=sys.stderr, flush=True)
        os._exit(1)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
