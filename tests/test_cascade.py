"""The cascade against a slow oracle, and on cases that can be computed by hand."""

import math

import pytest
import torch

from cprlib.cascade import Stage, cascade_retrieve, plan_stages


def unit(*shape, seed):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(x, dim=-1)


def slow_cascade(queries, bank, stages, exclude):
    """Plain Python: for each query, sort the surviving rows by their similarity in the stage's view."""
    result = []
    for b in range(len(exclude)):
        left = [j for j in range(exclude.shape[1]) if not exclude[b, j]]
        for view, keep in stages:
            left = sorted(left, key=lambda j: -float(queries[view][b] @ bank[view][j]))[:keep]
        result.append(left)
    return result


@pytest.mark.parametrize("num_stages", range(1, 10))
@pytest.mark.parametrize(("ratio", "bank_size", "top_k"), [(0.5, 2048, 5), (0.8, 301, 7), (0.63, 997, 1)])
def test_equals_slow_oracle(num_stages, ratio, bank_size, top_k):
    queries = {"flow": unit(6, 16, seed=1), "rgb": unit(6, 16, seed=2)}
    bank = {"flow": unit(bank_size, 16, seed=3), "rgb": unit(bank_size, 16, seed=4)}
    exclude = torch.rand(6, bank_size, generator=torch.Generator().manual_seed(5)) < 0.1
    stages = plan_stages(bank_size, ("flow", "rgb"), num_stages, ratio, top_k)
    found = cascade_retrieve(queries, bank, stages, exclude)
    assert found.valid.all()
    assert found.indices.tolist() == slow_cascade(queries, bank, stages, exclude)
    ordered = cascade_retrieve(queries, bank, stages, exclude, in_order=True)
    assert torch.equal(ordered.indices, found.indices)
    assert all(map(torch.equal, *([s.sort().values for s in f.survivors] for f in (found, ordered))))


def test_excluded_rows_beyond_the_first_cut_do_not_come_back():
    """With most rows excluded, the first stages are padded with forbidden rows; none may be valid."""
    queries, bank = (
        {v: unit(4, 8, seed=i) for i, v in enumerate("ab")},
        {v: unit(64, 8, seed=9 + i) for i, v in enumerate("ab")},
    )
    exclude = torch.ones(4, 64, dtype=torch.bool)
    for b in range(4):
        exclude[b, [3, 17, 40][:b]] = False  # 0, 1, 2 and 3 rows are allowed
    found = cascade_retrieve(queries, bank, plan_stages(64, ("a", "b"), 3, 0.5, 5), exclude)
    assert found.valid.sum(1).tolist() == [0, 1, 2, 3]
    for b, oracle in enumerate(slow_cascade(queries, bank, plan_stages(64, ("a", "b"), 3, 0.5, 5), exclude)):
        assert found.indices[b][found.valid[b]].tolist() == oracle


def test_one_stage_is_plain_top_k():
    queries, bank = {"flow": unit(5, 8, seed=1)}, {"flow": unit(50, 8, seed=2)}
    found = cascade_retrieve(queries, bank, plan_stages(50, ("flow",), 1, 0.5, 4))
    assert torch.equal(found.indices, (queries["flow"] @ bank["flow"].T).topk(4).indices)


def test_two_views_remove_the_false_positive():
    """Features are angles. Row 0 agrees in both views, row 1 only in flow, row 2 only in RGB."""

    def at(*degrees):
        angles = torch.tensor([math.radians(d) for d in degrees])
        return torch.stack([angles.cos(), angles.sin()], dim=1)

    queries = {"flow": at(0), "rgb": at(0)}
    bank = {"flow": at(10, 5, 90, 120), "rgb": at(10, 90, 5, 120)}
    one = cascade_retrieve(queries, bank, plan_stages(4, ("flow", "rgb"), 1, 0.5, 1))
    two = cascade_retrieve(queries, bank, plan_stages(4, ("flow", "rgb"), 2, 0.5, 1), in_order=True)
    assert one.indices.tolist() == [[1]]
    assert two.indices.tolist() == [[0]]
    assert two.survivors[0].tolist() == [[1, 0]]


def test_survivors_are_nested_and_sized_by_the_plan():
    stages = plan_stages(100, ("flow", "rgb"), 5, 0.8, 3)
    queries, bank = {v: unit(2, 8, seed=1) for v in ("flow", "rgb")}, {v: unit(100, 8, seed=2) for v in ("flow", "rgb")}
    survivors = cascade_retrieve(queries, bank, stages).survivors
    assert [s.shape[1] for s in survivors] == [80, 64, 51, 40, 3]
    for b in range(2):
        for before, after in zip(survivors, survivors[1:], strict=False):
            assert set(after[b].tolist()) <= set(before[b].tolist())


def test_three_views_take_turns():
    assert [s.view for s in plan_stages(256, ("flow", "residual", "rgb"), 5)] == [
        "flow",
        "residual",
        "rgb",
        "flow",
        "residual",
    ]


@pytest.mark.parametrize("order", [("rgb", "flow", "residual"), ("residual", "rgb"), ("flow", "flow", "rgb")])
def test_any_order_of_three_views_and_any_keeps_equal_the_oracle(order):
    queries = {v: unit(5, 16, seed=i) for i, v in enumerate(("flow", "residual", "rgb"))}
    bank = {v: unit(211, 16, seed=9 + i) for i, v in enumerate(("flow", "residual", "rgb"))}
    exclude = torch.rand(5, 211, generator=torch.Generator().manual_seed(5)) < 0.1
    stages = plan_stages(211, order, top_k=3, keeps=(100, 0.25, 17))
    assert [stage.keep for stage in stages] == [100, 52, 17, 3]
    assert [stage.view for stage in stages] == [order[s % len(order)] for s in range(4)]
    found = cascade_retrieve(queries, bank, stages, exclude)
    assert found.indices.tolist() == slow_cascade(queries, bank, stages, exclude)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(keeps=(3000,)), r"keeps is \(3000,\), that is \[3000\] of 2048 rows, then top_k = 5"),
        (dict(keeps=(0.1, 0.5)), r"that is \[204, 1024\] of 2048 rows.* no stage may keep more"),
        (dict(keeps=(0.001,)), r"that is \[2\] of 2048 rows, then top_k = 5"),
        (dict(keeps=(-1,)), "no stage may keep more"),
        (dict(num_stages=0), "num_stages is 0"),
        (dict(num_stages=10), "use at most 9 stages"),
        (dict(ratio=1.0), "ratio is 1.0"),
        (dict(top_k=3000), "top_k is 3000"),
        (dict(top_k=0), "top_k is 0"),
        (dict(views=()), "views is empty"),
    ],
)
def test_impossible_plans_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        plan_stages(2048, **arguments)


@pytest.mark.parametrize(
    ("stages", "exclude", "message"),
    [
        ((), None, "stages is empty"),
        ((Stage("depth", 3),), None, "'depth' is not among the queries"),
        ((Stage("rgb", 21),), None, "keeps 21 of 20 rows"),
        ((Stage("rgb", 5), Stage("rgb", 6)), None, "stage 2 .* keeps 6 of 5"),
        ((Stage("rgb", 5),), torch.zeros(3, 19, dtype=torch.bool), r"must be \(B, K\) = \(3, 20\)"),
    ],
)
def test_bad_calls_are_named(stages, exclude, message):
    with pytest.raises(ValueError, match=message):
        cascade_retrieve({"rgb": unit(3, 4, seed=1)}, {"rgb": unit(20, 4, seed=2)}, stages, exclude)
