"""Train and evaluate over and over in one process: ``python -m bench.soak [--minutes 30] [--out FILE]``.

The chain is :mod:`bench.chain`, each time in an empty folder. Memory, open files and threads must not grow.
"""

import argparse
import gc
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import psutil

from bench.chain import PARTS, make_videos
from bench.faults import tell
from cprlib.store.errors import one_line


def measured(minutes: float, chains: int) -> dict[str, float]:
    """What this process holds now; memory that it could share with other processes (file maps) is not counted."""
    gc.collect()
    process = psutil.Process()
    memory = process.memory_full_info()
    return {
        "minutes": round(minutes, 1),
        "chains": chains,
        "memory, MB": round(memory.uss / 1e6, 1),
        "open files and sockets": process.num_fds(),
        "threads": process.num_threads(),
        "processes": len(process.children(recursive=True)),
    }


@one_line()
def main() -> None:
    """Print the table, and write it to --out."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--out", help="file to write")
    args = parser.parse_args()
    start, rows = time.monotonic(), []
    with TemporaryDirectory(prefix="cprlib-") as name:
        videos = Path(name) / "toy/videos.csv"
        videos.parent.mkdir()
        make_videos(videos, videos.parent)
        while (minutes := (time.monotonic() - start) / 60) < args.minutes or len(rows) < 3:
            with TemporaryDirectory(dir=name) as place:
                for part in PARTS.values():
                    part(videos, Path(place))
            rows.append(measured(minutes, len(rows) + 1))
            print(rows[-1], flush=True)
    tell("bench.soak", "", pd.DataFrame(rows), args.out)


if __name__ == "__main__":
    main()
