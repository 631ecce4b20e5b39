"""What is kept of a memory, and what is said when nothing is."""

import pytest
import torch

from cprlib.memory import FeatureQueue
from cprlib.snapshots import Memory, evenly, memory_epochs, read_memory, write_memory


def test_only_filled_rows_are_kept_in_the_order_of_views(tmp_path):
    queue = FeatureQueue(4, 2, ("flow", "rgb"))
    rows = {"rgb": torch.eye(2), "flow": -torch.eye(2)}
    queue.enqueue(rows, torch.tensor([7, 8]), torch.tensor([1, 1]), torch.tensor([0, 3]))
    write_memory(tmp_path, 3, queue)
    memory = read_memory(tmp_path)
    assert list(memory.features) == ["flow", "rgb"]
    assert torch.equal(memory.features["flow"], -torch.eye(2)) and memory.features["rgb"].dtype == torch.float32
    assert memory.video_id.tolist() == [7, 8] and memory.source_id.tolist() == [1, 1]
    assert memory.label.tolist() == [0, 3]


def test_the_last_epoch_is_read_unless_another_is_asked_for(tmp_path):
    for epoch in (10, 9):
        queue = FeatureQueue(1, 1, ("rgb",))
        queue.enqueue({"rgb": torch.ones(1, 1)}, *torch.full((3, 1), epoch))
        write_memory(tmp_path, epoch, queue)
    assert memory_epochs(tmp_path) == [9, 10]
    assert read_memory(tmp_path).video_id.tolist() == [10] and read_memory(tmp_path, 9).label.tolist() == [9]
    with pytest.raises(FileNotFoundError, match=r"no memory of epoch 4; choose from \[9, 10\]"):
        read_memory(tmp_path, 4)


def test_no_memory_says_what_to_do(tmp_path):
    assert memory_epochs(tmp_path) == []
    with pytest.raises(FileNotFoundError, match="train this network"):
        read_memory(tmp_path)


def test_some_rows_are_evenly_spaced():
    ids = torch.arange(9)
    some = evenly(Memory({"rgb": ids[:, None].float()}, ids, ids + 10, ids + 20), 3)
    assert some.video_id.tolist() == [0, 4, 8] and some.label.tolist() == [20, 24, 28]
    assert some.features["rgb"].squeeze().tolist() == [0, 4, 8] and some.source_id.tolist() == [10, 14, 18]
    assert len(evenly(some, 5).label) == 3
