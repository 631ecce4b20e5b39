"""The projection equals a plain SVD, and every row of the memory is drawn at the right place with the right mark."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from cprlib.report.figures.embedding import embedding_html, look_of, preview, project
from cprlib.training.snapshots import Memory

NAMES = ["walk", "<jump> & run", "dive"]
MEMORY = Memory({}, torch.tensor([7, 3, 7, 9]), torch.tensor([5, 1, 5, 4]), torch.tensor([0, 1, 0, 2]))
POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.25]])


def memory_of(rows=60, classes=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.nn.functional.normalize(torch.randn(rows, 7, generator=generator), dim=1)
    number = torch.arange(rows)
    return Memory({"flow": -features, "rgb": features}, 100 + number, number // 2, number % classes)


def test_all_epochs_use_the_projection_of_the_last():
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
    mirrored = project(memories, "flow")  # features with the opposite sign: the axes keep theirs
    assert np.allclose(mirrored.points[2], -found.points[2], atol=1e-9)


def test_impossible_projections_are_named():
    with pytest.raises(ValueError, match="train a network"):
        project({}, "rgb")
    with pytest.raises(ValueError, match=r"\(1, 7\)"):
        project({0: memory_of(1)}, "rgb")
    same = Memory({"rgb": torch.ones(4, 3)}, *[torch.arange(4)] * 3)
    flat = project({0: same}, "rgb")
    assert np.allclose(flat.points[0], 0) and flat.share == 0 and flat.limits == (-1, 1)


def clip(video_id):
    """Three frames of different brightness."""
    return {"rgb": np.stack([np.full((12, 16, 3), 10 * video_id + 50 * t, np.uint8) for t in range(3)])}


def drawn(page):
    """The picture as a tree, and its marks."""
    tree = ElementTree.fromstring(page.replace('xmlns="http://www.w3.org/2000/svg"', ""))
    return tree, tree.findall(".//g[@class='at']")


def test_a_preview_is_a_small_animation():
    picture = Image.open(io.BytesIO(base64.b64decode(preview(clip(7)).removeprefix("data:image/webp;base64,"))))
    assert picture.n_frames == 3 and picture.size == (64, 48)
    assert abs(int(np.asarray(picture.convert("RGB"))[24, 32, 0]) - 70) < 12


def test_every_row_has_a_mark_title_and_preview():
    previews = {7: "data:image/webp;base64,QUJD", 9: "data:image/webp;base64,REVG"}
    page = embedding_html(POINTS, MEMORY, NAMES, previews, title="Epoch 3 & last", limits=(-0.5, 1.5))
    tree, marks = drawn(page)
    titles = [mark.find("title").text for mark in marks]
    assert titles == ["walk, video 7", "<jump> & run, video 3", "walk, video 7", "dive, video 9"]
    assert all(mark.get("tabindex") == "0" and mark.find("g").get("class") == "more" for mark in marks)
    images = [mark.find("g/image") for mark in marks]
    shown = [image is not None and image.get("href") for image in images]
    assert shown == [previews[7], False, previews[7], previews[9]]  # a video without a preview shows its name
    assert ["".join(mark.find("g/text").itertext()) for mark in marks] == titles
    assert [mark.find("use").get("fill") for mark in marks] == [look_of(i)[0] for i in (0, 1, 0, 2)]
    frame = tree.findall(".//svg/rect")[1]
    left, top, side = (float(frame.get(name)) for name in ("x", "y", "width"))
    for mark, (x, y) in zip(marks, POINTS, strict=True):
        place = [float(mark.find("use").get(name)) for name in ("x", "y")]
        assert place == pytest.approx([left + side * (x + 0.5) / 2, top + side * (1.5 - y) / 2], abs=0.06)
        assert [float(mark.find("g/circle").get(name)) for name in ("cx", "cy")] == place
    assert tree.find("svg").get("aria-label") == "Epoch 3 & last: 4 clips on a plane"


def test_outlines_and_names_belong_together():
    tree, marks = drawn(embedding_html(POINTS, MEMORY, NAMES, {}))
    outlines = {path.get("id"): path.get("d") for path in tree.findall(".//defs/path")}
    assert len(set(outlines.values())) == 12
    used = [mark.find("use").get("href").removeprefix("#") for mark in marks]
    assert used[0] == used[2] and len(set(used)) == 3 and set(used) <= set(outlines)
    listed = dict(zip(NAMES, tree.findall("svg/use"), strict=True))
    texts = [text.text for text in tree.findall("svg/text")]
    assert texts[-3:] == NAMES
    for name, number in zip(NAMES, (0, 1, 3), strict=True):
        for attribute in ("href", "fill"):
            assert listed[name].get(attribute) == marks[number].find("use").get(attribute)
    tree, marks = drawn(embedding_html(POINTS, MEMORY, NAMES, {}, by="source"))
    assert not tree.findall("svg/use") and marks[1].find("use").get("fill") == look_of(1)[0]
    assert marks[0].find("use").get("fill") == look_of(5)[0]
    square = outlines[listed["<jump> & run"].get("href").removeprefix("#")]
    assert square == "M-5.5 5.5L5.5 5.5L5.5 -5.5L-5.5 -5.5Z"


def test_nothing_is_fetched_nothing_runs_and_two_do_not_clash():
    one = embedding_html(POINTS, MEMORY, NAMES, {}, title="one")
    two = embedding_html(POINTS, MEMORY, NAMES, {}, title="two")
    assert one == embedding_html(POINTS, MEMORY, NAMES, {}, title="one")
    for page in (one, two):
        assert "<script" not in page and not re.search(r"\son\w+=", page)
        assert re.findall(r"https?://[^\"]*", page) == ["http://www.w3.org/2000/svg"]
    ids = [set(re.findall(r'\sid="([^"]+)"', page)) for page in (one, two)]
    assert len(ids[0]) == 12 and not ids[0] & ids[1]
    rules = re.search(r"<style>(.*?)</style>", one)[1]
    key = re.search(r'svg class="(\w+)"', one)[1]
    assert all(part.startswith(f".{key}") for rule in rules.split("}")[:-1] for part in rule.split("{")[0].split(","))


def test_every_class_has_its_look_and_is_listed_if_there_is_room():
    assert len({look_of(i)[1] for i in range(12)}) == 12 and len({look_of(i) for i in range(84)}) == 84
    for names, listed in (([f"c{i}" for i in range(24)], 24), ([f"c{i}" for i in range(25)], 0)):
        assert len(drawn(embedding_html(POINTS, MEMORY, names))[0].findall("svg/use")) == listed
