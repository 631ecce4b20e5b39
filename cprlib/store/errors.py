"""Errors of the system as a person needs them: one line with the file and what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = {
    errno.ENOSPC: "no space left on the disk; free some and run again, what was finished is kept",
    errno.EDQUOT: "your disk quota is used up; free some space and run again, what was finished is kept",
    errno.EFBIG: "too large a file there (ulimit -f, or a limit of the file system); choose another folder, run again",
}
CLOSED = {
    errno.EROFS: "the disk is read-only; choose a folder that can be written (`outputs` in the parameter file)",
    errno.EACCES: "no permission to write there; choose another folder (`outputs` in the parameter file)",
}
OTHER = {
    errno.ENOENT: "not there; correct the path, or run the step that makes it",
    errno.EACCES: "no permission; change that (chmod), or choose another place",
    errno.EISDIR: "a folder, where a file is needed; move it away, or choose another place",
    errno.EEXIST: "a file or a broken link, where a folder is needed; move it away, or choose another place",
    errno.ENOTDIR: "a part of this path is a file, no folder; move it away, or choose another place",
    errno.ELOOP: "a link that leads back to itself; delete the link, or choose another place",
    errno.ENAMETOOLONG: "too long a name; choose a shorter one",
}
STOPPED = "stopped; what was finished is kept, run the same command to go on"


def told(error: OSError, path: str | Path | None = None) -> OSError:
    """An error of the system in one line with file and remedy; one that tells them already stays as it is.

    Args:
        error: e.g. ``[Errno 40] Too many levels of symbolic links: 'run.json'``.
        path: of the file; default: as in the error.
    """
    words, path = (FULL | OTHER).get(error.errno), path or error.filename
    return type(error)(f"{path}: {words}") if words and path else error


def in_one_line(error: Exception) -> str:
    """What a command says of an error."""
    shown = told(error) if isinstance(error, OSError) else error
    return f"error: {' '.join(str(shown).split())}"


@contextmanager
def one_line() -> Iterator[None]:
    """End a command on a foreseeable error, or on Ctrl-C, in one line and with exit status 1, without a traceback."""
    try:
        yield
    except (ValueError, OSError, RuntimeError, FloatingPointError) as error:
        raise SystemExit(in_one_line(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(STOPPED) from None
