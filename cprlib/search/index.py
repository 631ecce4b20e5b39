"""An index on disk: its videos, where their vectors are, and the networks that made them.

The networks, and torch, are loaded only for a query with a file that the index does not hold.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cprlib.data.files import file_stamp, fingerprint
from cprlib.search.flat import Flat
from cprlib.search.shards import Vectors, best_of_each, read_vectors
from cprlib.store.files import read_json, resolve
from cprlib.store.fingerprint import Fingerprint
from cprlib.store.tables import read_parquet

if TYPE_CHECKING:
    from cprlib.evaluation.video_encoder import VideoEncoder

ABOUT, VIDEOS = "index.json", "videos.parquet"
ENTRIES = {"source": str, "root": str, "encoder": str, "fingerprint": dict, "parts": dict}  # of index.json
PLACE = ["shard", "row", "first", "count"]
COLUMNS = ["path", "content", "size", "time", "problem", *PLACE]


class Index:
    """An index on disk.

    Args:
        folder: made by :func:`update_index`.

    Attributes:
        videos: one row per video: path, content, and where its vectors are.
        copies: content -> all files with it.
        problems: file -> why it is left out.
        parts: view -> its columns of a vector.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.about = read_about(self.folder)
        table = read_table(self.folder)
        self.problems = dict(table[table.problem != ""][["path", "problem"]].itertuples(index=False))
        usable = table[table.problem == ""]
        self.copies = usable.groupby("content")["path"].agg(list).to_dict()
        self.videos = usable.drop_duplicates("content").reset_index(drop=True)
        self.parts = {view: slice(*ends) for view, ends in self.about["parts"].items()}
        self.flat: dict[str, Flat | None] = {}  # kind -> None from its first query on, then FAISS

    def __len__(self) -> int:
        return len(self.videos)

    @property
    def root(self) -> Path:
        """The folder that contains all videos."""
        return Path(self.about["root"])

    @property
    def networks(self) -> Path:
        """Where the networks were that made the index; in the same project they may be moved together."""
        return Path(os.path.normpath(os.path.join(os.path.realpath(self.folder), self.about["encoder"])))

    def encoder(self, run: str | Path | None = None) -> VideoEncoder:
        """The networks that made the index.

        Args:
            run: where they are now, if they were moved.

        Raises:
            FileNotFoundError: they are not there.
            ValueError: they have changed.
        """
        encoder = cached_encoder(str(run or self.networks))
        check_same_encoder(self.folder, self.about, encoder)
        return encoder

    def vectors(self, video: str | Path, run: str | Path | None = None) -> Vectors:
        """The vectors of a file: from the index if it holds them, else newly encoded."""
        check_file(video)
        same = self.videos[self.videos.content == fingerprint(video)]
        if len(same):
            return read_vectors(self.folder, same.iloc[0])
        return Vectors(*(x.numpy() for x in self.encoder(run).vectors(video)))

    def similarities(self, query: np.ndarray, by: str, view: str | None = None, top: int | None = None) -> np.ndarray:
        """Cosine of a query, float32 (F,), with each video ("whole") or its most similar window ("windows"): (V,).

        With `top`, values of videos below the `top` most similar (and their ties) may be -inf.
        """
        if view is not None and view not in self.parts:
            raise ValueError(f"view is {view!r}; this index has {', '.join(self.parts)}")
        columns = slice(None) if view is None else self.parts[view]
        share = 1 if view is None else len(self.parts)  # a view's part of a vector has length 1 / √views
        best = self._by_faiss(query, by, columns, top) if top else None
        return share * (best_of_each(self.folder, self.videos, query, by, columns) if best is None else best)

    def _by_faiss(self, query: np.ndarray, by: str, columns: slice, top: int) -> np.ndarray | None:
        """The same by FAISS, from the second query on, when reading all vectors pays off; None if not possible."""
        if by not in self.flat:
            self.flat[by] = None
            return None
        with suppress(ImportError, MemoryError):
            self.flat[by] = self.flat[by] or Flat(self.folder, self.videos, by)
            return self.flat[by].best_of_each(query, columns, top)
        return None


