"""The manifest: a typed table with one row per video, the only description of a data set.

In the file, a path is relative to the manifest's folder if it is below that folder, or if both are below the project,
so that they can be moved together; in memory all paths are absolute.
"""

import io
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from cprlib.data.files import stored_path
from cprlib.data.lmdb_frames import check_lmdbs, lmdb_file
from cprlib.data.text_table import read_text_table
from cprlib.store.files import atomic_path
from cprlib.store.tables import read_parquet

COLUMNS = {
    "video_id": "int64",  # the row's number, 0..N-1
    "path": "str",  # absolute; <LMDB>/<Class>/<video> where the reader is lmdb
    "label": "int64",  # 0..classes-1
    "class_name": "str",
    "source_id": "str",  # the recording it was cut from; siblings share it
    "group": "str",  # videos of a group stay on one side of a split (a person, a camera); source_id where not given
    "split": "str",  # one of SPLITS
    "num_frames": "int64",
    "width": "int64",  # pixels
    "height": "int64",  # pixels
    "fps": "float64",
    "flow_path": "str",  # "" = no flow yet
    "reader": "str",  # one of READERS
}
PATHS = ("path", "flow_path")
SPLITS = ("train", "test", "unused")
READERS = ("seek", "pyav", "decord", "lmdb")
UNLABELLED = "unlabelled"  # the only class if no class is known


@dataclass(frozen=True)
class Manifest:
    """Videos with labels, recordings and splits.

    Args:
        table: a row per video, with the columns of `COLUMNS`.
        whole: the full table if `table` is a part of it, else None. A part is neither validated nor written.
    """

    table: pd.DataFrame
    whole: pd.DataFrame | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def all_rows(self) -> pd.DataFrame:
        """The table of the whole data set."""
        return self.table if self.whole is None else self.whole

    @property
    def class_names(self) -> list[str]:
        """Class names of the whole data set, indexed by label."""
        return self.all_rows.drop_duplicates("label").sort_values("label").class_name.tolist()

    @property
    def is_labelled(self) -> bool:
        """Whether classes are known; if not, only what needs none can be trained or shown."""
        return self.class_names != [UNLABELLED]

    @property
    def source_codes(self) -> np.ndarray:
        """(N,) int64 number of each row's recording, the same in the whole and in its parts."""
        codes = pd.factorize(self.all_rows.source_id)[0].astype(np.int64)
        return codes if self.whole is None else codes[self.table.video_id]

    def split(self, name: str) -> "Manifest":
        """The rows of one split; they keep their video_id, class names and source codes.

        Raises:
            ValueError: unknown split, or no video in it.
        """
        rows = self.table[self.table.split == name].reset_index(drop=True)
        if name not in SPLITS or rows.empty:
            counts = self.table.split.value_counts().to_dict()
            raise ValueError(f"no video in split {name!r}; the manifest holds {counts}")
        return Manifest(rows, self.all_rows)

    def validate(self) -> "Manifest":
        """Check every rule a manifest obeys.

        Returns:
            The same rows, with the columns in order and in their types.

        Raises:
            ValueError: naming the row, column or class that breaks a rule.
        """
        table = _typed(self.table)
        _check_values(table)
        _check_classes(table)
        return Manifest(table, self.whole)

    def write(self, path: str | Path) -> None:
        """Validate and write as CSV or parquet, by the suffix of `path`; an identical file is left alone."""
        table, path = self.validate().table, Path(os.path.abspath(path))
        check_suffix(path)
        for column in PATHS:
            table[column] = [stored_path(text, path.parent) for text in table[column]]
        content = io.BytesIO()
        save = table.to_csv if path.suffix == ".csv" else table.to_parquet
        save(content, index=False)
        if not path.is_file() or path.read_bytes() != content.getvalue():
            with atomic_path(path) as tmp:
                tmp.write_bytes(content.getvalue())

    @classmethod
    def read(cls, path: str | Path) -> "Manifest":
        """Read a CSV or parquet file and validate it; paths become absolute, relative ones start at its folder.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file breaks a rule; the message names file, row and remedy.
        """
        path = Path(os.path.abspath(path))
        check_suffix(path)
        if not path.is_file():
            raise FileNotFoundError(f"no manifest at {path}; make it with python -m data_prep.ucf101 (or own_videos …)")
        try:
            is_text = path.suffix == ".csv"
            table = read_text_table(path, strip=False)[0] if is_text else read_parquet(path, "make the manifest again")
            table = cls(table).validate().table
            for column in PATHS:
                table[column] = [os.path.normpath(path.parent / text) if text else "" for text in table[column]]
            return cls(table)
        except (ValueError, OSError) as error:
            raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error

    def check_files(self, views: tuple[str, ...] = ("rgb",)) -> "Manifest":
        """Check that the files of the views are there, before hours of work begin.

        Raises:
            ValueError: flow was asked for and a video has none yet.
            FileNotFoundError: naming the first file that is missing, and how many.
            VideoError: an LMDB is truncated.
        """
        without = self.table.path[self.table.flow_path == ""]
        if "flow" in views and len(without):
            raise ValueError(
                f"no flow yet for {without.iloc[0]} (and {len(without) - 1} other videos); "
                "run notebook 01_flow_extraction, or cprlib.data.flow.extract_flow"
            )
        for column in ("path", "flow_path")[: 1 + ("flow" in views)]:
            files = dict.fromkeys(map(file_of, self.table[column], self.table.reader))
            missing = [file for file in files if not file.is_file()]
            if missing:
                raise FileNotFoundError(
                    f"{missing[0]} is in the manifest and not on disk ({len(missing)} of "
                    f"{len(files)} files); restore the folder or make the manifest again"
                )
            check_lmdbs(self.table[column][self.table.reader == "lmdb"])
        return self


