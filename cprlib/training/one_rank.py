"""One of several processes that work together: ``torchrun --nproc-per-node N -m cprlib.training.one_rank FILE``.

:func:`cprlib.training.launch.launch` writes FILE: "function", "arguments" and "device", as JSON. Tensors that the
function returns are written beside it, as result.pt.
"""

import os
import sys
from pathlib import Path

import torch
from torch import distributed

from cprlib.store.files import read_json
from cprlib.store.progress import Marked
from cprlib.store.tensors import save_tensors
from cprlib.training.launch import RESULT, SAID, call, join
from cprlib.training.ranks import rank


def main() -> None:
    """Call the function; report an error in one line and end."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    file = Path(sys.argv[1])
    try:
        given = read_json(file)
        join(given["device"])
        sys.stdout = Marked(sys.stdout, SAID)  # of the first process; the others are silent
        result = call(given["function"], given["arguments"])
        if isinstance(result, torch.Tensor | list) and not rank():
            save_tensors(file.with_name(RESULT), result)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        os._exit(1)  # torchrun stops the others
    except Exception as error:  # e.g. GPU out of memory, or another process has ended
        print(f"crash: {type(error).__name__}: {str(error).partition(chr(10))[0]}", file=sys.stderr, flush=True)
        os._exit(1)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