def check_file(video: str | Path) -> None:
    """Raise a FileNotFoundError if the query is not a file."""
    if not Path(video).is_file():
        told = "is a folder; query with one of its files" if Path(video).is_dir() else "is no file; correct the path"
        raise FileNotFoundError(f"{Path(video)} {told}")


def read_about(folder: Path) -> dict:
    """The description of an index: source and root of its videos, its encoder with fingerprint, and parts.

    Raises:
        ValueError: the file is damaged.
    """
    about = read_json(folder / ABOUT)
    if not isinstance(about, dict) or not all(isinstance(about.get(name), kind) for name, kind in ENTRIES.items()):
        raise ValueError(f"{folder / ABOUT} does not describe an index; delete {folder} and make the index again")
    return about


def open_index(folder: str | Path) -> Index:
    """Read an index.

    Raises:
        FileNotFoundError: there is none.
    """
    if not (Path(folder) / ABOUT).is_file():
        raise FileNotFoundError(f"no index at {folder}; make it with python -m cprlib.search index VIDEOS --run RUN")
    return Index(folder)


def default_index(videos: str | Path, encoder: VideoEncoder | None = None) -> Path:
    """The default folder of an index.

    Args:
        videos: its folder of videos; if that was moved, the index stays where it is.
        encoder: its networks; None: the most recently updated index of these videos.
    """
    place, indexes = Path(os.path.realpath(videos)), resolve("outputs/search")
    there = [about.parent for about in indexes.glob(f"*/{ABOUT}") if _is_of(about, place, encoder)]
    parts = {"folder": str(place), "encoder": encoder and encoder.fingerprint.hash}
    new = indexes / f"{place.name}-{Fingerprint(parts).hash[:8]}"
    return max(there, key=lambda folder: folder.stat().st_mtime, default=new)


def _is_of(about: Path, place: Path, encoder: VideoEncoder | None) -> bool:
    """Whether an index was made by these networks, of this folder or of one that was moved here with most files."""
    with suppress(ValueError, OSError):  # a damaged index raises when it is queried
        known = read_about(about.parent)
        if encoder and Fingerprint(known["fingerprint"]).differences(encoder.fingerprint):
            return False
        if known["source"] == str(place) or Path(known["source"]).exists():
            return known["source"] == str(place)
        files = read_table(about.parent)[["path", "size"]].itertuples(index=False)
        inside = [(place / os.path.relpath(path, known["root"]), size) for path, size in files]
        return sum(path.is_file() and path.stat().st_size == size for path, size in inside) > len(inside) / 2
    return False


def check_same_encoder(folder: Path, about: dict, encoder: VideoEncoder) -> None:
    """Raise a ValueError that names the differences if an index was made by other networks."""
    told = Fingerprint(about["fingerprint"]).differences(encoder.fingerprint)
    if told:
        raise ValueError(
            f"{folder} was made with other networks than {encoder.path} ({'; '.join(told.values())}); give another "
            "folder with --out, the networks that it was made with, or delete it"
        )


def cached_encoder(path: str) -> VideoEncoder:
    """The networks at a path, loaded again only if one of their files has changed."""
    from cprlib.evaluation.video_encoder import find_networks

    place = resolve(path)
    files = [place]  # published weights
    if not place.is_file() or place.suffix == ".pt":
        files = [file for folder in find_networks(place).values() for file in sorted(folder.glob("*.pt"))]
    return _loaded(path, tuple((str(file), *file_stamp(file)) for file in files))


@lru_cache(2)
def _loaded(path: str, stamps: tuple) -> VideoEncoder:
    from cprlib.evaluation.video_encoder import load_encoder

    return load_encoder(path)


def read_table(folder: Path) -> pd.DataFrame:
    """The table of all files, including copies and files left out."""
    path, remedy = folder / VIDEOS, f"delete {folder} and make the index again"
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS)
    table = read_parquet(path, remedy)
    if not set(COLUMNS) <= set(table):  # pandas also reads a folder of this name, without columns
        raise ValueError(f"{path} is damaged; {remedy}")
    return table
