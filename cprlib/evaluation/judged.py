"""Whether a network may be evaluated on some videos, and whether those of a run belong together."""

from collections.abc import Mapping
from pathlib import Path

from cprlib.data.content import contents, flow_settings, trained_on
from cprlib.data.manifest import Manifest
from cprlib.methods import VIEWS
from cprlib.store.checkpoints import load_checkpoint
from cprlib.store.files import resolve
from cprlib.store.fingerprint import Fingerprint, hash_weights
from cprlib.store.folders import is_finished, read_config, read_videos


def check_judged(training: str | Path, manifest: Manifest, view: str) -> None:
    """Raise if a network may not be evaluated on a manifest.

    Args:
        training: folder of the network; one without training videos (random, released) passes.
        manifest: all videos.
        view: that the network was trained on.

    Raises:
        ValueError: it was trained on test videos, or on flow of another method, bound or working size.
    """
    folder = resolve(training)
    fingerprint = Fingerprint.read(folder)
    parts = fingerprint.parts if fingerprint else {}
    trained = parts.get("training videos")
    if trained and not trained_on(trained, manifest):
        known = read_videos(folder)
        test = manifest.table[manifest.table.split == "test"].reset_index(drop=True)
        seen = [c in known for c in contents(Manifest(test, manifest.table))]
        if any(seen):
            raise ValueError(
                f"{folder} was trained on {sum(seen)} of the {len(seen)} test videos, {test.path[seen.index(True)]} "
                "among them, because the split has changed; train it again, or evaluate it on other videos"
            )
    if VIEWS[view].source == "flow" and parts.get("flow"):
        now = Fingerprint(flow_settings(manifest))
        told = Fingerprint({k: v for k, v in parts["flow"].items() if k != "files"}).differences(now)
        if told:
            raise ValueError(
                f"{folder} was trained on other flow ({'; '.join(told.values())}); extract flow as in training"
            )


def check_descent(place: Path, networks: Mapping[str, Path]) -> None:
    """Raise if a network of a run that some networks of it started from or mined with was trained again since.

    This happens while a run is made again with other settings, and to the networks of later cycles that it then lacks.

    Args:
        place: the run or method that was named; a training named itself, or its checkpoint.pt, passes.
        networks: view -> folder of its training.

    Raises:
        ValueError: names both.
    """
    for folder in {*networks.values()} - {place, place.parent}:
        config, found = read_config(folder), Fingerprint.read(folder)
        parts = found.parts if found else {}
        used = {config.get("init"): parts.get("init")}
        used |= {path: parts.get("samplers", {}).get(view) for view, path in config.get("samplers", {}).items()}
        for path, weights in ((Path(path), weights) for path, weights in used.items() if path and weights):
            before = folder.parent / path.name
            in_run = path.parent.name == Path(config["out"]).parent.name
            if in_run and before.is_dir() and _weights(before) != weights:
                raise ValueError(
                    f"{folder} was made from another {before.name} than there is now; run the pipeline to its end, or "
                    f"delete {folder.name} if its settings no longer ask for it"
                )


def _weights(folder: Path) -> str | None:
    """Hash of the weights of a finished training."""
    return hash_weights(load_checkpoint(folder)["encoder"]) if is_finished(folder) else None
