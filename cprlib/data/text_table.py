"""Read tables that people and spreadsheets write; refuse, in one line, what is ambiguous.

Every value is text and stays as it is, except for blanks around it: "007", "NA" and "True" are names.
"""

import codecs
import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

TABLES = (".csv", ".tsv", ".txt")
DELIMITERS = ",;\t"
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
csv.field_size_limit(2**24)


def read_text_table(path: str | Path, needed: Sequence[str] = (), strip: bool = True) -> tuple[pd.DataFrame, list[int]]:
    """Read a table of text: comma, semicolon or tab; UTF-8, with or without a byte-order mark, or UTF-16 with one.

    Args:
        path: file whose first line names the columns; capitals do not matter.
        needed: columns that must be there.
        strip: remove blanks around values.

    Returns:
        The rows that are not blank, all values str; and the line of the file where each begins, from 1 on.

    Raises:
        ValueError: file, line, what was seen and what to do.
    """
    text = read_text(Path(path))
    if told := re.match(r"\s*sep=([,;\t])\r?$", text, re.MULTILINE):  # a spreadsheet's own line above the columns
        text = text[: told.start(1) - 4] + text[told.end(1) :]
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        columns = " and ".join(needed) or "of a manifest"
        raise ValueError(f"{path} is empty; its first line names the columns {columns}")
    found = {mark: {name.strip().strip('"').casefold() for name in first.split(mark)} for mark in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda mark: (len(found[mark] & {*needed}), len(found[mark])))
    records = read_records(path, text, delimiter, strip)
    header = _header(path, *next(records), needed)
    rows, places, width = [], [], len(header)
    for line, values in records:
        if any(values[width:]):
            raise ValueError(
                f"{path}, line {line}: {len(values)} fields ({', '.join(map(repr, values))}), the first line names "
                f"{width}; put texts that contain {delimiter!r} between double quotes, or remove the extra fields"
            )
        rows.append((values + [""] * width)[:width])
        places.append(line)
    return pd.DataFrame(rows, columns=header, dtype=object), places


def place_of(text: str, table: Path) -> str:
    """The path of a file that a table names; backslashes are read as slashes if only then there is a file."""
    places = [os.path.normpath(table.parent / name) for name in (text, text.replace("\\", "/"))]
    return next(filter(os.path.isfile, places), places[0])


def _header(path: str | Path, line: int, names: list[str], needed: Sequence[str]) -> list[str]:
    """The names of the columns; a trailing comma adds none, and a first column without a name numbers the rows."""
    header = [name.strip().casefold() for name in names]
    header[0] = header[0] or "index"
    while header and not header[-1]:
        header.pop()
    if len(header) == 1 and any(mark in header[0] for mark in DELIMITERS):
        raise ValueError(f"{path}, line {line}: the whole line is between double quotes; remove them")
    for place, name in enumerate(header):
        if not name or name in header[:place]:
            what = f"column {name!r} appears twice" if name else f"column {place + 1} has no name"
            raise ValueError(f"{path}, line {line}: {what}; give every column a name of its own")
    for name in needed:
        if name not in header:
            raise ValueError(
                f"{path}: no column {name!r}; it has {', '.join(header) or 'none'}, it needs {' and '.join(needed)}"
            )
    return header


def read_text(path: Path) -> str:
    """The text of a file in UTF-8 or UTF-16."""
    content = path.read_bytes()
    encoding = "utf-16" if content.startswith(UTF16) else "utf-8-sig"
    if encoding != "utf-16" and b"\0" in content:
        line = content[: content.index(b"\0")].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: a NUL byte, so this is not a text file; save the table as CSV in UTF-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line, seen = content[: error.start].count(b"\n") + 1, content[error.start : error.end].hex(" ")
        name = encoding.removesuffix("-sig").upper()
        raise ValueError(f"{path}, line {line}: byte {seen} is not {name}; save the table as CSV in UTF-8") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ValueError(f"{path}, line {line}: a NUL character; remove it")
    return text


def read_records(
    path: str | Path, text: str, delimiter: str = ",", strip: bool = True
) -> Iterator[tuple[int, list[str]]]:
    """First line and values of each record that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=strip, strict=True)
    start = 1
    try:
        for values in reader:
            if any(value.strip() for value in values):
                yield start, [value.strip() for value in values] if strip else values
            start = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {start}: {error}; close or remove the double quote there") from None
