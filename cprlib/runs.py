"""Run folders: where things lie, atomic writes, provenance and progress."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "av", "decord", "opencv-contrib-python-headless")


def project_root() -> Path:
    """The folder that relative paths start from: ``$CPR_ROOT``, else the checkout, else the current folder."""
    if "CPR_ROOT" in os.environ:
        return Path(os.environ["CPR_ROOT"]).resolve()
    checkout = Path(__file__).resolve().parents[1]
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


def environment() -> dict[str, str]:
    """What a run was made with: versions, machine, GPU, and the commit of the code."""
    import torch  # here, as every command imports this module

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    machine = {"machine": platform.machine(), "system": platform.platform(), "gpu": gpu}
    return {"python": sys.version.split()[0], **machine, "git_commit": _commit(), **versions}


def _commit() -> str:
    """The commit of the code, with a "+" if it was changed since."""
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / ".git").exists() or not shutil.which("git"):
        return "unknown"
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True).stdout.strip() or "unknown"


def open_run(folder: str | Path, config: dict) -> Path:
    """Make a run folder, or reopen the one that was made with the same configuration.

    Args:
        folder: the run folder.
        config: everything that decides the result, JSON-like.

    Returns:
        The folder, holding ``config.json`` and ``environment.json``.

    Raises:
        ValueError: the folder holds a run with another configuration.
    """
    folder = resolve(folder)
    config = json.loads(json.dumps(config))  # as it will be read back: tuples become lists
    if (folder / "config.json").exists():
        old = read_json(folder / "config.json")
        changed = [
            f"{k} {old.get(k)!r} -> {config.get(k)!r}" for k in sorted({*old, *config}) if old.get(k) != config.get(k)
        ]
        if changed:
            raise ValueError(
                f"{folder} holds a run with another configuration ({'; '.join(changed)}); "
                "choose another run name, or delete the folder to train again"
            )
    else:
        write_json(folder / "environment.json", environment())
        write_json(folder / "config.json", config)
    return folder


def is_finished(folder: str | Path) -> bool:
    """Whether a run has ended: ``metrics.json`` is the last thing that is written."""
    return (resolve(folder) / "metrics.json").exists()


def progress(
    iterable: Iterable,
    description: str,
    total: int | None = None,
    status: Callable[[], str] | None = None,
    seconds: float = 30.0,
) -> Iterator:
    """Show progress: a bar in JupyterLab or a terminal, a line every `seconds` elsewhere.

    Args:
        iterable: what to go through.
        description: what is being done.
        total: number of items, where `iterable` has no length.
        status: called after an item when progress is shown; e.g. the loss.
        seconds: least time between two lines.

    Yields:
        The items.
    """
    total = len(iterable) if total is None and hasattr(iterable, "__len__") else total
    if not os.environ.get("CPR_BATCH") and ("JPY_SESSION_NAME" in os.environ or sys.stderr.isatty()):
        from tqdm.auto import tqdm

        bar = tqdm(iterable, description, total)
        for item in bar:
            yield item
            if status:
                bar.set_postfix_str(status())
        return
    start = last = time.monotonic()
    for done, item in enumerate(iterable, 1):
        yield item
        now = time.monotonic()
        if now - last >= seconds or done == total:
            last = now
            left = f"/{total}, {(now - start) * (total - done) / done:.0f} s left" if total else ""
            print(f"{description}: {done}{left}{', ' + status() if status else ''}", flush=True)