def file_of(path: str, reader: str) -> Path:
    """The file that a video is read from; many videos share an LMDB."""
    return lmdb_file(Path(path).parents[1]) if reader == "lmdb" else Path(path)


def check_suffix(path: Path) -> None:
    """Raise a ValueError unless a manifest can have this name."""
    if path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"{path}: a manifest ends in .csv or .parquet")


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """The columns in order and in their types."""
    if "source_id" in table:
        group = table["group"] if "group" in table else table.source_id
        table = table.assign(group=group.where(group.notna() & (group.astype(str) != ""), table.source_id))
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise ValueError(f"column {missing[0]!r} is missing; a manifest has {', '.join(COLUMNS)}")
    typed = {}
    for column, dtype in COLUMNS.items():
        values = table[column].reset_index(drop=True)
        if dtype == "str":
            typed[column] = values.astype(object).where(values.notna(), "").map(str)
            continue
        numbers = pd.to_numeric(values, errors="coerce")
        wrong = numbers.isna() | ((numbers % 1 != 0) if dtype == "int64" else False)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            value = values.tolist()[row]
            raise ValueError(f"row {row}: {column} is {value!r}, not a number such as {np.dtype(dtype).type(25)}")
        typed[column] = numbers.astype(dtype)
    return pd.DataFrame(typed)


def _check_values(table: pd.DataFrame) -> None:
    """Rules for one row at a time."""
    if table.empty:
        raise ValueError("no video in the manifest; make it again from a folder with videos")
    duplicated = table.video_id[table.video_id.duplicated()]
    if len(duplicated):
        raise ValueError(f"row {duplicated.index[0]}: video_id {duplicated.iloc[0]} appears twice")
    rules = {
        "video_id": table.video_id == np.arange(len(table)),  # features and logs are indexed by it
        "path": table.path != "",
        "label": table.label >= 0,
        "class_name": table.class_name != "",
        "source_id": table.source_id != "",
        "split": table.split.isin(SPLITS),
        "num_frames": table.num_frames > 0,
        "width": table.width > 0,
        "height": table.height > 0,
        "fps": table.fps > 0,
        "reader": table.reader.isin(READERS),
    }
    texts = dict.fromkeys(("path", "class_name", "source_id"), "a name")
    valid = {**texts, "split": SPLITS, "reader": READERS, "video_id": "the row's number"}
    for column, good in rules.items():
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            value, expected = table[column].tolist()[row], valid.get(column, "a positive number")
            raise ValueError(f"row {row}: {column} is {value!r}; expected {expected}")


def _check_classes(table: pd.DataFrame) -> None:
    """Rules for the classes: one name per label, no gap, none without a training video."""
    names = table.groupby("label").class_name.unique()
    for label, found in names.items():
        if len(found) > 1:
            raise ValueError(f"label {label} has several class names: {', '.join(sorted(found))}")
    first = names.map(lambda found: found[0])
    if first.duplicated().any() or list(names.index) != [*range(len(names))]:
        raise ValueError(f"labels must number the classes 0..{len(names) - 1}, each once")
    trained = set(table.label[table.split == "train"])
    empty = [names[label][0] for label in names.index if label not in trained]
    if empty:
        raise ValueError(
            f"class {empty[0]!r} has no training video ({len(empty)} of {len(names)} classes); "
            "add training videos or leave the class out"
        )
