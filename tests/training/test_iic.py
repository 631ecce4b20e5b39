"""IIC and IIC + CPR: banks, rows and loss against slow oracles; training end to end, resumed, without collapse."""

import dataclasses
import importlib
import math

import pandas as pd
import pytest
import torch

from cprlib.data.frames import open_frames
from cprlib.data.manifest import Manifest
from cprlib.data.sampling import EpochSampler
from cprlib.evaluation.features import network_features
from cprlib.evaluation.retrieval import prepare_features, recall_at_k
from cprlib.methods import build_miner
from cprlib.store.checkpoints import load_checkpoint, load_encoder
from cprlib.training.config import TrainingConfig
from cprlib.training.cotrain import untrained
from cprlib.training.iic import IICConfig, fit_iic, new_state, open_clips
from cprlib.training.iic_step import Embedding, choose_rows, train_step
from cprlib.training.loop import read_metrics
from cprlib.training.mining_log import log_table
from cprlib.training.snapshots import read_memory
from tests.trainings import SMALL, interrupted

iic = importlib.import_module("cprlib.training.iic")


@pytest.fixture
def config(toy_manifest, tmp_path):
    small = SMALL | dict(dim=16, clip_stride=3, clip_size=24, batch_size=9, epochs=2)
    mining = dict(num_stages=2, ratio=0.5, top_k=2, negatives=20, lr_milestones=(1,))
    return IICConfig(manifest=str(toy_manifest), out=str(tmp_path / "iic"), **small, **mining)


