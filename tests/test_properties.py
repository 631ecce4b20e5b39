"""Properties of any manifest, memory, cascade and sampler: small examples by hypothesis, slow references."""

from collections import deque

import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from cprlib.cascade import cascade_retrieve, plan_stages
from cprlib.data.manifest import Manifest
from cprlib.data.sampling import EpochSampler
from cprlib.memory import FeatureQueue

few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
plain = st.characters(exclude_categories=("Cs", "Cc"))
names = st.text(plain, min_size=1, max_size=12).filter(lambda t: t.strip() == t)


@few
@given(st.lists(names, min_size=2, max_size=5, unique=True), st.sampled_from(["csv", "parquet"]))
def test_a_manifest_with_any_names_survives_a_round_trip(tmp_path, classes, suffix):
    rows = [
        dict(path=f"/v/{n}.mp4", label=n // 2, class_name=classes[n // 2], source_id=f"{classes[n // 2]}/{n}")
        for n in range(2 * len(classes))
    ]
    split = ["train", "test"] * len(classes)
    more = dict(num_frames=9, width=8, height=8, fps=25.0, flow_path="", reader="seek", group="")
    table = pd.DataFrame(rows).assign(video_id=range(len(rows)), split=split, **more)
    manifest, path = Manifest(table).validate(), tmp_path / f"m.{suffix}"
    manifest.write(path)
    pd.testing.assert_frame_equal(Manifest.read(path).table, manifest.table)


@few
@given(st.integers(1, 7), st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_the_memory_holds_the_last_rows_in_a_ring(size, batches):
    queue, reference, written = FeatureQueue(size, 2, ["rgb", "flow"]), deque(maxlen=size), 0
    for batch in batches:
        ids = torch.arange(written, written + batch)
        features = {view: ids[:, None].expand(-1, 2) + shift for view, shift in (("rgb", 0.0), ("flow", 0.5))}
        queue.enqueue(features, ids, ids + 100, ids % 3)
        reference.extend(ids.tolist())
        written += batch
        filled = queue.filled
        held = queue.video_id[filled]
        assert sorted(held.tolist()) == list(reference) and queue.is_full == (written >= size)
        assert all(int(row) == int(i) % size for row, i in enumerate(held))
        for view, shift in (("rgb", 0.0), ("flow", 0.5)):  # one index for all views and ids
            assert torch.equal(queue.features[view][filled, 0], held + shift)
        assert torch.equal(queue.source_id[filled], held + 100) and torch.equal(queue.label[filled], held % 3)
        assert (queue.video_id[~filled] == -1).all() and (queue.features["rgb"][~filled] == 0).all()


@st.composite
def cascades(draw):
    size = draw(st.integers(4, 24))
    stages, ratio, top_k = draw(st.integers(1, 3)), draw(st.sampled_from([0.5, 0.6, 0.8])), draw(st.integers(1, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    excluded = torch.rand(3, size, generator=generator) < draw(st.sampled_from([0.0, 0.3, 0.9, 1.0]))
    features = {v: normalize(torch.randn(size + 3, 4, generator=generator), dim=1) for v in ("flow", "rgb")}
    return size, stages, ratio, top_k, excluded, features


@few
@given(cascades())
def test_each_stage_sorts_and_cuts(case):
    size, num_stages, ratio, top_k, excluded, features = case
    try:
        stages = plan_stages(size, num_stages=num_stages, ratio=ratio, top_k=top_k)
    except ValueError:
        return  # an impossible plan is refused
    bank, queries = ({v: x[part] for v, x in features.items()} for part in (slice(3, None), slice(3)))
    found = cascade_retrieve(queries, bank, stages, excluded)
    for b in range(3):
        rows = [row for row in range(size) if not excluded[b, row]]
        for view, keep in stages:
            rows = sorted(rows, key=lambda row, view=view: -float(bank[view][row] @ queries[view][b]))[:keep]
        assert found.indices[b][found.valid[b]].tolist() == rows


@few
@given(st.integers(2, 40), st.integers(1, 12), st.integers(0, 2**63 - 1), st.integers(0, 5))
def test_an_epoch_visits_every_row_at_most_once_and_is_reproducible(rows, batch, seed, epoch):
    def batches():
        sampler = EpochSampler(rows, batch, seed)
        sampler.epoch = epoch
        return list(sampler)

    first = batches()
    visited = [row for part in first for row, _ in part]
    assert batches() == first and len(visited) == len(set(visited)) == rows // min(batch, rows) * min(batch, rows)
    assert set(visited) <= set(range(rows)) and len({s for part in first for _, s in part}) == len(visited)
    with pytest.raises(ValueError):
        EpochSampler(1, batch, seed)
