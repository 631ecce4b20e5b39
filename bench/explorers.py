"""One move in each explorer, at UCF101's size, against a figure function that does all its work at every move."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import ipywidgets
import numpy as np
import torch
from torch.nn.functional import normalize

from bench.pair import Pair
from cprlib.cascade import plan_stages
from cprlib.data.manifest import Manifest
from cprlib.data.video import read_clip
from cprlib.evaluation.retrieval import nearest_neighbours, prepare_views
from cprlib.report.explorers.widgets import cascade_explorer, embedding_explorer, figure_html, retrieval_explorer
from cprlib.report.figures import cascade_view
from cprlib.report.figures.cascade_view import cascade_figure
from cprlib.report.figures.embedding import embedding_html, preview, project
from cprlib.report.figures.strips import neighbour_figure
from cprlib.training.snapshots import Memory
from data_prep import toy_actions

CLASSES = 101


class Videos:
    """One small real video for all video_ids, decoded on every request."""

    def __init__(self, manifest: Manifest):
        self.row = manifest.table.iloc[0]

    def frames(self, video_id: int, view: str, indices: list[int]) -> torch.Tensor:
        return read_clip(self.row.path, [i % self.row.num_frames for i in indices], reader=self.row.reader)

    def thumbnail(self, video_id: int) -> np.ndarray:
        return self.frames(video_id, "rgb", [self.row.num_frames // 2])[0].numpy()


def memory_of(rows: int, seed: int = 0) -> Memory:
    """Random features in two views, five clips per recording."""
    g = torch.Generator().manual_seed(seed)
    features = {view: normalize(torch.randn(rows, 128, generator=g), dim=1) for view in ("flow", "rgb")}
    ids = torch.arange(rows)
    return Memory(features, ids, ids // 5, ids // 5 % CLASSES)


def copies(manifest: Manifest, count: int) -> Manifest:
    """The first video `count` times, in all classes."""
    rows = manifest.table.loc[[0] * count].reset_index(drop=True)
    return Manifest(rows.assign(video_id=range(count), label=np.arange(count) % CLASSES))


def move(explorer: ipywidgets.VBox, control: str, values: range) -> Callable[[], None]:
    """A function that moves a control to the next of its values."""
    (slider,) = (child for child in explorer.children if getattr(child, "description", "") == control)
    following = iter(values)

    def moved() -> None:
        slider.value = next(following)

    return moved


def pairs(device: torch.device) -> Iterator[Pair]:
    """One move of each explorer."""
    with TemporaryDirectory(prefix="cprlib-") as folder:
        yield from _moves(toy_actions.build(Path(folder), recordings=4, takes=1, workers=1))


def _moves(manifest: Manifest) -> Iterator[Pair]:
    videos, names = Videos(manifest), [f"class {number}" for number in range(CLASSES)]
    steps = range(1, 100)
    memory, stages = memory_of(2048), plan_stages(2048, num_stages=7)
    cascade = cascade_explorer({0: memory}, names, videos.thumbnail, num_stages=7)
    turns = iter(range(100))

    def mine_all() -> None:  # the same figure, with PMR over every row as query
        with patch.object(cascade_view, "SIMILARITIES", 2048**2):
            figure_html(cascade_figure(memory, stages, next(turns), names, videos.thumbnail))

    some = {epoch: memory_of(300, epoch) for epoch in range(100)}
    embedding = embedding_explorer({"cpr_rgb_cycle1": some}, names, copies(manifest, 300), videos)
    epochs = iter(range(100))

    def read_all() -> None:  # projection and clips of an epoch, computed again
        epoch = next(epochs)
        plane = project({epoch: some[epoch]}, "rgb")
        ids = some[epoch].video_id.tolist()
        clips = {v: preview({"rgb": videos.frames(v, "rgb", list(range(6))).numpy()}) for v in ids}
        embedding_html(plane.points[epoch], some[epoch], names, clips)

    g = torch.Generator().manual_seed(0)
    sizes = {"test": 3783, "train": 9537}
    test, train = (copies(manifest, n) for n in sizes.values())
    features = {view: tuple(torch.randn(n, 1024, generator=g) for n in sizes.values()) for view in ("rgb", "flow")}
    retrieval = retrieval_explorer({"cpr": features}, test, train, videos.thumbnail)
    queries = iter(range(100))

    def rank_all() -> None:  # neighbours of all test videos in all views
        asked, gallery = prepare_views(features)
        nearest = {v: nearest_neighbours(asked[v], gallery[v], 5)[0] for v in asked}
        query = next(queries)
        shown = {v: rows[query] for v, rows in nearest.items()}
        figure_html(neighbour_figure(shown, query, test, train, videos.thumbnail))

    cases = {
        "cascade explorer, K 2048, all queries mined": (mine_all, move(cascade, "query", steps), 7),
        "embedding explorer, 300 clips, all read": (read_all, move(embedding, "epoch", range(98, 0, -1)), 3),
        "retrieval explorer, UCF101's size, all test videos ranked": (rank_all, move(retrieval, "query", steps), 3),
    }
    for name, (reference, ours, repeats) in cases.items():
        yield Pair(f"a move of the {name} at every move", reference, ours, repeats=repeats)
