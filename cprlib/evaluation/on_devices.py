"""Features and predictions in one process per device, each with a part of the videos."""

from pathlib import Path
from pkgutil import resolve_name
from tempfile import TemporaryDirectory
from typing import Any

from cprlib.data.frames import CachedFrames, VideoFrames, open_frames
from cprlib.data.manifest import Manifest
from cprlib.store.files import resolve
from cprlib.training.launch import launch


def on_devices(
    function: str, training: str | Path, videos: Manifest, frames: Any, devices: int, device: str = "auto", **given: Any
) -> Any:
    """Call a function of videos in several processes and return its result.

    Args:
        function: its name, e.g. "cprlib.evaluation.features:network_features"; called with training, videos, frames
            and `given`.
        training: folder of the network.
        videos: all or some of a manifest.
        frames: of :func:`cprlib.data.frames.open_frames`.
        devices, device: see :func:`cprlib.training.launch.launch`.
        given: further arguments, JSON-like.

    Raises:
        ValueError: frames of another kind, which cannot be sent to processes; fewer GPUs than devices.
        RuntimeError: a process ended early.
    """
    if not isinstance(frames, VideoFrames | CachedFrames):
        raise ValueError("devices: frames of your own cannot be sent to other processes; set devices to 1")
    with TemporaryDirectory(prefix="cprlib-") as folder:
        manifest = Path(folder) / "manifest.parquet"
        Manifest(videos.all_rows).write(manifest)
        rows = None if videos.whole is None else videos.table.video_id.tolist()
        sent = {"manifest": str(manifest), "rows": rows, "opened": frames.opened, "training": str(resolve(training))}
        return launch("cprlib.evaluation.on_devices:call", {"function": function, **sent, **given}, devices, device)


def call(function: str, training: str, manifest: str, rows: list | None, opened: list, **given: Any) -> Any:
    """Call the function in one of the processes, with what :func:`on_devices` sent."""
    videos = Manifest.read(manifest)
    if rows is not None:
        chosen = videos.table.set_index("video_id", drop=False).loc[rows].reset_index(drop=True)
        videos = Manifest(chosen, videos.table)
    return resolve_name(function)(training, videos, open_frames(videos, *opened), **given)
