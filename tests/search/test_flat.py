"""FAISS gives exactly the results of the search in blocks, and is optional."""

import json
import sys
from itertools import product

import numpy as np
import pandas as pd
import pytest

from cprlib.data.video import fingerprint
from cprlib.search.flat import Flat
from cprlib.search.index import ABOUT, COLUMNS, VIDEOS, open_index
from cprlib.search.query import search
from cprlib.search.shards import Vectors, write_shard


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """An index of 1,000 files with 1 to 12 windows each: 30 tie with the first, 10 differ in the last digit."""
    folder = tmp_path_factory.mktemp("many")
    draw, videos, names = np.random.default_rng(0), [], [folder / f"{i:03}.mp4" for i in range(1000)]
    first = draw.normal(size=(2, 4))
    for number, name in enumerate(names):
        name.write_text(str(number))
        rows = draw.normal(size=(2 + number % 12, 2, 4))
        if number == 0 or 80 <= number < 120:
            rows[:] = first + 1e-7 * rows * (number >= 110)
        rows = (rows / np.linalg.norm(rows, axis=2, keepdims=True) / 2**0.5).astype(np.float32).reshape(-1, 8)
        videos.append(Vectors(rows[0], rows[1:].astype(np.float16), np.zeros((len(rows) - 1, 2), np.float32)))
    shards = [write_shard(folder, f"s{i}", videos[i : i + 250]) for i in range(0, 1000, 250)]
    table = pd.concat(shards, ignore_index=True)
    table = table.assign(path=[*map(str, names)], content=[*map(fingerprint, names)], size=1, time=0, problem="")
    table[COLUMNS].drop(index=range(3, 1000, 9)).to_parquet(folder / VIDEOS)  # the vectors of the dropped ones stay
    parts = {"flow": [0, 4], "rgb": [4, 8]}
    about = {"source": str(folder), "root": str(folder), "encoder": "", "fingerprint": {}, "parts": parts}
    (folder / ABOUT).write_text(json.dumps(about))
    return folder


def test_faiss_finds_the_same_as_the_blocks(many, monkeypatch):
    """Also with many ties and differences in the last digit."""
    pytest.importorskip("faiss", reason="needs the extra 'faiss': pip install -e '.[faiss]' -c constraints.txt")
    index, other, real, used = open_index(many), open_index(many), Flat.best_of_each, []
    monkeypatch.setattr(Flat, "best_of_each", lambda *args: used.append(real(*args)) or used[-1])
    asked = [many / f"{number:03}.mp4" for number in (0, 5, 112)]
    for by, view, top, video in product(("whole", "windows"), (None, "flow", "rgb"), (7, 35), asked):
        other.flat.clear()  # every query is a first one
        blocks = search(other, video, top, by=by, view=view)
        pd.testing.assert_frame_equal(search(index, video, top, by=by, view=view), blocks)
        assert len(blocks) == top and not set(blocks.path) - set(index.videos.path)
    assert sum(best is not None for best in used) >= 24  # of 36: the others ask for too many videos
    level = search(index, asked[0], 25, by="whole").path
    assert level.is_monotonic_increasing and level.str[-7:-4].astype(int).between(80, 119).all()


def test_without_faiss_or_memory_for_it_blocks_are_searched(many, monkeypatch):
    index = open_index(many)
    first = search(index, many / "000.mp4")
    monkeypatch.setattr("cprlib.search.flat.BYTES", 1000)
    pd.testing.assert_frame_equal(search(index, many / "000.mp4"), first)
    monkeypatch.setitem(sys.modules, "faiss", None)
    pd.testing.assert_frame_equal(search(index, many / "000.mp4"), first)
    assert not any(index.flat.values())
    among = index.videos.set_index("path").content.isin(index.videos.content[50:53])
    assert set(search(index, many / "000.mp4", among=among).path) == set(index.videos.path[50:53])
