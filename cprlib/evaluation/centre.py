"""The mean feature of a network's training videos, which retrieval subtracts, and their flow settings."""

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from cprlib.data.content import flow_settings, view_contents
from cprlib.data.frames import recorded_frames
from cprlib.data.manifest import Manifest
from cprlib.evaluation.features import network_features
from cprlib.methods import VIEWS
from cprlib.store.checkpoints import load_checkpoint
from cprlib.store.files import resolve
from cprlib.store.fingerprint import Fingerprint, hash_weights
from cprlib.store.folders import recorded_path
from cprlib.store.tensors import load_kept, save_tensors
from cprlib.training.fit import check_same_videos


class Centre(NamedTuple):
    """Mean feature of the training videos, (F,) float32; method, bound and short side of flow (None: no flow)."""

    mean: Tensor
    flow: dict[str, Any] | None


def training_centre(training: str | Path, view: str | None = None) -> Centre:
    """The centre of a network: read from its folder, or computed once from its training videos.

    Args:
        training: folder of :func:`cprlib.training.fit`, also of random or released weights.
        view: for a network of several views; None: its first.

    Raises:
        FileNotFoundError, ValueError: it was not computed yet, and the training videos are missing or have changed.
    """
    folder, saved = resolve(training), load_checkpoint(training)
    view = view or saved["config"]["view"]
    made_from, path = _made_from(folder, saved, view), folder / f"centre_{view}.pt"
    kept, videos = load_kept(path), _videos_now(folder, VIEWS[view].source)
    fits = isinstance(kept, dict) and kept.get("fingerprint") == made_from and {"mean", "flow"} <= kept.keys()
    if not fits or videos not in (None, kept.get("videos")):
        try:
            kept = {"fingerprint": made_from, **_make(folder, view)._asdict(), "videos": videos}
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{folder} has no {path.name} yet, the mean to subtract from features, and computing it failed: {error}"
            ) from error
        save_tensors(path, kept)
    return Centre(kept["mean"], kept["flow"])


def _made_from(folder: Path, saved: dict, view: str) -> str:
    """Hash of what decides a centre: weights, clips, training videos and their flow."""
    fingerprint = Fingerprint.read(folder)
    trained = {name: fingerprint.parts.get(name) for name in ("training videos", "flow")} if fingerprint else {}
    clips = [view, *(saved["config"][name] for name in ("clip_len", "clip_stride", "clip_size", "short_side"))]
    return Fingerprint({"network": hash_weights(saved["encoder"]), "clips": clips, **trained}).hash


def _videos_now(folder: Path, source: str) -> str | None:
    """Hash of a run's training videos for a network that no fingerprint binds to any (random, released weights).

    None for a trained network, and where the videos are gone, so that such networks can be used without them.
    """
    fingerprint = Fingerprint.read(folder)
    if fingerprint and "training videos" in fingerprint.parts:
        return None
    with suppress(FileNotFoundError, ValueError):
        train = Manifest.read(recorded_path(folder, "manifest")).check_files((source,)).split("train")
        return Fingerprint(view_contents(train, (source,))).hash
    return None


def _make(folder: Path, view: str) -> Centre:
    source = VIEWS[view].source
    manifest = Manifest.read(recorded_path(folder, "manifest")).check_files((source,))
    check_same_videos(folder, manifest)
    train = manifest.split("train")
    frames = recorded_frames(folder, manifest, [source])
    mean = network_features(folder, train, frames, "train", view=view).mean(dim=0)
    return Centre(mean, flow_settings(train) if source == "flow" else None)