def small_state(config, epoch=1):
    """Twelve videos of four recordings, two per class, all rows filled but the last; ids of three queries."""
    numbers = torch.arange(12)
    videos = torch.stack([numbers + 100, numbers // 3, numbers // 6, torch.full((12,), 40)], dim=1).numpy()
    state = new_state(config, videos)
    state.memory.filled[:11] = True
    state.epoch = epoch
    rows = torch.tensor([0, 7, 11])
    return state, {"video_id": rows + 100, "source_id": rows // 3, "label": rows // 6}


def test_rows_are_drawn_mined_and_ignored_as_set(config):
    config = dataclasses.replace(config, method="iic_cpr", negatives=4, siblings="ignore")
    state, ids = small_state(config)
    miner = build_miner("iic_cpr", config.views, 12, 2, 0.5, 2)
    positives, counted, log = choose_rows(config, state, miner, ids, torch.Generator().manual_seed(0))
    bank, log = state.memory.features, log_table([log], 1)
    for query, row in enumerate([0, 7]):
        may = [j for j in range(11) if j // 3 != row // 3]  # other recordings, filled
        six = sorted(may, key=lambda j: -float(bank["residual"][row] @ bank["residual"][j]))[:6]
        two = sorted(six, key=lambda j: -float(bank["rgb"][row] @ bank["rgb"][j]))[:2]
        assert positives[query].nonzero().flatten().tolist() == sorted([row, *two])
        assert log[log["query"] == row + 100].mined.tolist() == [j + 100 for j in two]
        videos, disordered = counted[query, :12], counted[query, 12:]
        assert not any(videos[j] for j in range(12) if j // 3 == row // 3 and j != row)  # siblings are ignored
        assert disordered[row] and disordered.sum() == 5  # the own row and the drawn ones
    assert positives[2].nonzero().flatten().tolist() == [11]  # its row is not filled
    assert not positives[:, 12:].any() and len(log) == 4


def test_nothing_is_mined_in_the_first_epoch_and_iic_never_mines(config):
    state, ids = small_state(config, epoch=0)
    for miner, epoch in ((build_miner("iic_cpr", config.views, 12, 2, 0.5, 2), 0), (None, 1)):
        state.epoch = epoch
        positives, counted, log = choose_rows(config, state, miner, ids, torch.Generator().manual_seed(0))
        assert log is None and positives.sum(1).tolist() == [1, 1, 1] and (counted & positives).equal(positives)
        assert counted[:, :12].sum(1).tolist() == [12] * 3  # 20 negatives requested, 11 others exist


@pytest.mark.parametrize("loss", ["softmax", "nce"])
def test_loss_and_bank_equal_a_slow_oracle(config, loss):
    config = dataclasses.replace(config, loss=loss, negatives=5, batch_size=3)
    pairs = open_clips(config)
    state = new_state(config, pairs.rows)
    batch = torch.utils.data.default_collate([pairs[item] for item in next(iter(EpochSampler(54, 3, 0)))])
    before = {name: rows.clone() for name, rows in {**state.memory.features, **state.disordered.features}.items()}
    watched = []
    state.parallel.register_forward_hook(lambda module, clips, features: watched.append(features))
    found, _ = train_step(config, state, None, batch, torch.Generator().manual_seed(1))
    features = dict(zip(("residual", "rgb", "intra"), (x.detach() for x in watched), strict=True))
    ids = {name: batch[name] for name in ("video_id", "source_id", "label")}
    # Repeat the random draws: photometry, then the repeated frame, then the rows.
    from cprlib.data.augmentation import to_inputs
    from cprlib.data.disorder import repeat_frame

    again = torch.Generator().manual_seed(1)
    inputs = to_inputs(batch["q"], config.views, batch["strong_q"], again)
    repeat_frame(inputs["rgb"], again)
    positives, counted, _ = choose_rows(config, state, None, ids, again)
    total = 0.0
    for view, other in (("residual", "rgb"), ("rgb", "residual")):
        bank = torch.cat([before[other], before["intra"]])
        for b in range(3):
            own = positives[b].nonzero().item()
            wrong = [j for j in range(108) if counted[b, j] and j != own]
            assert len(wrong) == 11  # 5 other videos, and 5 + 1 disordered ones
            s = [math.exp(float(features[view][b] @ bank[j]) / config.tau) for j in [own, *wrong]]
            if loss == "softmax":
                total += -math.log(s[0] / sum(s))
            else:
                z = 54 * math.exp(1 / (2 * 16 * config.tau**2))
                noise = len(wrong) / 54
                total += -math.log(s[0] / z / (s[0] / z + noise))
                total += -sum(math.log(noise / (x / z + noise)) for x in s[1:])
    assert float(found) == pytest.approx(total / 3, rel=1e-4)
    rows = [state.memory.video_id.tolist().index(video) for video in ids["video_id"].tolist()]
    after = {**state.memory.features, **state.disordered.features}
    for view, old in before.items():
        for b, row in enumerate(rows):
            moved = 0.5 * old[row] + 0.5 * features[view][b]
            assert torch.allclose(after[view][row], moved / moved.norm(), atol=1e-6)
        others = [j for j in range(54) if j not in rows]
        assert torch.equal(after[view][others], old[others])
    assert state.memory.filled.nonzero().flatten().tolist() == sorted(rows)


def test_iic_keeps_its_spread_and_beats_random_weights(config, toy_manifest, tmp_path):
    config = dataclasses.replace(config, negatives=53, epochs=20, lr_milestones=(16,))
    folder, start = fit_iic(config), untrained(dataclasses.replace(config, out=str(tmp_path / "random")))
    metrics = read_metrics(folder)
    assert metrics.loss.iloc[-3:].mean() < metrics.loss.iloc[1:4].mean() - 1
    assert metrics.spread.min() > 0.5  # collapsed: 0
    for rows in read_memory(folder).features.values():
        assert torch.linalg.matrix_rank(rows) == 16  # collapsed: 1 and 1
    videos = Manifest.read(toy_manifest)
    frames = open_frames(videos, config.views, config.short_side)
    labels = [torch.tensor(videos.split(split).table.label.to_numpy()) for split in ("test", "train")]

    def r5(network, view):
        test, train = (network_features(network, videos, frames, s, view=view) for s in ("test", "train"))
        return recall_at_k(prepare_features(test), labels[0], prepare_features(train), labels[1], (5,))[5]

    assert sum(r5(folder, view) for view in config.views) > sum(r5(start, view) for view in config.views)


def test_iic_cpr_trains_in_phases_logs_and_resumes(config, tmp_path):
    config = dataclasses.replace(
        config, method="iic_cpr", top_k_phases=(1, 2), keeps=(30,), intra="shuffle", loss="nce"
    )
    straight = fit_iic(config)
    metrics, log = read_metrics(straight), pd.read_parquet(straight / "mining.parquet")
    assert metrics.lr.tolist() == pytest.approx([1e-3, 1e-4] * 2) and metrics.loss.notna().all()
    assert metrics.pmr.isna().tolist() == [True, False, False, False]
    assert log.groupby("epoch")["rank"].max().tolist() == [0, 1, 1]
    assert (log["query_source"] != log["mined_source"]).all() and (log["query"] != log["mined"]).all()
    assert list(read_memory(straight).features) == ["residual", "rgb"]
    stopped = dataclasses.replace(config, out=str(tmp_path / "stopped"))
    with interrupted(iic, 2):
        fit_iic(stopped)
    a, b = load_checkpoint(straight), load_checkpoint(fit_iic(stopped))
    assert all(torch.equal(a[part][name], b[part][name]) for part in ("encoder", "memory") for name in a[part])


@pytest.mark.parametrize("backbone", ["r3d_18", "r2plus1d_18"])
def test_a_step_with_the_papers_backbones(config, backbone):
    config = dataclasses.replace(config, backbone=backbone, batch_size=2)
    pairs = open_clips(config)
    state = new_state(config, pairs.rows)
    batch = torch.utils.data.default_collate([pairs[item] for item in next(iter(EpochSampler(54, 2, 0)))])
    before = state.encoder.head[0].weight.clone()
    loss, _ = train_step(config, state, None, batch, torch.Generator().manual_seed(0))
    assert torch.isfinite(loss) and not torch.equal(before, state.encoder.head[0].weight)


def test_standardised_features_have_no_common_direction(config):
    state = new_state(config, open_clips(config).rows)
    clips = torch.randn(9, 3, 4, 24, 24)
    for standardise, alike in ((True, False), (False, True)):
        features = Embedding(state.encoder, standardise)(clips)
        assert torch.allclose(features.norm(dim=1), torch.ones(9))
        assert ((features @ features.T).mean() > 0.5) == alike


def test_one_network_is_loaded_in_both_views_and_in_no_other(config):
    folder = fit_iic(dataclasses.replace(config, epochs=1))
    for view in ("rgb", "residual"):
        assert load_encoder(folder, view).dim == 16
    with pytest.raises(ValueError, match="is a rgb network, but a flow network is needed"):
        load_encoder(folder, "flow")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(other_view="rgb"), "other_view: 'rgb' is the view itself"),
        (dict(method="cpr"), "method: 'cpr' is not one of iic, iic_cpr"),
        (dict(intra="reverse"), "intra: 'reverse' is not one of repeat, shuffle, none"),
        (dict(loss="hinge"), "loss: 'hinge' is not one of softmax, nce"),
        (dict(bank_momentum=1.0), r"bank_momentum: 1.0 must lie in \[0, 1\)"),
    ],
)
def test_bad_settings_fail_before_anything_starts(config, change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(config, **change)


def test_impossible_cascades_and_other_trainings_methods_are_refused(config):
    with pytest.raises(ValueError, match=r"keeps is \(1000.0,\), that is \[1000\] of 54 rows"):
        fit_iic(dataclasses.replace(config, method="iic_cpr", keeps=(1000,)))
    with pytest.raises(ValueError, match="method: 'iic' is not one of random, infonce"):
        TrainingConfig(manifest="m", out="o", method="iic")
