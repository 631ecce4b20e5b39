"""From videos to vectors, with the networks of a training, a method or a published file (section 3)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from cprlib.data.augmentation import evaluation_crops, to_input
from cprlib.data.container import VideoError
from cprlib.data.files import find_videos
from cprlib.encoders import Encoder
from cprlib.evaluation.centre import training_centre
from cprlib.evaluation.features import clip_shape
from cprlib.evaluation.judged import check_descent
from cprlib.evaluation.stream import stream_windows, timed_frames
from cprlib.methods import METHODS, VIEWS, sources_of
from cprlib.store.checkpoints import load_checkpoint, load_released
from cprlib.store.checkpoints import load_encoder as load_network
from cprlib.store.files import resolve
from cprlib.store.fingerprint import Fingerprint, hash_weights
from cprlib.store.folders import CHECKPOINT, is_finished, method_networks
from cprlib.training.schedule import pick_device

RELEASED = (32, 1, 128), 128, {"method": "tvl1", "bound": 20.0, "short_side": 0}  # clips, short side, flow of CoCLR
PREFERRED = ("cpr", "coclr", "infonce")  # of a run, if no method is named
Video = str | Path | Tensor | np.ndarray


class VideoVectors(NamedTuple):
    """A video as vectors of length 1: (F,) of the whole, (W, F) of its windows, (W, 2) their first and last second."""

    whole: Tensor
    windows: Tensor
    seconds: Tensor


@dataclass(frozen=True)
class VideoEncoder:
    """Networks of one or several views that see the same clips.

    Attributes:
        networks: view -> encoder.
        means: view -> float (F_view,), subtracted from the features of a video; zeros: no centring.
        shape: T, step between frames, and side of a clip in pixels.
        short_side: in pixels, to which videos are resized; None: no resizing.
        flow: method, bound and short side of flow, if a view needs it.
        path: what it was loaded from.
    """

    networks: dict[str, Encoder]
    means: dict[str, Tensor]
    shape: tuple[int, int, int]
    short_side: int | None
    flow: dict[str, Any] | None
    path: Path

    @property
    def views(self) -> list[str]:
        """The views, in the order of their parts of a vector."""
        return sorted(self.networks)

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint of what decides its vectors."""
        networks = {
            view: hash_weights({**network.state_dict(), "mean": self.means[view]})
            for view, network in self.networks.items()
        }
        clips = {"shape": self.shape, "short_side": self.short_side}
        return Fingerprint({"networks": networks, "clips": clips, "flow": self.flow})

    def parts(self) -> dict[str, slice]:
        """View -> its columns of a vector; the dot products of the views add up to that of the whole vector."""
        ends = np.cumsum([len(self.means[view]) for view in self.views]).tolist()
        return {view: slice(end - len(self.means[view]), end) for view, end in zip(self.views, ends, strict=True)}

    def embed(self, videos: Video | Sequence[Video], fps: float = 25.0) -> Tensor:
        """One vector per video: mean feature of its windows, minus the mean of the training set, L2-normalised.

        The cosine of two vectors is the mean of their cosines in the views, so they rank as "both" in
        :mod:`cprlib.evaluation.retrieval` does.

        Args:
            videos: a file, a folder (all videos below it, by name), uint8 frames (T, H, W, 3), or a list of these.
            fps: frames per second of videos given as frames.

        Returns:
            float32 (N, F) on the CPU.

        Raises:
            FileNotFoundError: no such file.
            VideoError: a file is not a video, or is broken.
            ValueError: frames of another shape or type, or nothing to embed.
        """
        found = [self.vectors(video, fps).whole for video in self._each(videos)]
        if not found:
            raise ValueError("the list holds no video; give one or more")
        return torch.stack(found)

    def vectors(self, video: Video, fps: float = 25.0) -> VideoVectors:
        """The vector of one video and those of its windows; see :meth:`embed`."""
        try:
            raw, seconds = self._features(_frames(video, fps))
        except ValueError as error:
            if isinstance(error, VideoError) or not isinstance(video, str | Path):
                raise
            raise VideoError(video, str(error)) from error  # with its name
        whole = {view: x.mean(dim=0, keepdim=True) for view, x in raw.items()}
        return VideoVectors(self._joined(whole)[0], self._joined(raw), seconds)

    def centred_on(self, videos: Video | Sequence[Video]) -> "VideoEncoder":
        """The same networks centred on the mean of these videos; for other data, or released files without a mean."""
        raw = [self._features(_frames(video, 25.0))[0] for video in self._each(videos)]
        means = {view: torch.stack([x[view].mean(dim=0) for x in raw]).mean(dim=0) for view in self.networks}
        return replace(self, means=means)

    def _each(self, videos: Video | Sequence[Video]) -> list[Video]:
        if isinstance(videos, str | Path):
            return find_videos(videos) if Path(videos).is_dir() else [videos]
        if not isinstance(videos, Iterable):
            raise ValueError(f"{videos!r} is not a video; give a path, frames, or a list of these")
        return [videos] if isinstance(videos, Tensor | np.ndarray) else list(videos)

    def _joined(self, raw: dict[str, Tensor]) -> Tensor:
        """(N, F), L2-normalised; each view's part has length 1 / √views."""
        parts = [normalize(raw[view] - self.means[view], dim=1) for view in self.views]
        return torch.cat(parts, dim=1) / len(parts) ** 0.5

    def _features(self, frames: Iterable[tuple[float, np.ndarray]]) -> tuple[dict[str, Tensor], Tensor]:
        """View -> (W, F_view) raw features of the windows, and (W, 2) their seconds."""
        clip_len, stride, size = self.shape
        windows = stream_windows(frames, sources_of(self.networks), clip_len, stride, self.short_side, self.flow)
        found, seconds = {view: [] for view in self.networks}, []
        while batch := list(islice(windows, 16)):
            for view, network in self.networks.items():
                source = VIEWS[view].source
                clips = torch.cat([evaluation_crops(w.clips[source], size, source) for w in batch])
                found[view].append(_encode(network, to_input(clips, view)))
            seconds += [(window.start, window.end) for window in batch]
        return {view: torch.cat(x) for view, x in found.items()}, torch.tensor(seconds)


