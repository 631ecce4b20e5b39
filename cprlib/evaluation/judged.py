"""Whether a network may be evaluated on some videos."""

from pathlib import Path

from cprlib.data.content import contents, flow_settings, trained_on
from cprlib.data.manifest import Manifest
from cprlib.methods import VIEWS
from cprlib.store.files import resolve
from cprlib.store.fingerprint import Fingerprint
from cprlib.store.folders import read_videos


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
