"""One of several processes that train a network: ``torchrun --nproc-per-node N -m cprlib.training.one_rank FILE``.

On several machines torchrun is started on each, with the usual ``--nnodes`` and ``--rdzv-endpoint``. FILE is JSON:
"config" (see :class:`cprlib.training.config.TrainingConfig`), "redo" and "continue_with" of
:func:`cprlib.training.fit.fit`.
"""

import io
import json
import os
import sys
from pathlib import Path

import torch
from torch import distributed

from cprlib.training.config import TrainingConfig
from cprlib.training.fit import fit
from cprlib.training.ranks import SAID, rank, size


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
    """Train; the first error that is foreseen is told in one line."""
    given = json.loads(Path(sys.argv[1]).read_text())
    if on_gpu := torch.cuda.is_available() and given["config"]["device"] != "cpu":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    sys.stdout = _Said(sys.stdout)
    if rank():
        os.environ["CPR_TENSORBOARD"] = "0"
    try:
        config = TrainingConfig(**{**given["config"], "devices": size()})
        fit(config, redo=given.get("redo", False), continue_with=given.get("continue_with", ()))
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        os._exit(1)  # torchrun ends the others
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
