"""Measure speed against straightforward references: ``python -m bench.run [NAMES] [--out FILE] [--device cuda]``.

Each pair runs alternately in one process, so other work on the machine slows both down. With ``--out``, e.g. to
``bench/results/speed.csv``, a row per benchmark is added, with date and machine; ``python -m docs.make_tables`` makes
the tables of README and docs from the newest row of each benchmark.
"""

import argparse
from importlib import import_module
from pathlib import Path

from bench.pair import append_row, machine, measure, text_of
from cprlib.store.errors import one_line
from cprlib.store.files import resolve
from cprlib.training.schedule import pick_device

GROUPS = ("cascade", "samples", "step", "evaluation", "flow", "probe", "explorers")  # modules beside this one


@one_line()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(GROUPS)}; default: all")
    parser.add_argument("--out", help="add the rows to this file, e.g. bench/results/speed.csv")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    args = parser.parse_args()
    for name in args.names:
        if name not in GROUPS:
            parser.error(f"no benchmark {name!r}; choose from {', '.join(GROUPS)}")
    device = pick_device(args.device)
    about = machine(device)
    print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    for name in args.names or GROUPS:
        for pair in import_module(f"bench.{name}").pairs(device):
            row = measure(pair)
            print(text_of(row), flush=True)
            if args.out:
                command = f"python -m bench.run {name}"
                append_row(resolve(Path(args.out)), {**machine(device), **row, "command": command})


if __name__ == "__main__":
    main()
