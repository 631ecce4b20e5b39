"""Paths relative to the project, and files that are written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cprlib.store.errors import CLOSED, FULL, told

if TYPE_CHECKING:  # the pipeline imports this module at every start
    import pandas as pd

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LEFTOVER, YOUNG = ".tmp-", 60  # prefix of temporary files; seconds after which a writer has certainly locked its own
MEGABYTE = 2**20
SOCKET_BYTES = 104  # longest path of a socket, with its final zero, on the strictest system


def project_root() -> Path:
    """The folder that relative paths start from: ``$CPR_ROOT``, else the checkout, else the current folder."""
    if "CPR_ROOT" in os.environ:
        return Path(os.environ["CPR_ROOT"]).resolve()
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "pyproject.toml").exists() else Path.cwd()


def resolve(path: str | Path) -> Path:
    """Expand ``$NAME``, ``${NAME:-default}`` and ``~``, and make a relative path start at the project root.

    Raises:
        ValueError: the path names an environment variable that is not set.
    """
    there, rest = project_root(), str(path)
    while "$" in rest:  # a folder whose own name holds a $ is no variable
        head, _, tail = rest.partition("/")
        if not os.path.lexists(there / (head or "/")):
            break
        there, rest = there / (head or "/"), tail
    with_defaults = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda m: os.environ.get(m[1]) or m[2], rest)
    expanded = os.path.expanduser(os.path.expandvars(with_defaults))
    if "$" in expanded:
        raise ValueError(f"{path}: an environment variable in this path is not set; export it first")
    return Path(os.path.normpath(there / expanded))


def socket_folder() -> str:
    """A folder for temporary sockets: the system's temporary folder, or another one if that path is too long."""
    usual = tempfile.gettempdir()
    places = [usual, "/tmp", "/var/tmp", "/dev/shm"]
    fit = (p for p in places if len(os.fsencode(p)) <= SOCKET_BYTES - 50 and os.access(p, os.W_OK | os.X_OK))
    return next(fit, usual)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Write to a temporary file beside `path` that replaces it only if nothing failed.

    Everything is written this way: a killed process or machine leaves either the old file or the new one, and perhaps
    a temporary one, see :func:`remove_leftovers`.

    Yields:
        A path in the same folder with the same suffix, to be written.

    Raises:
        OSError: the disk is full, or nothing can be written there; in one line.
    """
    path = Path(path)
    handle = tmp = None
    try:
        check_place(path)
        handle, name = tempfile.mkstemp(
            prefix=f"{LEFTOVER}{path.stem[:20]}-", suffix=path.suffix[-20:], dir=path.parent
        )
        tmp = Path(name)
        lock(handle)  # as long as this process lives
        yield tmp
        with tmp.open("rb+") as file:
            os.fsync(file.fileno())  # the content must be on the disk before its name
        umask = os.umask(0)
        os.umask(umask)
        tmp.chmod(0o666 & ~umask)  # mkstemp makes files that only the owner can read
        os.close(handle)
        handle = None
        os.replace(tmp, path)
    except OSError as error:
        raise _told(path, error, begun=tmp is not None) from error
    finally:
        if handle is not None:
            os.close(handle)
        if tmp:
            tmp.unlink(missing_ok=True)


def check_place(path: str | Path) -> None:
    """Make the folder of a file that is to be written; an OSError if it is impossible, or if the file is a folder."""
    if Path(path).is_dir():
        raise told(IsADirectoryError(errno.EISDIR, "", str(path)))
    Path(path).parent.mkdir(parents=True, exist_ok=True)


def link(path: Path, name: Path) -> None:
    """Give a file a second name (a hard link), or copy it where that is impossible."""
    with atomic_path(name) as tmp:
        tmp.unlink()
        try:
            os.link(path, tmp)
        except OSError:
            shutil.copyfile(path, tmp)


def _told(path: Path, error: OSError, begun: bool) -> OSError:
    """A write error as one line with file and remedy; once writing has begun, any other error stays as it is."""
    code = error.errno
    if code is None and begun and shutil.disk_usage(path.parent).free < MEGABYTE:
        code = errno.ENOSPC  # NumPy and PyAV do not say why they could not write
    words = FULL.get(code) or ("" if begun else CLOSED.get(code))
    return OSError(f"{path} not written: {words}") if words else error if begun else told(error)


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Write to a file bit by bit; a full disk is reported in one line, as by :func:`atomic_path`."""
    try:
        yield
    except OSError as error:
        raise _told(Path(path), error, begun=False) from error


def allocate(path: Path, size: int) -> None:
    """Make a file of zeros for a memory map, with disk space reserved for all of it.

    A sparse file would end the process (SIGBUS) if the disk became full later.

    Raises:
        OSError: the disk has too little space; no file is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with writing(path), path.open("wb") as file:
            if hasattr(os, "posix_fallocate") and size:
                os.posix_fallocate(file.fileno(), 0, size)
            file.truncate(size)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: str | Path) -> None:
    """Delete the temporary files below a folder whose writers were killed; those of living writers stay."""
    for path in Path(folder).rglob(f"{LEFTOVER}*"):
        with suppress(OSError), path.open("rb+") as file:
            if time.time() - path.stat().st_mtime > YOUNG and lock(file.fileno()):
                path.unlink()


def lock(handle: int) -> bool | None:
    """Lock a file until it is closed or its process ends; False if another has it, None if there are no locks."""
    try:
        if fcntl:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return None


@contextmanager
def locked(path: str | Path, wait: bool = True) -> Iterator[None]:
    """Let one process at a time make `path`; the others wait, and say for whom, or are refused.

    The lock is the file ``.<name>.lock`` beside it. It ends with its process, however that ends. Where nothing can be
    written, nothing is locked.

    Raises:
        BlockingIOError: another process has it, and `wait` is False; the message says which, and since when.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path.with_name(f".{path.name}.lock"), "ab+", buffering=0)
    except OSError as error:
        if error.errno not in CLOSED:
            raise told(error) from error
        yield
        return
    with file:
        if lock(file.fileno()) is False:
            file.seek(0)
            owner = file.read().decode().strip() or "another process"
            if not wait:
                raise BlockingIOError(f"{path} is being made by {owner}; wait for its end, then run again")
            print(f"{path}: waiting for {owner}", flush=True)
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        owner = f"process {os.getpid()} on {platform.node()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}"
        with suppress(OSError):  # a full disk
            file.truncate(0)
            file.write(owner.encode())
        try:
            yield
        finally:
            if fcntl:  # closing is not enough: a worker of this process may hold the file, too
                with suppress(OSError):
                    fcntl.flock(file.fileno(), fcntl.LOCK_UN)


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, without its index, atomically; a relative path starts at the project root."""
    with atomic_path(resolve(path)) as tmp:
        table.to_csv(tmp, index=False)


def write_json(path: str | Path, obj: object) -> None:
    """Write `obj` as indented JSON, atomically."""
    with atomic_path(path) as tmp:
        tmp.write_text(json.dumps(obj, indent=2, sort_keys=True) + "\n")


def read_bytes(path: str | Path) -> bytes:
    """The content of a file; an OSError in one line if it is missing, a folder or a link to itself."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise told(error, path) from error


def read_json(path: str | Path) -> dict:
    """Read a JSON file; an error names it."""
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:  # not JSON, or not even text
        raise ValueError(f"{path}: not a JSON file ({error}); delete it and run the step again") from error
