"""Find video files below a folder, list what was skipped, and identify files by their content."""

import hashlib
import os
from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import TypeVar

from cprlib.store.files import project_root

BLOCK, BLOCKS = 65536, 16  # a fingerprint reads so many blocks of so many bytes
SUFFIXES = {
    *(".avi", ".mp4", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts"),
    *(".mts", ".m2ts", ".3gp", ".3g2", ".ogv", ".vob", ".asf", ".mpe", ".m2v", ".divx", ".f4v"),
}

T = TypeVar("T")


def find_videos(folder: str | Path, problems: list[dict] | None = None) -> list[Path]:
    """All video files below a folder, sorted; hidden ones are skipped, links are followed, each file is taken once.

    Args:
        folder: where to look.
        problems: receives what was skipped (path, reason).

    Raises:
        FileNotFoundError: no such folder, or no video in it.
    """
    folder, problems = Path(folder), [] if problems is None else problems
    if not folder.is_dir():
        raise FileNotFoundError(f"no video folder at {folder}; give the one that holds the videos")
    found, first = [], {}
    for path in sorted(
        walk(folder, problems), key=lambda path: (os.path.realpath(path) != os.path.abspath(path), path)
    ):
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            kind = f"{suffix} file" if suffix else "file without suffix"
            problems.append({"path": printable(path), "reason": f"{kind} not looked at"})
        elif str(path).encode("utf-8", "ignore").decode() != str(path):
            problems.append({"path": printable(path), "reason": "name is not UTF-8; rename the file"})
        elif not path.is_file():
            problems.append({"path": printable(path), "reason": "no file (a broken link, a pipe or a device)"})
        elif (same := first.setdefault(os.path.realpath(path), path)) != path:
            problems.append({"path": str(path), "reason": f"same file as {same}"})
        else:
            found.append(path)
    if not found:
        raise FileNotFoundError(f"no video in {folder} (looked for {', '.join(sorted(SUFFIXES))}); unpack them there")
    return sorted(found)


def walk(folder: Path, problems: list[dict]) -> list[Path]:
    """All files that are not hidden; every folder is visited once, directly rather than through a link."""

    def unreadable(error: OSError) -> None:
        problems.append({"path": printable(error.filename), "reason": f"folder cannot be read ({error.strerror})"})

    files, tops, visited = [], [folder], set()
    while tops:
        for root, folders, names in os.walk(tops.pop(0), onerror=unreadable):
            real = os.path.realpath(root)
            shown = [] if real in visited else sorted(name for name in folders if not name.startswith("."))
            names = [] if real in visited else names
            visited.add(real)
            folders[:] = [name for name in shown if not os.path.islink(os.path.join(root, name))]
            tops += [Path(root, name) for name in shown if name not in folders]  # links come last
            files += [Path(root, name) for name in names if not name.startswith(".")]
    return files


def printable(path: str | Path) -> str:
    """A path in one line that can be written and printed: what is not text is escaped."""
    text = os.fspath(path).encode("utf-8", "backslashreplace").decode()
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)


def file_stamp(path: str | Path) -> tuple[int, int, int]:
    """Size and times of a file, to notice that it has changed; copying can set all but the last time."""
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def remembered(function: Callable[[str], T]) -> Callable[[str | Path], T]:
    """Make a function of a file remember what it found, until the file's size or a time of it changes."""

    @lru_cache(1_000_000)
    def found(path: str, *stamp: int) -> T:
        return function(path)

    @wraps(function)
    def call(path: str | Path) -> T:
        return found(str(path), *file_stamp(path))

    return call


def stored_path(text: str | Path, folder: Path) -> str:
    """A path as it is written in a file in `folder`: relative if it lies below it, or if both are in the project."""
    path, root = Path(text), project_root()
    together = path.is_relative_to(folder) or (path.is_relative_to(root) and folder.is_relative_to(root))
    return os.path.relpath(path, folder) if together and path.is_absolute() else str(text)


def fingerprint(path: str | Path) -> str:
    """Hash of a file's content: of all of it up to 1 MiB, else of its size and 16 blocks spread from head to tail.

    Raises:
        FileNotFoundError: no file, or one that cannot be read twice, such as a pipe.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file at {path}; correct the path")
    size = Path(path).stat().st_size
    starts = [0] if size <= BLOCK * BLOCKS else [round(i * (size - BLOCK) / (BLOCKS - 1)) for i in range(BLOCKS)]
    content = hashlib.sha1(b"%d" % size)
    with open(path, "rb") as file:
        for start in starts:
            file.seek(start)
            content.update(file.read(BLOCK * BLOCKS if len(starts) == 1 else BLOCK))
    return content.hexdigest()
