"""One step: what is a positive, a negative or neither; batch statistics; bf16."""

import dataclasses

import pytest
import torch
from torch.nn.functional import normalize

from cprlib.cascade import Retrieval
from cprlib.encoders import build_encoder, momentum_copy
from cprlib.losses import multi_instance_nce, supervised_nce
from cprlib.memory import FeatureQueue
from cprlib.training.config import TrainingConfig
from cprlib.training.fit import new_state
from cprlib.training.schedule import check_bf16, check_precision
from cprlib.training.step import TrainState, encode_in_groups, find_positives, train_step

# Rows of the memory: the query's own video, a sibling of its class, a sibling of another class, a stranger of its
# class, a stranger of another class, and an empty row.
OWN, SIBLING, OTHER_SIBLING, SAME, OTHER, EMPTY = range(6)
IDS = {"video_id": torch.tensor([7]), "source_id": torch.tensor([1]), "label": torch.tensor([0])}


def memory():
    queue = FeatureQueue(6, 4, ("flow", "rgb"))
    rows = {view: normalize(torch.randn(5, 4), dim=1) for view in queue.views}
    queue.enqueue(rows, torch.tensor([7, 8, 9, 10, 11]), torch.tensor([1, 1, 1, 2, 3]), torch.tensor([0, 0, 1, 0, 1]))
    return queue


def mines(*rows):
    seen = []

    def miner(anchors, bank, exclude):
        seen.append(exclude)
        return Retrieval(torch.tensor([rows]), torch.ones(1, len(rows), dtype=torch.bool), ())

    return miner, seen


def settings(**changes):
    changes = {"method": "coclr", "samplers": {"flow": "x"}, "K": 6, "drop_self_positive": 0.0} | changes
    return TrainingConfig(manifest="m", out="o", **changes)


def sets(config, miner=None):
    """The rows that are positive, and those that are ignored; the own key is always positive here."""
    positives, ignored, _ = find_positives(config, memory(), miner, {}, IDS, torch.Generator().manual_seed(0))
    assert positives[0, 0]
    return set(positives[0, 1:].nonzero().flatten().tolist()), set(ignored[0].nonzero().flatten().tolist())


@pytest.mark.parametrize(
    ("siblings", "positive", "neither"),
    [
        ("positive", {OWN, SIBLING, OTHER_SIBLING, SAME}, {EMPTY}),
        ("ignore", {SAME}, {OWN, SIBLING, OTHER_SIBLING, EMPTY}),
        ("negative", {SAME}, {OWN, EMPTY}),
    ],
)
def test_siblings_are_never_mined_and_count_as_set(siblings, positive, neither):
    miner, seen = mines(SAME)
    assert sets(settings(siblings=siblings), miner) == (positive, neither)
    assert seen[0][0].tolist() == [True, True, True, False, False, True]


@pytest.mark.parametrize(("own_rows", "neither"), [("ignore", {OWN, EMPTY}), ("negative", {EMPTY})])
def test_older_keys_of_the_own_video_are_not_negatives_of_infonce(own_rows, neither):
    assert sets(settings(method="infonce", samplers={}, own_rows=own_rows)) == (set(), neither)


def test_ubernce_marks_only_its_class():
    assert sets(settings(method="ubernce", samplers={})) == ({OWN, SIBLING, SAME}, {EMPTY})


def test_the_own_key_is_dropped_only_if_there_are_other_positives():
    config = settings(drop_self_positive=1.0, siblings="ignore")
    positives, *_ = find_positives(config, memory(), mines(SAME)[0], {}, IDS, torch.Generator())
    assert positives[0].nonzero().flatten().tolist() == [1 + SAME]
    positives, *_ = find_positives(
        settings(method="ubernce", samplers={}, drop_self_positive=1.0), memory(), None, {}, IDS, torch.Generator()
    )
    assert positives[0, 0]  # kept, as in the released code


def test_the_released_ubernce_is_a_mean_of_log_probabilities():
    logits = torch.tensor([[1.0, 2.0, 0.0, -torch.inf]], dtype=torch.float64)
    positives = torch.tensor([[True, True, False, False]])
    p = logits.softmax(1)[0]
    assert supervised_nce(logits, positives).item() == pytest.approx(-(p[0].log() + p[1].log()).item() / 2)
    assert multi_instance_nce(logits, positives).item() == pytest.approx(-(p[0] + p[1]).log().item())
    one = torch.tensor([[True, False, False, False]])
    assert supervised_nce(logits, one).item() == pytest.approx(multi_instance_nce(logits, one).item())
    assert (
        settings(method="ubernce", samplers={}).loss_form == "supervised" and settings().loss_form == "multi_instance"
    )


def state_and_batch(config):
    torch.manual_seed(0)
    encoder = build_encoder("tiny", 8)
    queue = FeatureQueue(config.K, 8, config.views)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-2, weight_decay=1e-1)
    clips = {"rgb": torch.randint(0, 256, (4, 4, 16, 16, 3), dtype=torch.uint8)}
    batch = {"q": clips, "k": clips, "strong_q": torch.zeros(4) > 0, "strong_k": torch.zeros(4) > 0}
    batch |= {name: torch.arange(4) for name in ("video_id", "source_id", "label")}
    return TrainState(encoder, momentum_copy(encoder), {}, queue, optimizer), batch


