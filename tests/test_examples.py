"""CPR in other libraries: the examples run, and mine clips with the same motion."""

import pytest
import torch


def test_the_cascade_as_miner_in_lightlys_moco():
    pytest.importorskip("lightly", reason="needs the extra 'examples': pip install -e '.[examples]' -c constraints.txt")
    from examples import lightly_moco

    clips = lightly_moco.made_clips(40, torch.Generator().manual_seed(0))
    assert clips["rgb"].shape == clips["flow"].shape == (40, 3, 4, 24, 24)
    assert set(clips["side"].tolist()) == {0, 1, 2, 3}
    found = lightly_moco.main(steps=20)
    assert found["mined rows that are right"] > 0.5  # four directions: chance is 0.25
    assert all(0 <= share <= 1 for share in found.values())


def test_the_cascade_as_miner_of_pytorch_metric_learning():
    pytest.importorskip("pytorch_metric_learning", reason="needs the extra 'examples': pip install -e '.[examples]'")
    from cprlib.cascade import cascade_retrieve, plan_stages
    from examples import metric_learning_miner as example

    torch.manual_seed(0)
    views = {v: torch.nn.functional.normalize(torch.randn(20, 4), dim=1) for v in ("flow", "rgb")}
    miner = example.CascadeMiner("rgb", top_k=2).see({"flow": views["flow"][:3]}, {"flow": views["flow"]})
    a, p, a2, n = miner(views["rgb"][:3], torch.arange(3), views["rgb"], torch.arange(20))
    own = torch.eye(3, 20) > 0
    queries = {v: x[:3] for v, x in views.items()}
    rows = cascade_retrieve(queries, views, plan_stages(20, ("flow", "rgb"), 3, 0.5, 2), own).indices
    for query in range(3):
        assert sorted(p[a == query].tolist()) == sorted([query, *rows[query].tolist()])
        assert sorted([*p[a == query].tolist(), *n[a2 == query].tolist()]) == list(range(20))
    found = example.main()
    assert found["with the cascade"] > found["own video alone"] and found["mined pairs that are right"] > 0.8
