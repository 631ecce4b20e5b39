"""The plane is that of a plain SVD, and every row of the memory is drawn where and as it should be."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from cprlib.report.figures.embedding import embedding_figure, look_of, project
from cprlib.training.snapshots import Memory

NAMES = [f"class{i}" for i in range(12)]


def memory_of(rows=60, classes=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.nn.functional.normalize(torch.randn(rows, 7, generator=generator), dim=1)
    number = torch.arange(rows)
    return Memory({"flow": -features, "rgb": features}, 100 + number, number // 2, number % classes)


def marks(axes):
    """(x, y) -> colour and number of corners of each mark."""
    return {
        tuple(offset): (to_hex(colour), len(group.get_paths()[0].vertices))
        for group in axes.collections
        for offset, colour in zip(
            np.asarray(group.get_offsets()).tolist(),
            np.resize(group.get_facecolors(), (len(group.get_offsets()), 4)),
            strict=True,
        )
    }


def test_projection_is_that_of_the_last_epoch_for_all():
    memories = {0: memory_of(seed=1), 2: memory_of(50, seed=2), 1: memory_of(seed=3)}
    found = project(memories, "rgb")
    last = memories[2].features["rgb"].double().numpy()
    _, spread, axes = np.linalg.svd(last - last.mean(0), full_matrices=False)
    plane = np.stack([a if a[abs(a).argmax()] > 0 else -a for a in axes[:2]])
    for epoch, memory in memories.items():
        expected = (memory.features["rgb"].double().numpy() - last.mean(0)) @ plane.T
        assert np.allclose(found.points[epoch], expected, atol=1e-9)
    assert found.share == pytest.approx((spread[:2] ** 2).sum() / (spread**2).sum())
    everything = np.concatenate(list(found.points.values()))
    low, high = found.limits
    assert low < everything.min() < everything.max() < high
    assert high - low == pytest.approx(1.1 * np.ptp(everything))
    mirrored = project(memories, "flow")  # features of the other sign: the axes keep theirs
    assert np.allclose(mirrored.points[2], -found.points[2], atol=1e-9)


def test_what_cannot_be_projected_is_said():
    with pytest.raises(ValueError, match="train a network"):
        project({}, "rgb")
    with pytest.raises(ValueError, match="'depth'.*flow, rgb"):
        project({0: memory_of()}, "depth")
    with pytest.raises(ValueError, match=r"\(1, 7\)"):
        project({0: memory_of(1)}, "rgb")
    same = Memory({"rgb": torch.ones(4, 3)}, *[torch.arange(4)] * 3)
    flat = project({0: same}, "rgb")
    assert np.allclose(flat.points[0], 0) and flat.share == 0 and flat.limits == (-1, 1)


def test_every_class_has_its_colour_and_its_marker():
    memory = memory_of()
    points = project({0: memory}, "rgb").points[0]
    figure = embedding_figure(points, memory, NAMES, title="epoch 0")
    plot, beside = figure.axes
    drawn = marks(plot)
    assert len(drawn) == 60 and plot.get_title() == "epoch 0"
    for point, label in zip(points.tolist(), memory.label.tolist(), strict=True):
        assert drawn[tuple(point)][0] == look_of(label)[0]
    assert len(plot.collections) == 12  # one for each marker
    assert len({look_of(i)[1] for i in range(12)}) == 12 and len({look_of(i) for i in range(84)}) == 84
    legend = beside.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == NAMES
    looks = [(handle.get_color(), handle.get_marker()) for handle in legend.legend_handles]
    assert looks == [look_of(i) for i in range(12)]


def test_by_source_siblings_look_alike_and_nothing_is_listed():
    memory = memory_of()
    points = project({0: memory}, "rgb").points[0]
    plot, beside = embedding_figure(points, memory, NAMES, by="source").axes
    drawn = marks(plot)
    for point, source in zip(points.tolist(), memory.source_id.tolist(), strict=True):
        assert drawn[tuple(point)][0] == look_of(source)[0]
    assert beside.get_legend() is None
    many = memory_of(60, 30)
    assert embedding_figure(points, many, [f"c{i}" for i in range(30)]).axes[1].get_legend() is None
    two_columns = embedding_figure(points, many, [f"c{i}" for i in range(24)]).axes[1].get_legend()
    assert len(two_columns.get_texts()) == 24 and two_columns._ncols == 2
    with pytest.raises(ValueError, match="'video'.*'class' or 'source'"):
        embedding_figure(points, memory, NAMES, by="video")
    with pytest.raises(ValueError, match="60 points.*50 rows.*one epoch"):
        embedding_figure(points, memory_of(50), NAMES)


def test_the_plot_has_room_for_all_points():
    found = project({0: memory_of(seed=1)}, "rgb")
    axes = embedding_figure(found.points[0], memory_of(seed=1), NAMES).axes[0]
    assert axes.get_xlim() == axes.get_ylim() and axes.get_aspect() == 1
    assert axes.get_xlim()[0] < found.points[0].min() and axes.get_xlim()[1] > found.points[0].max()
