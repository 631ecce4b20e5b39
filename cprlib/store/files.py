"""Paths that start at the project, and files that are written whole or not at all."""

import json
import os
import platform
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


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
    with_defaults = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda m: os.environ.get(m[1]) or m[2], str(path))
    expanded = os.path.expanduser(os.path.expandvars(with_defaults))
    if "$" in expanded:
        raise ValueError(f"{path}: an environment variable in this path is not set; export it first")
    return Path(os.path.normpath(project_root() / expanded))


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Write to a temporary file beside `path` that takes its place only if nothing failed.

    The one way anything is written: a killed process leaves either the old file or the new one.

    Yields:
        A path in the same folder with the same suffix, to be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    tmp = Path(name)
    try:
        yield tmp
        umask = os.umask(0)
        os.umask(umask)
        tmp.chmod(0o666 & ~umask)  # mkstemp makes files that only the owner can read
        os.replace(tmp, path)
    finally:
        tmp.unlink(missing_ok=True)


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Let one process at a time do what makes `path`; the others wait, and say for whom.

    The lock is the file ``.<name>.lock`` beside it. It ends with its process, however that ends.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "a+") as file:
        if fcntl:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                print(f"{path}: waiting for {file.read().strip() or 'another process'}", flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield


def write_json(path: str | Path, obj: object) -> None:
    """Write `obj` as indented JSON, atomically."""
    with atomic_path(path) as tmp:
        tmp.write_text(json.dumps(obj, indent=2, sort_keys=True) + "\n")


def read_json(path: str | Path) -> dict:
    """Read a JSON file; a broken one is named."""
    try:
        return json.loads(Path(path).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not a JSON file ({error}); delete it and run the step again") from error
