"""Losses against analytic values and a direct implementation of the formulas."""

import math

import pytest
import torch

from cprlib.losses import contrastive_logits, info_nce, multi_instance_nce


def unit(*shape, seed):
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_uniform_logits_give_the_log_of_the_number_of_candidates():
    q = torch.zeros(3, 8)
    assert info_nce(q, q, torch.zeros(15, 8)).item() == pytest.approx(math.log(16), rel=1e-6)
    logits, positives = torch.zeros(2, 16), torch.zeros(2, 16, dtype=torch.bool)
    positives[:, :4] = True
    assert multi_instance_nce(logits, positives).item() == pytest.approx(math.log(4), rel=1e-6)


def test_one_positive_gives_info_nce():
    q, k, memory = unit(5, 8, seed=1), unit(5, 8, seed=2), unit(30, 8, seed=3)
    positives = torch.zeros(5, 31, dtype=torch.bool)
    positives[:, 0] = True
    loss = multi_instance_nce(contrastive_logits(q, k, memory, 0.1), positives)
    torch.testing.assert_close(loss, info_nce(q, k, memory, 0.1))


def test_losses_equal_the_formulas():
    logits = torch.randn(4, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    positives = torch.rand(4, 9, generator=torch.Generator().manual_seed(1)) < 0.4
    positives[:, 0] = True
    rows = [-math.log(row[p].exp().sum() / row.exp().sum()) for row, p in zip(logits, positives, strict=True)]
    assert multi_instance_nce(logits, positives).item() == pytest.approx(sum(rows) / 4, rel=1e-12)


def test_only_positives_give_zero_and_far_positives_do_not_underflow():
    assert multi_instance_nce(torch.randn(2, 5), torch.ones(2, 5, dtype=torch.bool)).item() == pytest.approx(
        0, abs=1e-6
    )
    logits = torch.tensor([[-500.0, 500.0]], requires_grad=True)  # -log(softmax) of the positive underflows to -log(0)
    loss = multi_instance_nce(logits, torch.tensor([[True, False]]))
    loss.backward()
    assert loss.item() == pytest.approx(1000) and torch.isfinite(logits.grad).all()


def test_rows_at_minus_infinity_do_not_count():
    logits = torch.tensor([[1.0, 2.0, 3.0, -float("inf")]], requires_grad=True)
    loss = multi_instance_nce(logits, torch.tensor([[True, False, False, False]]))
    loss.backward()
    shorter = multi_instance_nce(logits[:, :3].detach(), torch.tensor([[True, False, False]]))
    torch.testing.assert_close(loss.detach(), shorter)
    assert torch.isfinite(logits.grad).all() and logits.grad[0, 3] == 0


@pytest.mark.parametrize(
    ("positives", "message"),
    [
        (torch.ones(2, 4, dtype=torch.bool), "must be bool"),
        (torch.ones(2, 3), "must be bool"),
        (torch.zeros(2, 3, dtype=torch.bool), "no positive"),
    ],
)
def test_bad_masks_are_named(positives, message):
    with pytest.raises(ValueError, match=message):
        multi_instance_nce(torch.zeros(2, 3), positives)
