"""The queue: siblings, saving, refused batches; tests/test_properties.py has what it holds."""

import pytest
import torch

from cprlib.memory import FeatureQueue


def batch(start, size, dim=3):
    ids = torch.arange(start, start + size)
    return (
        {v: ids[:, None].float().repeat(1, dim) + s for v, s in (("rgb", 0.0), ("flow", 0.5))},
        ids,
        ids // 2,
        ids % 4,
    )


def test_siblings_share_the_recording_and_empty_rows_have_none():
    queue = FeatureQueue(6, 3, ("rgb", "flow"))
    queue.enqueue(*batch(0, 4))  # sources 0 0 1 1
    assert queue.siblings(torch.tensor([1, 7])).tolist() == [[False, False, True, True, False, False], [False] * 6]


def test_state_survives_saving(tmp_path):
    queue, other = FeatureQueue(6, 3, ("rgb", "flow")), FeatureQueue(6, 3, ("rgb", "flow"))
    queue.enqueue(*batch(0, 8))
    torch.save(queue.state_dict(), tmp_path / "queue.pt")
    other.load_state_dict(torch.load(tmp_path / "queue.pt", weights_only=True))
    queue.enqueue(*batch(8, 3))
    other.enqueue(*batch(8, 3))
    assert torch.equal(queue.video_id, other.video_id) and torch.equal(queue.features["flow"], other.features["flow"])


def test_bad_batches_are_named():
    queue = FeatureQueue(6, 3, ("rgb", "flow"))
    features, *ids = batch(0, 2)
    with pytest.raises(ValueError, match=r"\['rgb'\]; the queue has \['flow', 'rgb'\]"):
        queue.enqueue({"rgb": features["rgb"]}, *ids)
    with pytest.raises(ValueError, match=r"flow features have shape \(2, 2\); expected \(2, 3\)"):
        queue.enqueue({**features, "flow": features["flow"][:, :2]}, *ids)
    with pytest.raises(ValueError, match="size=0"):
        FeatureQueue(0, 3, ("rgb",))
