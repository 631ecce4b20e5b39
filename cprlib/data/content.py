"""Hashes of the content of a manifest's files, wherever they lie."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cprlib.data.files import fingerprint, remembered
from cprlib.data.flow import flow_info
from cprlib.data.lmdb_frames import FLOW_BOUND
from cprlib.data.manifest import Manifest, file_of
from cprlib.store.fingerprint import hash_of, hash_rows

THREADS = 8


def contents(manifest: Manifest, view: str = "rgb") -> list[str]:
    """A hash of the content of each video or, for "flow", of its flow, in the order of the table."""
    paths = manifest.table.path if view == "rgb" else manifest.table.flow_path
    files = map(file_of, paths, manifest.table.reader)
    inside = [  # the video in a file that holds many
        "/".join(Path(path).parts[-2:]) if reader == "lmdb" else ""
        for path, reader in zip(paths, manifest.table.reader, strict=True)
    ]
    return [f"{mark} {name}".strip() for mark, name in zip(_each(_content, files), inside, strict=True)]


def training_rows(manifest: Manifest, labelled: bool = True) -> str:
    """Hash of what training reads of the training videos, except flow: content, label, recording, frames, video_id.

    Args:
        manifest: all videos.
        labelled: False: the hash from before classes were known.
    """
    train = manifest.split("train")
    table = train.table if labelled else train.table.assign(label=0)
    columns = (contents(train), table.video_id, table.label, train.source_codes, table.num_frames)
    return hash_rows(zip(*columns, strict=True))


def trained_on(rows: str | None, manifest: Manifest) -> bool:
    """Whether a training's hash of its videos is that of a manifest, even if labels have been added since."""
    return rows in (training_rows(manifest), training_rows(manifest, labelled=False))


def flow_settings(manifest: Manifest) -> dict[str, Any]:
    """How the flow of a manifest was estimated: method, bound in pixels per frame, working short side in pixels.

    Raises:
        ValueError: flow was made with different settings.
        FileNotFoundError, VideoError: flow is missing or broken.
    """
    if (manifest.table.reader == "lmdb").any():
        return {"method": "tvl1", "bound": FLOW_BOUND}
    found: dict[tuple, str] = {}
    for path, settings in zip(manifest.table.flow_path, _each(_flow_settings, manifest.table.flow_path), strict=True):
        found.setdefault(settings, path)
    if len(found) > 1:
        ways = "; ".join(f"{path}: {dict(settings)}" for settings, path in list(found.items())[:2])
        raise ValueError(f"flow of one manifest was made in {len(found)} ways ({ways}); run notebook 01 again")
    return dict(next(iter(found)))


def view_contents(manifest: Manifest, sources: Sequence[str]) -> dict[str, Any]:
    """The parts of a fingerprint that say which frames of a manifest's videos a network sees.

    Args:
        manifest: the videos, perhaps one split.
        sources: views whose frames are read, "rgb" or "flow".
    """
    parts: dict[str, Any] = {"videos": hash_rows(zip(contents(manifest), manifest.table.num_frames, strict=True))}
    if "flow" in sources:
        parts["flow"] = {**flow_settings(manifest), "files": hash_of(contents(manifest, "flow"))}
    return parts


def _each(function: Callable, items: Iterable) -> list:
    """Apply `function` to each item, in threads, as files make it wait."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(function, items))


_fingerprint = remembered(fingerprint)


def _content(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is in the manifest and not on disk; restore it or make the manifest again")
    return _fingerprint(path)


def _flow_settings(path: str) -> tuple:
    info = flow_info(path)._asdict()
    return tuple((name, info[name]) for name in ("method", "bound", "short_side") if info.get(name) is not None)
