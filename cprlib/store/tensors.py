"""Files of ``torch.save``: read without running code from them, and checked against their checksums."""

import io
import pickle
import re
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import numpy as np
import torch

from cprlib.store.files import atomic_path

# Training scripts save their best accuracy as a NumPy number; these rebuild numbers and nothing else.
_scalar = np.float64(0).__reduce__()[0]
_NUMBERS = [
    *((_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),  # NumPy 1, NumPy 2
    np.dtype,
    *(type(np.dtype(code)) for code in ("f2", "f4", "f8", "i4", "i8", "?")),
]


def save_tensors(path: str | Path, saved: object) -> None:
    """Write tensors, numbers, text and containers of them, atomically."""
    content = io.BytesIO()  # torch does not say when the disk is full
    torch.save(saved, content)
    with atomic_path(path) as tmp:
        tmp.write_bytes(content.getbuffer())


def load_kept(path: Path) -> object | None:
    """What was kept for later use; None if it is missing or (with a warning) damaged, so that it is made again."""
    try:
        return load_safely(path) if path.exists() else None
    except ValueError as error:
        print(f"{error}; made again", flush=True)
        return None


def load_safely(path: Path, device: str | torch.device = "cpu") -> object:
    """Read a file of ``torch.save`` that holds tensors, numbers, text and containers of them, and never run code.

    Args:
        path: the file.
        device: where the tensors go.

    Returns:
        What was saved.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it holds another Python object, or is damaged, or was not written by ``torch.save``.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no checkpoint at {path}; correct the path, download the file, or train that network first"
        )
    try:
        if is_zipfile(path):  # files of old versions of torch are not
            with ZipFile(path) as parts:
                damaged = parts.testzip()  # compares checksums, which torch.load does not
            if damaged:
                raise OSError(f"{damaged} does not fit its checksum")
        with torch.serialization.safe_globals(_NUMBERS):
            return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # broken bytes may make torch raise anything: KeyError, IndexError, OSError, ...
        found = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if found is None:
            raise ValueError(
                f"{path} is not a readable checkpoint ({type(error).__name__}): damaged, cut short, or not written by "
                "torch.save; download it or train that network again"
            ) from error
        raise ValueError(
            f"{path} holds a Python object ({found[1]}) and is refused, because loading it could run code; "
            "ask its author for a file of tensors and plain numbers only"
        ) from None  # torch's own message recommends loading it unsafely
