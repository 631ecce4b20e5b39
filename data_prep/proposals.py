"""Propose settings for your own videos from their number, size and length.

A setting in the parameter file is kept, and others follow from it: with `K` set, stages and top-k are chosen for that
K. If a run starts from trained networks, their settings decide what clips they see.
"""

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import av
import pandas as pd

from cprlib.data.container import VideoError, open_video
from cprlib.evaluation.centre import training_centre
from cprlib.evaluation.video_encoder import find_networks
from cprlib.store.files import resolve
from cprlib.store.folders import read_config
from data_prep.own_sources import read_videos
from data_prep.own_videos import TEST_SHARE

SAMPLE = 50  # videos whose headers are read
USUAL = {"width": 320, "height": 240, "frames": 100, "fps": 25.0}  # if no header says it
SHAPE = ("backbone", "dim", "clip_len", "clip_stride", "clip_size", "short_side")
SMALL = {"side": 64, "crop": 56, "clip_len": 8, "least": 4, "seconds": 0.64}  # for the CPU network
LARGE = {"side": 128, "crop": 128, "clip_len": 32, "least": 16, "seconds": 1.28}  # the papers'
PUBLISHED = dict(zip(SHAPE, ("s3d", 128, 32, 1, 128, 128), strict=True)) | {"flow_method": "tvl1", "flow_bound": 20.0}
Proposals = dict[str, tuple[Any, str]]