def test_no_step_without_negatives():
    """The memory is empty in InfoNCE's first step: the loss would be 0, and weight decay would shrink all weights."""
    config = settings(method="infonce", samplers={}, backbone="tiny", dim=8)
    state, batch = state_and_batch(config)
    before = {name: value.clone() for name, value in state.encoder.named_parameters()}
    loss, _ = train_step(config, state, None, batch, torch.Generator())
    assert loss is None and int(state.queue.enqueued) == 4
    assert all(torch.equal(before[name], value) for name, value in state.encoder.named_parameters())
    loss, _ = train_step(config, state, None, batch, torch.Generator())
    assert loss > 0 and not torch.equal(before["head.0.weight"], state.encoder.head[0].weight)


def test_no_step_with_only_the_own_videos_in_the_memory():
    config = settings(method="infonce", samplers={}, backbone="tiny", dim=8, K=4)
    state, batch = state_and_batch(config)
    batch["video_id"] = torch.zeros(4, dtype=torch.int64)
    for _ in range(2):
        assert train_step(config, state, None, batch, torch.Generator())[0] is None


def test_groups_of_a_batch_have_separate_statistics():
    encoder = build_encoder("tiny", 8).train()
    clips = torch.randn(6, 3, 4, 16, 16)
    expected = torch.cat([momentum_copy(encoder)(part) for part in clips.split(2)])
    assert torch.allclose(encode_in_groups(momentum_copy(encoder), clips, 3), expected, atol=1e-6)
    assert torch.allclose(encode_in_groups(momentum_copy(encoder), clips, 9), expected, atol=1e-6)  # 2 clips at least
    order = torch.randperm(6, generator=torch.Generator().manual_seed(5))
    shuffled = torch.cat([momentum_copy(encoder)(part) for part in clips[order].split(2)])[order.argsort()]
    found = encode_in_groups(momentum_copy(encoder), clips, 3, torch.Generator().manual_seed(5))
    assert torch.allclose(found, shuffled, atol=1e-6) and not torch.allclose(found, expected, atol=1e-3)
    frozen = momentum_copy(encoder).eval()
    assert torch.equal(encode_in_groups(frozen, clips, 3, torch.Generator()), frozen(clips))


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "cuda:x"])
def test_a_missing_device_is_named(device):
    with pytest.raises(ValueError, match=f"device: '{device}' is"):
        check_precision(settings(device=device))


def test_bf16_is_refused_on_a_cpu_and_checked_elsewhere(monkeypatch):
    with pytest.raises(ValueError, match="precision: bf16 needs a GPU"):
        check_precision(settings(precision="bf16", device="cpu"))
    config = dataclasses.replace(settings(), clip_len=4, clip_size=16, precision="bf16")
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 4 * 16 * 16, 2))
    check_bf16(config, network)  # linear layers are correct on a CPU

    class Wrong(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3))

        def forward(self, clips):
            bf16 = torch.is_autocast_enabled("cpu")
            return clips.flatten(2).mean(2) * self.weight * (torch.nan if bf16 else 1)

    with pytest.raises(FloatingPointError, match="bf16 gradients do not agree"):
        check_bf16(config, Wrong())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("backbone", ["tiny", "s3d", "r3d_18", "r2plus1d_18"])
def test_bf16_gradients_on_a_gpu(backbone):
    config = dataclasses.replace(settings(), precision="bf16", clip_len=8, clip_size=64)
    check_bf16(config, build_encoder(backbone, 16).cuda())


def test_fast_steps_equal_plain_steps_up_to_rounding(monkeypatch):
    eager = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda network: eager(network, backend="eager"))  # no C++ compiler
    g = torch.Generator().manual_seed(0)
    clips = {side: {"rgb": torch.randint(256, (4, 4, 16, 16, 3), dtype=torch.uint8, generator=g)} for side in "qk"}
    strong = {f"strong_{side}": torch.tensor([True, False, True, False]) for side in "qk"}
    batch = {**clips, **strong, **{name: torch.arange(4) for name in ("video_id", "source_id", "label")}}
    plain = dict(backbone="tiny", dim=8, K=8, method="infonce", samplers={}, device="cpu")
    losses, weights = {}, {}
    for name in ("plain", "channels_last", "compile"):
        config = settings(**plain, **({} if name == "plain" else {name: True}))
        state = new_state(config)
        for step in range(3):
            loss, _ = train_step(config, state, None, batch, torch.Generator().manual_seed(step))
        losses[name], weights[name] = loss, torch.cat([p.detach().flatten() for p in state.encoder.parameters()])
    for name in ("channels_last", "compile"):
        assert torch.allclose(losses[name], losses["plain"], atol=1e-4)
        assert (weights[name] - weights["plain"]).abs().mean() < 1e-4
