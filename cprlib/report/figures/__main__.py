"""``python -m cprlib.report.figures RUN``: the paper's figures of any run, as PNG and PDF."""

import argparse

from cprlib.report.figures.catalogue import save_figures
from cprlib.report.run import find_run
from cprlib.store.errors import one_line
from cprlib.store.settings import check_range


def main() -> None:
    """Write the paper's figures of a run with their captions, and say which are left out and why."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("run", help="name or folder of a run, e.g. toy")
    parser.add_argument("--out", help="folder of the figures; by default RUN/figures/paper")
    parser.add_argument("--formats", nargs="+", default=["png", "pdf"], choices=("png", "pdf", "svg"))
    parser.add_argument("--seed", type=int, default=0, help="for the draw of queries in figures 1 and 2")
    given = parser.parse_args()
    with one_line():
        check_range("seed", given.seed, {"least": 0, "most": 2**32 - 1})
        paths, left_out = save_figures(find_run(given.run), given.out, tuple(given.formats), given.seed)
    print(*paths, sep="\n")
    for name, reason in left_out.items():
        print(f"{name} is left out: {reason}")


if __name__ == "__main__":
    main()
