"""UCF101: a manifest from a folder of videos and the official split files.

    python -m data_prep.ucf101 VIDEOS SPLITS OUT_MANIFEST --split 1

VIDEOS holds the videos, at any depth and in any container; SPLITS holds classInd.txt,
trainlist01.txt and testlist01.txt. The recording of v_PullUps_g08_c03 is v_PullUps_g08.
"""

import argparse
from pathlib import Path

import pandas as pd

from cprlib.data.files import find_videos
from cprlib.data.manifest import Manifest
from cprlib.data.text_table import read_text
from cprlib.store.files import resolve
from data_prep.common import Listed, describe, match, run


def build(
    videos: str | Path, splits: str | Path, split: int = 1, workers: int | None = None, memory: Path | None = None
) -> tuple[Manifest, pd.DataFrame]:
    """Describe the videos of one official split.

    Args:
        videos: folder of videos.
        splits: folder of the official lists.
        split: 1, 2 or 3.
        workers: processes; None = one per core.
        memory: file that keeps what was found in each video, so that it is inspected only once.

    Returns:
        The manifest, and the problems (columns path, reason). Labels follow classInd.txt,
        without classes that have no video.

    Raises:
        FileNotFoundError: no video, or no list for this split.
        ValueError: the lists belong to other videos, or a line cannot be read.
    """
    folder = resolve(splits)
    classes, listed = read_lists(folder, split)
    aside: list[dict] = []
    entries, problems = match(find_videos(resolve(videos), aside), listed, folder)
    return describe(entries, classes, workers, problems + aside, memory=memory)


def read_lists(folder: Path, split: int) -> tuple[list[str], list[Listed]]:
    """The class names, in order, and the videos of one official split.

    Raises:
        FileNotFoundError: no list for this split.
        ValueError: a line cannot be read.
    """
    classes, listed = [line.split()[-1] for line in _lines(folder / "classInd.txt")], []
    for part in ("train", "test"):
        path = folder / f"{part}list{split:02}.txt"
        listed += [_listed(line, part, classes, path) for line in _lines(path)]
    return classes, listed


def _lines(path: Path) -> list[str]:
    """The lines of a list, without blank ones."""
    if not path.is_file():
        raise FileNotFoundError(
            f"no {path.name} in {path.parent}; give the folder of the official UCF101 lists "
            "(ucfTrainTestlist) and --split 1, 2 or 3"
        )
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def _listed(line: str, split: str, classes: list[str], path: Path) -> Listed:
    """A line such as ``PullUps/v_PullUps_g08_c03.avi 69``."""
    name = line.split()[0]
    class_name, _, file = name.partition("/")
    source, clip, _ = file.rpartition("_c")
    if class_name not in classes or not clip:
        raise ValueError(f"{path}: cannot read {line!r}; expected Class/v_Class_gXX_cYY.avi")
    return Listed(name, class_name, source, split)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", help="folder of videos")
    parser.add_argument("splits", help="folder of the official lists")
    parser.add_argument("--split", type=int, choices=(1, 2, 3), default=1)
    run(parser, lambda args: build(args.videos, args.splits, args.split, args.workers, args.memory))


if __name__ == "__main__":
    main()