def load_encoder(path: str | Path, view: str = "rgb", device: str = "auto") -> VideoEncoder:
    """Networks that turn videos into vectors.

    Args:
        path: a training ("outputs/toy/cpr_rgb_cycle2"), all views of a method ("outputs/toy/cpr"), a run
            ("outputs/toy": CPR, else CoCLR, else InfoNCE), or a published ``.pth.tar`` file; that has no mean, so its
            vectors are not centred, see :meth:`VideoEncoder.centred_on`.
        view: of a published network.
        device: "auto" takes a GPU if there is one.

    Raises:
        FileNotFoundError: nothing there, or no finished network.
        ValueError: files that cannot be used.
    """
    place, at = resolve(path), pick_device(device)
    if place.is_file() and place.name != CHECKPOINT:
        network = load_released(place, view=view).to(at)
        shape, short_side, flow = RELEASED
        means = {view: torch.zeros(network.feature_dim)}
        return VideoEncoder({view: network}, means, shape, short_side, flow if view == "flow" else None, place)
    folders = find_networks(place)
    check_descent(place, folders)
    centres = {view: training_centre(folder, view) for view, folder in folders.items()}
    configs = {folder: load_checkpoint(folder)["config"] for folder in folders.values()}
    seen = {(clip_shape(folder, config), config["short_side"]) for folder, config in configs.items()}
    if len(seen) > 1:
        raise ValueError(f"the networks of {place} see clips of several shapes ({sorted(seen)}); name one training")
    ((shape, short_side),) = seen
    networks = {view: load_network(folder, view).to(at) for view, folder in folders.items()}
    flow = next((centre.flow for centre in centres.values() if centre.flow), None)
    return VideoEncoder(networks, {v: c.mean for v, c in centres.items()}, shape, short_side or None, flow, place)


def find_networks(place: Path) -> dict[str, Path]:
    """The finished trainings that a path names, by view: itself, those of a method, or of a run's preferred method.

    Raises:
        FileNotFoundError: there are none.
    """
    place = place.parent if place.name == CHECKPOINT else place
    if place.is_file():
        raise FileNotFoundError(f"{place} is a file; give the folder of a training, of a run, or a method of a run")
    if is_finished(place):
        config = load_checkpoint(place)["config"]
        method = METHODS.get(config["method"])  # None: its line was removed from the table
        return dict.fromkeys((method and method.views) or (config["view"],), place)
    for run, methods in ((place.parent, [place.name]), (place, dict.fromkeys((*PREFERRED, *METHODS)))):
        for method in methods:
            if method in METHODS and (found := method_networks(run, method)):
                return found
    have = [name for name in METHODS if method_networks(place if place.is_dir() else place.parent, name)]
    raise FileNotFoundError(
        f"no finished network at {place}; give a training, run and method such as outputs/toy/cpr, or a .pth.tar file "
        f"(finished methods here: {', '.join(have) or 'none'})"
    )


def network_of(place: str | Path, view: str) -> Path:
    """The finished training of a view among those that a path names, see :func:`find_networks`.

    Raises:
        FileNotFoundError: there is none.
    """
    networks = find_networks(resolve(place))
    if view not in networks:
        raise FileNotFoundError(f"{place} has no finished {view} network; its views are {', '.join(networks)}")
    return networks[view]


def _frames(video: Video, fps: float) -> Iterator[tuple[float, np.ndarray]]:
    """Seconds and uint8 (H, W, 3) of each frame."""
    if isinstance(video, str | Path):
        return timed_frames(video)
    frames = np.asarray(video)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ValueError(f"frames are {frames.dtype} {frames.shape}; expected uint8 (T, H, W, 3)")
    if not fps > 0:
        raise ValueError(f"fps is {fps}; give the frames per second, above 0")
    return ((number / fps, frame) for number, frame in enumerate(frames))


@torch.inference_mode()
def _encode(network: Encoder, clips: Tensor) -> Tensor:
    return network.features(clips.to(next(network.parameters()).device)).cpu().clone()
