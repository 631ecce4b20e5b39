"""The figures of a run as images for a page that is one file: inline, small, with caption and description."""

import base64
import io
import re
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from cprlib.report.figures.ablation import MEASURES
from cprlib.report.figures.style import PROTOCOLS, method_style, view_word


class Picture(NamedTuple):
    """An image of a page.

    Attributes:
        section: where it belongs: data, training, mining, retrieval, classification, ablation or other.
        caption: what it shows.
        alt: what is seen, for those who cannot see it.
        uri: the image itself, "data:image/…".
        width, height: in pixels of the page.
    """

    section: str
    caption: str
    alt: str
    uri: str
    width: int
    height: int


# File name, section, caption, description; {…} are the named groups of the file name.
KINDS = [
    (
        r"flow",
        "data",
        "A video of the data: frames and the optical flow between them.",
        "Two rows of thumbnails: eight frames of one video, below each its flow, the colour telling the direction.",
    ),
    (
        r"(?P<method>infonce|ubernce)_(?P<view>\w+)",
        "training",
        "Training with {method}: loss of the {view} network over the epochs.",
        "A line: the loss over the epochs.",
    ),
    (
        r"(?P<method>coclr|cpr)_loss",
        "training",
        "Co-training with {method}: loss of both networks over the epochs.",
        "Two panels, RGB and flow network, each with a line: the loss over the epochs.",
    ),
    (
        r"mining_curves",
        "mining",
        "Quality of mining over the epochs: the share of mined clips that show the query's class (PMR), and the share "
        "of queries whose first mined clip does (mining R@1).",
        "Four panels, PMR and mining R@1 of the RGB and the flow network, with a line for each method.",
    ),
    (
        r"mined_(?P<view>[a-z]+)_(?P<number>\d+)",
        "mining",
        "What both methods mine for one query, {view} network, example {number}.",
        "A query and two rows of mined clips, CoCLR's above CPR's; a red frame and a cross mark wrong classes.",
    ),
    (
        r"cmr_(?P<view>[a-z]+?)(_by_(?P<by>source|video))?",
        "mining",
        "Class mining recall, {view} network: the share of each class's {by} that were found in one epoch.",
        "Bars for every class, CoCLR's and CPR's; two vertical lines mark their medians.",
    ),
    (
        r"retrieval",
        "retrieval",
        "Retrieval: the share of test videos with a training video of their class among the k nearest.",
        "A panel for each view with groups of bars for k = 1, 5, 10, 20 and 50, a bar for each method.",
    ),
    (
        r"neighbours_(?P<number>\d+)",
        "retrieval",
        "Nearest training videos of one test video in RGB, in flow and in both, example {number}.",
        "A test video and a row of neighbours for each view; a red frame and a cross mark those of a wrong class.",
    ),
    (
        r"ablation_stages_(?P<measure>\w+)",
        "ablation",
        "Ablation of the cascade: {measure} over the number of stages.",
        "A panel for each view; lines over the number of stages, one for each ratio.",
    ),
    (
        r"confusion_(?P<protocol>[a-z]+)_(?P<method>\w+)_(?P<view>[a-z]+)",
        "classification",
        "{protocol}, {method}, {view}: which class is taken for which.",
        "A matrix of true classes by predicted classes in shades of grey, darker for a larger share.",
    ),
]
WORDS = {
    "method": lambda name: method_style(name).label,
    "view": view_word,
    "by": lambda name: "videos" if name == "video" else "recordings",
    "number": lambda text: str(int(text) + 1),
    "measure": lambda name: MEASURES.get(name, name),
    "protocol": PROTOCOLS.get,
}


def pictures_of(run: Path, without: tuple[str, ...] = ()) -> list[Picture]:
    """The pictures that notebooks left in `<run>/figures`, in the order of their kinds; a copy of another is left out.

    Args:
        run: run folder.
        without: how the names begin of those that are not wanted.
    """
    paths = [path for path in sorted((run / "figures").glob("*.png")) if not path.name.startswith(without)]
    by_content = {path.read_bytes(): path for path in paths}
    described = [(*describe(path.stem), path.stem, data) for data, path in by_content.items()]
    described.sort(key=lambda item: item[0])  # stable: names stay in order
    return [Picture(*words, *encode(data)) for _, *words, _, data in described]


def describe(name: str) -> tuple[int, str, str, str]:
    """Place among the kinds, section, caption and description of a figure by the name of its file.

    >>> describe("confusion_probe_cpr_both")[2]
    'Linear probe, CPR, both views: which class is taken for which.'
    """
    for place, (pattern, section, caption, alt) in enumerate(KINDS):
        if match := re.fullmatch(pattern, name):
            words = {key: WORDS[key](value or "") or value for key, value in match.groupdict().items()}
            return place, section, caption.format(**words), alt.format(**words)
    title = name.replace("_", " ")
    return len(KINDS), "other", f"{title[:1].upper()}{title[1:]}.", f"The figure {title}."


def encode(data: bytes) -> tuple[str, int, int]:
    """A PNG as data URI with width and height in pixels: WebP, lossless if that is smaller, a third of the bytes.

    Raises:
        ValueError: not an image.
    """
    try:
        image = Image.open(io.BytesIO(data)).convert("RGB")
    except OSError as error:
        raise ValueError(
            f"a figure of the run cannot be read ({error}); delete it and run its notebook again"
        ) from error
    smallest = min((_webp(image, **how) for how in ({"lossless": True}, {"quality": 85})), key=len)
    return f"data:image/webp;base64,{base64.b64encode(smallest).decode()}", *image.size


def _webp(image: Image.Image, **how: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "WEBP", **how)
    return out.getvalue()