def look(source: str | Path) -> tuple[int, pd.DataFrame]:
    """The facts that settings follow from; quick, as nothing is decoded.

    Args:
        source: folder or CSV, as of :mod:`data_prep.own_videos`.

    Returns:
        The number of training videos to expect, and what some headers say: width, height, frames, fps.

    Raises:
        FileNotFoundError, ValueError: as :func:`data_prep.own_videos.build`.
    """
    with redirect_stdout(io.StringIO()):  # the data step says it again
        table = read_videos(Path(source))
    count = (table.split == "train").sum() if "split" in table else round((1 - TEST_SHARE) * len(table))
    heads = [head for path in table.path[:: -(-len(table) // SAMPLE)] if (head := _head(path))]
    return int(count), pd.DataFrame(heads, columns=list(USUAL))


def _head(path: str) -> tuple[int, int, int, float] | None:
    """Width, height, frames and rate as a file declares them; None if it is broken, which the data step reports."""
    try:
        with open_video(path) as (container, stream):
            rate = float(stream.average_rate or stream.guessed_rate or USUAL["fps"])
            seconds = (container.duration or 0) / av.time_base
            return stream.width, stream.height, stream.frames or round(seconds * rate), rate
    except (av.FFmpegError, VideoError, OSError):
        return None


def for_videos(source: str | Path, given: Mapping[str, Any]) -> Proposals:
    """All settings that are not given; from the networks of `pretrained` or `init_run` if there are such.

    Args:
        source: folder or CSV.
        given: of a parameter file, with `outputs`.

    Returns:
        Name -> value and reason.

    Raises:
        FileNotFoundError, ValueError: no video, or no such networks.
    """
    run = given.get("pretrained") or given.get("init_run")
    published = given.get("released_rgb") or given.get("released_flow")
    theirs = of_networks(f"{given['outputs']}/{run}") if run else PUBLISHED if published else {}
    theirs = {name: value for name, value in theirs.items() if name not in given}
    reasons = {name: (value, f"that of the networks of {run or published}") for name, value in theirs.items()}
    return reasons | propose(*look(source), {**given, **theirs})


def of_networks(place: str | Path) -> dict[str, Any]:
    """The settings that trained networks require: backbone, clips, and how their flow was made.

    Args:
        place: a run, a method of it or a training, see :func:`cprlib.evaluation.video_encoder.find_networks`.
    """
    networks = find_networks(resolve(place))
    config = read_config(next(iter(networks.values())))
    flow = training_centre(networks["flow"], "flow").flow if "flow" in networks else {}
    return {name: config[name] for name in SHAPE} | {f"flow_{name}": value for name, value in flow.items()}


def propose(count: int, heads: pd.DataFrame, given: Mapping[str, Any]) -> Proposals:
    """Settings for videos of this number, size and length.

    Args:
        count: of training videos.
        heads: a row for each video inspected: width, height in pixels, frames, fps.
        given: settings that are fixed already.

    Returns:
        Name -> value and reason, of each setting that is not in `given`.
    """
    found: Proposals = {}

    def take(name: str, value: Any, reason: str) -> Any:
        if name in given:
            return given[name]
        found[name] = value, reason
        return value

    small = take("backbone", "tiny", "a network for a CPU; s3d is the papers', for a GPU") == "tiny"
    take("dim", 64 if small else 128, "the small network's" if small else "the papers'")
    take("flow_method", "dis", "100 times faster than tvl1, the papers'")
    take("flow_bound", 20.0, "the papers'")
    take("flow_short_side", 240, "the bound is that of a picture this high, whatever the video's size")
    _clips(take, SMALL if small else LARGE, heads)
    take("batch_size", _power(count / 2, 4, 32), f"half of {count} training videos, 4 to 32")
    usual = 300 if count <= 200 else 200 if count <= 1000 else 100
    goes_on = bool(given.get("init_run"))
    reason = "a third, as it starts from trained networks" if goes_on else "300 up to 200 videos, 100 from 1000 on"
    infonce = take("infonce_epochs", usual // 3 if goes_on else usual, reason)
    take("infonce_milestones", _milestones(infonce), "at four fifths")
    epochs = take("epochs", max(30, usual // 3), "a third of InfoNCE's from random weights")
    take("lr_milestones", _milestones(epochs), "at four fifths")
    rows = take("K", _power(count, 16, 2048), f"about a row for each of {count} training videos, 16 to 2048")
    top_k = take("top_k", min(max(rows // 32, 3), 5), f"few of {rows} rows, 3 to 5")
    stages, left = 2, rows // 4
    while left >= 3 * top_k and stages < 7:
        stages, left = stages + 1, left // 2
    take("num_stages", stages, f"each keeps half of {rows} rows, as long as thrice top_k are left; 2 to 7")
    return found


def _clips(take, usual: Mapping, heads: pd.DataFrame) -> None:
    """Size and length of clips, from those of the videos."""
    known = heads[(heads > 0).all(axis=1)] if len(heads) else heads
    middle = {name: float(known[name].median()) if len(known) else value for name, value in USUAL.items()}
    shortest = int(known["frames"].quantile(0.1)) if len(known) else USUAL["frames"]
    side = int(min(middle["width"], middle["height"]))
    size = f"short side of half the videos: {side} pixels or more"
    short_side = take("short_side", min(usual["side"], max(16, side // 8 * 8)), size)
    least = min(usual["crop"], short_side) if short_side else usual["crop"]  # 0: as they are
    take("clip_size", least, "the network's, within that side")
    stride = max(1, round(usual["seconds"] * middle["fps"] / usual["clip_len"]))
    length = usual["clip_len"]
    while (length - 1) * stride + 2 > shortest and (stride > 1 or length > usual["least"]):
        stride, length = (stride - 1, length) if stride > 1 else (1, length // 2)
    lasts = f"within {shortest} frames, which nine of ten videos have; {middle['fps']:.4g} frames a second"
    length = take("clip_len", length, lasts)
    take("clip_stride", stride, f"a clip lasts {length * stride / middle['fps']:.2g} s")


def _power(number: float, least: int, most: int) -> int:
    """The power of two at or below a number, within bounds that are powers of two."""
    return min(max(1 << max(0, int(number).bit_length() - 1), least), most)


def _milestones(epochs: int) -> list[int]:
    return [epochs * 4 // 5] if epochs > 1 else []


def told(proposals: Proposals) -> str:
    """The settings as a text, a line each."""
    width = max((len(f"{name}: {value}") for name, (value, _) in proposals.items()), default=0)
    return "\n".join(f"  {f'{name}: {value}':{width}}  # {reason}" for name, (value, reason) in proposals.items())
