"""JSON with a hash of its content, checked whenever it is read.

For tables see :mod:`cprlib.store.tables`; files of ``torch.save`` carry a checksum of each of their parts, see
:func:`cprlib.store.tensors.load_safely`. A file from before there were hashes is accepted as it is.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cprlib.store.files import atomic_path, read_bytes, read_json, write_json
from cprlib.store.fingerprint import hash_of

HASH = "hash"


def write_sealed(path: str | Path, values: Mapping[str, Any]) -> None:
    """Write a mapping as JSON with one more entry, "hash"."""
    write_json(path, _sealed(values))


def read_sealed(path: str | Path) -> dict:
    """What `write_sealed` was given.

    Raises:
        ValueError: the file is damaged, or not a JSON mapping.
    """
    return _opened(read_json(path), str(path))


def keep_sealed(path: str | Path, values: Mapping[str, Any]) -> None:
    """Write a mapping as `write_sealed` does, unless the file holds it already; a damaged file is reported."""
    try:
        if Path(path).exists() and read_sealed(path) == values:
            return
    except ValueError as error:
        print(f"{str(error).split(';')[0]}; written again", flush=True)
    write_sealed(path, values)


def write_lines(path: str | Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write mappings as JSON, a line each, with one more entry, "hash"."""
    with atomic_path(path) as tmp:
        tmp.write_text("".join(json.dumps(_sealed(line)) + "\n" for line in lines))


def read_lines(path: str | Path) -> list[dict]:
    """What `write_lines` was given, to the last digit; [] if there is no file.

    Raises:
        ValueError: a line is damaged or cut off; the message names it.
    """
    path, texts, lines = Path(path), [], []
    try:
        texts = read_bytes(path).decode().splitlines() if path.exists() else []
        lines.extend(map(json.loads, texts))
    except (ValueError, RecursionError) as error:
        which = "its last line" if len(lines) == len(texts) - 1 else "a line"
        raise ValueError(f"{path}: {which} is not JSON ({error}); run the training again, which restores it") from error
    if len({HASH in line for line in lines if isinstance(line, dict)}) > 1:
        raise ValueError(f"{path}: some lines lack their hash; run the training again, which restores it")
    return [_opened(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]


def restore_lines(path: str | Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write lines again if the file does not hold them, e.g. because it is damaged; before the first epoch, nothing."""
    try:
        whole = read_lines(path) == lines
    except ValueError as error:
        print(f"{error.args[0]}; restored from the checkpoint", flush=True)
        whole = False
    if lines and not whole:
        write_lines(path, lines)


def _sealed(values: Mapping[str, Any]) -> dict:
    return {**values, HASH: hash_of(dict(values))}


def _opened(values: Any, name: str) -> dict:
    if not isinstance(values, dict):
        raise ValueError(f"{name}: not a mapping; run the step again, which restores it")
    told = values.pop(HASH, None)
    lost = told is None and any(isinstance(v, str) and re.fullmatch(r"[0-9a-f]{32}", v) for v in values.values())
    if lost or (told is not None and told != hash_of(values)):
        raise ValueError(f"{name}: damaged: it does not fit its hash; run the step again, which restores it")
    return values
