"""HMDB51: a manifest from a folder of videos and the official split files.

    python -m data_prep.hmdb51 VIDEOS SPLITS OUT_MANIFEST --split 1

VIDEOS holds the videos, at any depth and in any container; SPLITS holds <class>_test_split1.txt.
Clips cut from one film share its name: the recording of 21_wave_u_nm_np1_fr_goo_5 is 21. A film of several classes is
one recording per class, as different actions are not siblings.
"""

import argparse
from pathlib import Path

import pandas as pd

from cprlib.data.files import find_videos
from cprlib.data.manifest import Manifest
from cprlib.data.text_table import read_text
from cprlib.store.files import resolve
from data_prep.common import Listed, describe, match, run

PARTS = {"0": "unused", "1": "train", "2": "test"}


def build(
    videos: str | Path, splits: str | Path, split: int = 1, workers: int | None = None, memory: Path | None = None
) -> tuple[Manifest, pd.DataFrame]:
    """Describe the videos of one official split; those marked 0 become "unused".

    Args, returns and errors: as `data_prep.ucf101.build`; labels are in alphabetical order.
    """
    folder = resolve(splits)
    lists = sorted(folder.glob(f"*_test_split{split}.txt"))
    if not lists:
        raise FileNotFoundError(
            f"no *_test_split{split}.txt in {folder}; give the folder of the official HMDB51 lists "
            "(testTrainMulti_7030_splits) and --split 1, 2 or 3"
        )
    listed = []
    for path in lists:
        class_name = path.name.removesuffix(f"_test_split{split}.txt")
        lines = read_text(path).splitlines()
        listed += [_listed(line, class_name, path) for line in lines if line.strip()]
    aside: list[dict] = []
    entries, problems = match(find_videos(resolve(videos), aside), listed, folder)
    classes = sorted({item.class_name for item in listed})
    return describe(entries, classes, workers, problems + aside, memory=memory)


def _listed(line: str, class_name: str, path: Path) -> Listed:
    """A line such as ``21_wave_u_nm_np1_fr_goo_5.avi 1``."""
    name, _, part = line.strip().rpartition(" ")
    recording, found, _ = name.rpartition(f"_{class_name}_")
    if part not in PARTS or not found:
        raise ValueError(f"{path}: cannot read {line!r}; expected <recording>_{class_name}_….avi and 0, 1 or 2")
    return Listed(f"{class_name}/{name.strip()}", class_name, recording, PARTS[part])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", help="folder of videos")
    parser.add_argument("splits", help="folder of the official lists")
    parser.add_argument("--split", type=int, choices=(1, 2, 3), default=1)
    run(parser, lambda args: build(args.videos, args.splits, args.split, args.workers, args.memory))


if __name__ == "__main__":
    main()
