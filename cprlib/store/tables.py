"""Tables of numbers with a hash of their values, checked whenever they are read; and tables of results as CSV."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cprlib.store.files import atomic_path

HASH = b"hash"


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table of numbers as parquet, with a hash in its metadata."""
    plain = pa.Table.from_pandas(table, preserve_index=False)
    notes = {**plain.schema.metadata, HASH: _hash_table(table).encode()}
    with atomic_path(path) as tmp:
        pq.write_table(plain.replace_schema_metadata(notes), tmp)


def read_table(path: str | Path) -> pd.DataFrame:
    """What `write_table` was given.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        plain = pq.ParquetFile(path).read()
        table = plain.to_pandas()
        told = (plain.schema.metadata or {}).get(HASH)
        fits = told is None or told.decode() == _hash_table(table)
    except Exception as error:  # damaged bytes may make pyarrow raise anything
        raise _damaged(path) from error
    if not fits:
        raise _damaged(path)
    return table


def read_csv(path: str | Path, needed: Sequence[str] = (), **options: Any) -> pd.DataFrame:
    """A table of results, as :func:`pandas.read_csv` reads it; a ValueError if it is damaged or lacks a column."""
    try:
        table = pd.read_csv(path, **options)
    except (ValueError, OSError) as error:  # pandas' errors derive from these
        raise ValueError(
            f"{path} is no table ({' '.join(str(error).split())}); delete it and run its step again"
        ) from error
    if missing := [name for name in needed if name not in table]:
        raise ValueError(f"{path} has no column {missing[0]}; delete it and run its step again")
    return table


def read_parquet(path: str | Path, remedy: str) -> pd.DataFrame:
    """A table of texts and numbers; a ValueError with a remedy if it is damaged."""
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:  # pyarrow's errors derive from these
        raise ValueError(f"{path} is damaged; {remedy}") from error


def _damaged(path: str | Path) -> ValueError:
    return ValueError(f"{path} is damaged; put back a copy, or delete its folder and train again")


def _hash_table(table: pd.DataFrame) -> str:
    total = hashlib.sha256()
    for name, column in table.items():
        values = column.to_numpy()
        if values.dtype.hasobject:
            raise TypeError(f"column {name!r} holds no plain numbers")
        total.update(f"{name} {values.dtype} {len(values)}".encode() + values.tobytes())
    return total.hexdigest()[:32]
