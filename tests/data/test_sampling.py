"""Which frames and which pairs of clips."""

import numpy as np
import pandas as pd
import pytest
import torch

from cprlib.data.sampling import ClipPairs, EpochSampler, clip_indices, draw_start, step_seed


def test_short_videos_repeat_their_first_frame_in_front():
    assert clip_indices(3, 0, 8) == [0, 0, 0, 0, 0, 0, 1, 2]
    assert clip_indices(5, 0, 4, 3) == [0, 0, 0, 3]
    assert clip_indices(10, 6, 4) == [6, 7, 8, 9]


@pytest.mark.parametrize(("num_frames", "clip_len", "stride"), [(40, 8, 1), (40, 8, 5), (8, 8, 1), (5, 8, 2)])
def test_random_clips_lie_in_the_video_and_reach_both_ends(num_frames, clip_len, stride):
    g = torch.Generator().manual_seed(0)
    starts = {draw_start(num_frames, clip_len, stride, g) for _ in range(600)}
    assert starts == set(range(max(1, num_frames - (clip_len - 1) * stride)))
    for start in starts:
        indices = clip_indices(num_frames, start, clip_len, stride)
        assert len(indices) == clip_len and indices[-1] < num_frames


class PaintedFrames:
    """Frame i of a video has the value i, so that a clip shows where it was cut."""

    def frames(self, video_id, view, frame_indices):
        values = np.asarray(frame_indices, dtype=np.uint8)[:, None, None, None]
        return torch.from_numpy(np.broadcast_to(values, (len(values), 12, 16, 3 if view == "rgb" else 2)).copy())


def pairs(views=("rgb",), key_views=("flow", "rgb"), n=10):
    table = pd.DataFrame({"video_id": range(n), "label": [i % 3 for i in range(n)], "num_frames": 60})
    return ClipPairs(table, np.arange(n) // 2, PaintedFrames(), views, key_views, clip_len=4, stride=2, size=8)


def test_half_of_the_pairs_are_one_clip_twice_strong_and_weak():
    data, same, strong_when_two, weak_pairs = pairs(), 0, [], 0
    for seed in range(400):
        item = data[(3, seed)]
        q, k = item["q"]["rgb"][:, 0, 0, 0], item["k"]["rgb"][:, 0, 0, 0]
        assert (q[1:] - q[:-1] == 2).all()
        assert torch.equal(item["k"]["flow"][:, 0, 0, 1], k)  # views of a clip: the same frames
        if torch.equal(q, k):
            same += 1
            weak_pairs += bool(item["strong_q"]) != bool(item["strong_k"])
        else:
            strong_when_two += [bool(item["strong_q"]), bool(item["strong_k"])]
    assert 180 < same < 250  # one half, plus the few pairs that drew the same start twice
    assert weak_pairs > 0.9 * same
    assert 0.22 < np.mean(strong_when_two) < 0.38


def test_both_clips_are_read_at_once(monkeypatch):
    data, asked, read = pairs(), [], PaintedFrames.frames
    monkeypatch.setattr(PaintedFrames, "frames", lambda *a: asked.append((a[2], len(a[3]))) or read(*a))
    assert data[(3, 0)]["q"]["rgb"].shape == (4, 8, 8, 3)
    assert asked == [("rgb", 8), ("flow", 4)]  # T 4: RGB of query and key, flow of the key


def test_items_depend_only_on_row_and_seed():
    a, b = pairs()[(4, 99)], pairs()[(4, 99)]
    assert torch.equal(a["q"]["rgb"], b["q"]["rgb"]) and torch.equal(a["k"]["flow"], b["k"]["flow"])
    assert (a["video_id"], a["source_id"], a["label"]) == (4, 2, 1)


def test_each_epoch_visits_every_video_once_in_a_new_order():
    sampler = EpochSampler(10, 5, seed=1)
    first = [row for batch in sampler for row, _ in batch]
    again = [row for batch in sampler for row, _ in batch]
    sampler.epoch = 1
    second = [row for batch in sampler for row, _ in batch]
    assert first == again != second
    assert sorted(first) == sorted(second) == list(range(10))


def test_incomplete_batches_are_dropped_and_small_sets_make_one_batch():
    assert [len(b) for b in EpochSampler(10, 4, 0)] == [4, 4]
    assert [len(b) for b in EpochSampler(3, 8, 0)] == [3]
    with pytest.raises(ValueError, match="1 training video; .* at least 2"):
        EpochSampler(1, 8, 0)


def test_every_step_has_its_own_seed():
    numbers = [(0,), (0, 3), (0, 3, 0), (0, 3, 0, 0), (3, 0), (0, 0, 3), (1, 3), (0, 3, 0, 1)]
    assert len({step_seed(*n) for n in numbers}) == len(numbers)
    assert len({step_seed(0, e, s) for e in range(20) for s in range(20)}) == 400
    assert step_seed(1, 2) == step_seed(1, 2) >= 0
