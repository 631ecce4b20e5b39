"""Miners: what each method sees and mines."""

import inspect

import pytest
import torch

from cprlib.cascade import Retrieval, cascade_retrieve, plan_stages
from cprlib.methods import build_miner
from cprlib.miners import fusion, label_positives, positives_mask


def features(rows, seed):
    x = torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(x, dim=1)


def sides():
    return {v: features(4, i) for i, v in enumerate(("flow", "rgb"))}, {
        v: features(64, 9 + i) for i, v in enumerate(("flow", "rgb"))
    }


@pytest.mark.parametrize(("method", "num_stages"), [("coclr", 1), ("cpr", 3)])
def test_coclr_has_one_stage_and_cpr_the_planned_cascade(method, num_stages):
    anchors, bank = sides()
    exclude = torch.rand(4, 64, generator=torch.Generator().manual_seed(3)) < 0.2
    mined = build_miner(method, ("flow", "rgb"), 64, num_stages=3, ratio=0.5, top_k=5)(anchors, bank, exclude)
    oracle = cascade_retrieve(anchors, bank, plan_stages(64, ("flow", "rgb"), num_stages, 0.5, 5), exclude)
    assert torch.equal(mined.indices, oracle.indices)


def test_no_miner_takes_labels():
    for method in ("coclr", "cpr"):
        miner = build_miner(method, ("flow", "rgb"), 64, 3)
        assert [p for p in inspect.signature(miner).parameters] == ["anchors", "bank", "exclude"]
    assert build_miner("infonce", ("rgb",), 64) is None and build_miner("ubernce", ("rgb",), 64) is None


def test_fusion_adds_the_similarities_of_all_views():
    anchors, bank = sides()
    exclude = torch.rand(4, 64, generator=torch.Generator().manual_seed(3)) < 0.2
    exclude[0] = True
    exclude[0, [5, 9]] = False
    mined = fusion(3)(anchors, bank, exclude)
    for query in range(4):
        may = [j for j in range(64) if not exclude[query, j]]
        near = sorted(may, key=lambda j: -float(sum(anchors[v][query] @ bank[v][j] for v in bank)))[:3]
        assert mined.indices[query][mined.valid[query]].tolist() == near


def test_the_mask_leaves_out_invalid_rows():
    found = Retrieval(torch.tensor([[3, 1], [0, 2]]), torch.tensor([[True, True], [True, False]]), ())
    assert positives_mask(found, 4).tolist() == [[False, True, False, True], [True, False, False, False]]


def test_label_positives():
    assert label_positives(torch.tensor([1, 2]), torch.tensor([2, 1, -1])).tolist() == [
        [False, True, False],
        [True, False, False],
    ]


def test_bad_methods_are_named():
    with pytest.raises(ValueError, match="'moco'; choose one of"):
        build_miner("moco", ("flow", "rgb"), 64)
    with pytest.raises(ValueError, match="coclr mines in another view, but the only view is"):
        build_miner("coclr", ("rgb",), 64)
