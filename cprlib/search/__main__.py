"""Find videos like this one.

python -m cprlib.search index FOLDER --run outputs/toy/cpr [--out INDEX]
python -m cprlib.search query INDEX FILE [--top 10] [--at SECONDS] [--json | --csv | --html PAGE]
python -m cprlib.search query FOLDER FILE --run outputs/toy/cpr     both in one command
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from cprlib.search.index import ABOUT, Index, check_file, default_index, open_index
from cprlib.search.query import KINDS, readable, search
from cprlib.store.errors import one_line


def main(args: Sequence[str] | None = None) -> None:
    """The commands ``index`` and ``query``."""
    options = _parser().parse_args(args)
    with one_line():
        _index(options) if options.command == "index" else _query(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cprlib.search", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    index = commands.add_parser("index", help="make or update the index of a folder")
    index.add_argument("videos", help="folder of videos, with or without subfolders; or a CSV with a column path")
    query = commands.add_parser("query", help="find the videos most like a file")
    query.add_argument("index", help="an index, or a folder or CSV of videos, which is indexed first")
    query.add_argument("video", help="a file, in the index or not")
    query.add_argument("--top", type=int, default=10, help="how many videos (default: 10)")
    query.add_argument("--at", type=float, metavar="SECONDS", help="search for this moment of the file")
    query.add_argument("--by", choices=KINDS, help="compare with whole videos, or with each one's best window (--at)")
    query.add_argument("--view", help="compare in one view only, e.g. flow")
    query.add_argument("--itself", action="store_true", help="include the file itself")
    form = query.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--csv", action="store_true")
    form.add_argument("--html", metavar="PAGE", help="write a page with moving thumbnails")
    for command in (index, query):
        command.add_argument("--run", help="networks: a method of a run (outputs/toy/cpr), a training, a .pth.tar file")
        command.add_argument("--out", help="folder of the index (default: in outputs/search)")
        command.add_argument("--workers", type=int, help="processes (default: one per core)")
    return parser


def _index(options: argparse.Namespace, tell=print) -> Index:
    from cprlib.search.update import update_index  # needs the networks

    before = Path(options.out or default_index(options.videos))
    run = options.run or (open_index(before).networks if (before / ABOUT).exists() else None)
    if run is None:
        raise ValueError("no networks: give --run, e.g. --run outputs/toy/cpr")
    index, update = update_index(options.videos, run, options.out, options.workers)
    tell(f"{index.folder}: {len(index)} videos ({update.new} new, {update.known} known, {update.gone} gone)")
    for path, problem in update.problems.items():
        tell(f"  left out: {os.path.relpath(path, index.root)}: {problem}")
    return index


def _query(options: argparse.Namespace) -> None:
    if options.html and (Path(options.html).is_dir() or Path(options.html).suffix.lower() not in (".html", ".htm")):
        raise ValueError(f"--html {options.html}: name the page to write, ….html")
    if (Path(options.index) / ABOUT).is_file():
        index = open_index(options.index)
    elif Path(options.index).exists() and options.run:
        check_file(options.video)  # before an hour of indexing
        options.videos = options.index
        index = _index(options, tell=(lambda line: None) if options.json or options.csv else print)
    else:
        index = open_index(options.out or default_index(options.index))
    chosen = {name: getattr(options, name) for name in ("top", "at", "by", "view", "itself", "run")}
    found = search(index, options.video, **chosen)
    if options.json:
        print(found.to_json(orient="records", indent=1, double_precision=6, force_ascii=False))
    elif options.csv:
        print(found.to_csv(index=False), end="")
    elif options.html:
        from cprlib.search.page import write_results  # decodes videos

        print(write_results(Path(options.html), index, options.video, found, options.at))
    else:
        print(readable(found, index).to_string(index=False) if len(found) else "the index holds no other video")


if __name__ == "__main__":
    main()
