"""Choosing a cascade without labels: agreement against a slow oracle, and on a memory with a known answer."""

import torch
from torch.nn.functional import normalize

from cprlib.cascade import Stage, plan_stages
from cprlib.evaluation.choice import agreement, rank_plans, stages_of, true_share
from cprlib.report.figures.curves import choice_figure
from cprlib.training.snapshots import Memory


def memory(rows=40, noise=(0.5, 0.5), seed=0):
    """Four classes; each view is the class plus independent noise."""
    g = torch.Generator().manual_seed(seed)
    label = torch.arange(rows) % 4
    signal = torch.eye(4).repeat(1, 3)[label]
    noises = dict(zip(("flow", "rgb"), noise, strict=True))
    features = {v: normalize(signal + n * torch.randn(rows, 12, generator=g), dim=1) for v, n in noises.items()}
    return Memory(features, torch.arange(rows), torch.arange(rows) // 2, label)


def test_agreement_equals_a_slow_oracle_and_reads_no_label():
    kept = memory()
    stages = plan_stages(40, ("flow", "rgb"), 2, 0.5, 3)
    values = []
    for q in range(40):
        may = [j for j in range(40) if j // 2 != q // 2]
        s = {v: (x[q] @ x.T) for v, x in kept.features.items()}
        first = sorted(may, key=lambda j: -float(s["flow"][j]))[:20]
        mined = sorted(first, key=lambda j: -float(s["rgb"][j]))[:3]
        for v in s:
            others = s[v][may]
            values += ((s[v][mined] - others.mean()) / others.std(correction=0)).tolist()
    assert abs(agreement(kept, stages) - sum(values) / len(values)) < 1e-4
    assert agreement(kept._replace(label=torch.zeros(40)), stages) == agreement(kept, stages)


def test_plans_with_more_agreement_rank_first_and_have_higher_pmr():
    kept = memory(80, (0.5, 0.5))
    table = rank_plans(kept, num_stages=(1, 2, 3), ratios=(0.3, 0.5), top_ks=(3,))
    assert len(table) == 2 + 2 * 2 * 2 and table.agreement.is_monotonic_decreasing
    assert table.iloc[-1].num_stages == 1 and table.iloc[0].num_stages > 1
    table["pmr"] = [true_share(kept, stages_of(plan, 80)) for plan in table.to_dict("records")]
    assert table.pmr.iloc[0] > table.pmr.iloc[-1]
    assert table[["agreement", "pmr"]].corr(method="spearman").iloc[0, 1] > 0.5
    assert stages_of(table.iloc[-1], 80) == (Stage(table.iloc[-1].order, 3),)
    figure = choice_figure({"rgb": table})
    assert figure.axes[0].get_title().startswith("RGB network: Spearman 0.")


def test_impossible_plans_are_left_out():
    assert rank_plans(memory(), num_stages=(1, 7), ratios=(0.3,)).num_stages.tolist() == [1, 1]
