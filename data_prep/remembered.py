"""What was found in each file, kept beside the manifest, so that an unchanged file is not inspected again."""

import os
from collections.abc import Sequence
from pathlib import Path

from cprlib.data.container import VideoError
from cprlib.data.video import VideoInfo
from cprlib.store.sealed import read_sealed, write_sealed

VERSION = 1  # of what `probe` finds; with another one, everything is inspected again


class Remembered:
    """Findings by file, forgotten when size or times of a file change.

    Args:
        path: JSON file, or None: nothing is kept.
    """

    def __init__(self, path: str | Path | None):
        self.path, self.kept, self.used = path, {}, {}
        if path is not None and Path(path).is_file():
            try:
                kept = read_sealed(path)
            except ValueError:  # damaged: everything is inspected again
                kept = {}
            files = kept.get("files") if kept.get("version") == VERSION else None
            self.kept = files if isinstance(files, dict) else {}

    def get(self, name: str, files: Sequence[str | Path]) -> tuple[VideoInfo, str] | VideoError | None:
        """What was found in a video that is read from these files, or None."""
        kept = self.kept.get(name)
        if kept is None or kept["files"] != _state(files):
            return None
        self.used[name] = kept
        if "reason" in kept:
            return VideoError(name, kept["reason"])
        return VideoInfo(**kept["video"]), kept["content"]

    def state(self, files: Sequence[str | Path]) -> list:
        """Taken before a file is inspected and given to `put` after: a file that grew meanwhile is not remembered."""
        return _state(files)

    def put(self, name: str, state: list, found: tuple[VideoInfo, str] | Exception) -> None:
        """Keep what was found, except errors that are not about the file itself."""
        if isinstance(found, VideoError):
            self.used[name] = {"files": state, "reason": found.reason}
        elif not isinstance(found, Exception):
            self.used[name] = {"files": state, "video": found[0]._asdict(), "content": found[1]}

    def save(self) -> None:
        """Write what was used, if it differs from the file."""
        if self.path is not None and self.used != self.kept:
            write_sealed(self.path, {"version": VERSION, "files": self.used})


def beside(manifest: str | Path) -> Path:
    """Where the findings of a manifest are kept."""
    return Path(manifest).with_name(f"{Path(manifest).stem}_looked.json")


def _state(files: Sequence[str | Path]) -> list:
    """Size and times of files; one changes if another file is copied over it, whatever times are preserved."""
    stats = [os.stat(file) if os.path.exists(file) else None for file in files]
    return [stat and [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for stat in stats]
