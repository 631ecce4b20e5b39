"""Tables that people and spreadsheets write: read where it is certain what is meant, else refused in one line.

Every value is text and stays as it is, but for blanks around it: "007", "NA" and "True" are names.
"""

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

DELIMITERS = ",;\t"
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
csv.field_size_limit(2**24)


def read_text_table(path: str | Path, needed: Sequence[str] = ()) -> tuple[pd.DataFrame, list[int]]:
    """Read a table of text: comma, semicolon or tab; UTF-8, with or without a mark, or UTF-16 with one.

    Args:
        path: file whose first line names the columns; capitals do not matter.
        needed: columns that must be there.

    Returns:
        The rows with content, all values str; and the line of the file that each begins in, from 1 on.

    Raises:
        ValueError: file, line, what was seen and what to do.
    """
    text = _text(Path(path))
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path} is empty; its first line names the columns{_named(needed)}")
    delimiter = max(DELIMITERS, key=lambda mark: len(_header(lines[0], mark) & {*needed}) * 1000 + lines[0].count(mark))
    records = _records(path, text, delimiter)
    start, header = next(records)
    header = [name.casefold() for name in header]
    width = max((place + 1 for place, name in enumerate(header) if name), default=0)
    for place, name in enumerate(header[:width]):
        if name in header[:place] or not name:
            what = f"column {name!r} appears twice" if name else f"column {place + 1} has no name"
            raise ValueError(f"{path}, line {start}: {what}; give every column a name of its own")
    for name in needed:
        if name not in header:
            raise ValueError(
                f"{path}: no column {name!r}; it has {', '.join(header[:width])}; it needs{_named(needed)[1:]}"
            )
    rows, places = [], []
    for line, values in records:
        if len(values) > width and any(values[width:]):
            raise ValueError(
                f"{path}, line {line}: {len(values)} fields ({', '.join(map(repr, values))}), the first line names "
                f"{width}; put a text with {delimiter!r} in it between double quotes, or remove what is too much"
            )
        if any(values):
            rows.append((values + [""] * width)[:width])
            places.append(line)
    return pd.DataFrame(rows, columns=header[:width], dtype=object), places


def _named(columns: Sequence[str]) -> str:
    return f", {' and '.join(columns)}" if columns else ""


def _text(path: Path) -> str:
    """What a file says, in whatever encoding it certainly has."""
    content = path.read_bytes()
    if content.startswith(UTF16):
        encoding = "utf-16"
    elif b"\0" in content:
        line = content[: content.index(b"\0")].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: a NUL byte, so this is no text; save the table as CSV in UTF-8")
    else:
        encoding = "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: byte {content[error.start]:#04x} is not {encoding[:6].upper().rstrip('-')}; save the table as CSV in UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError(f"{path}, line {text[: text.index(chr(0))].count(chr(10)) + 1}: a NUL character; remove it")
    return text


def _header(line: str, delimiter: str) -> set[str]:
    return {name.strip().strip('"').casefold() for name in line.split(delimiter)}


def _records(path: str | Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """First line and values of each record that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    start = 1
    try:
        for values in reader:
            values = [value.strip() for value in values]
            if any(values):
                yield start, values
            start = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {start}: {error}; close or remove the double quote there") from None
