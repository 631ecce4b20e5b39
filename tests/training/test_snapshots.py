"""Memory snapshots, and the errors without any."""

import pytest
import torch

from cprlib.memory import FeatureQueue
from cprlib.training import snapshots
from cprlib.training.snapshots import Memories, Memory, follow, memory_epochs, read_memory, write_memory


def test_filled_rows_are_kept_in_the_order_of_views(tmp_path):
    queue = FeatureQueue(4, 2, ("flow", "rgb"))
    rows = {"rgb": torch.eye(2), "flow": -torch.eye(2)}
    queue.enqueue(rows, torch.tensor([7, 8]), torch.tensor([1, 1]), torch.tensor([0, 3]))
    write_memory(tmp_path, 3, queue)
    memory = read_memory(tmp_path)
    assert list(memory.features) == ["flow", "rgb"]
    assert torch.equal(memory.features["flow"], -torch.eye(2)) and memory.features["rgb"].dtype == torch.float32
    assert memory.video_id.tolist() == [7, 8] and memory.source_id.tolist() == [1, 1]
    assert memory.label.tolist() == [0, 3]


def test_the_last_epoch_is_read_by_default(tmp_path):
    for epoch in (10, 9):
        queue = FeatureQueue(1, 1, ("rgb",))
        queue.enqueue({"rgb": torch.ones(1, 1)}, *torch.full((3, 1), epoch))
        write_memory(tmp_path, epoch, queue)
    assert memory_epochs(tmp_path) == [9, 10]
    assert read_memory(tmp_path).video_id.tolist() == [10] and read_memory(tmp_path, 9).label.tolist() == [9]
    with pytest.raises(FileNotFoundError, match=r"no memory of epoch 4; choose from \[9, 10\]"):
        read_memory(tmp_path, 4)


def test_a_missing_memory_says_what_to_do(tmp_path):
    assert memory_epochs(tmp_path) == []
    for read in (read_memory, Memories):
        with pytest.raises(FileNotFoundError, match="train this network"):
            read(tmp_path)
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/epoch-0003.pt").write_bytes(b"PK")
    with pytest.raises(ValueError, match="epoch-0003.pt is damaged; delete it"):
        read_memory(tmp_path)


def test_memories_are_read_on_demand(tmp_path, monkeypatch):
    for epoch in (3, 5):
        queue = FeatureQueue(1, 1, ("rgb",))
        queue.enqueue({"rgb": torch.ones(1, 1)}, *torch.full((3, 1), epoch))
        write_memory(tmp_path, epoch, queue)
    asked, read = [], snapshots.read_memory
    monkeypatch.setattr(snapshots, "read_memory", lambda *given: asked.append(given[1]) or read(*given))
    memories = Memories(tmp_path)
    assert list(memories) == [3, 5] and len(memories) == 2 and max(memories) == 5 and not asked
    assert memories[5].label.tolist() == [5] and memories[5] is memories[5] and asked == [5]
    with pytest.raises(KeyError):
        memories[4]


def memory_of(*videos):
    ids = torch.tensor(videos)
    return Memory({"rgb": ids[:, None].float()}, ids, ids + 10, ids + 20)


def test_follow_selects_the_videos_in_most_memories():
    memories = {0: memory_of(4, 1, 2, 2), 2: memory_of(2, 9, 1), 7: memory_of(2, 8, 5)}
    some = follow(memories, 2)
    assert {epoch: memory.video_id.tolist() for epoch, memory in some.items()} == {0: [1, 2], 2: [2, 1], 7: [2]}
    classes = follow({0: memory_of(*range(100))}, 20)[0].video_id // 10  # ties: not the first ones
    assert len(classes) == 20 and len(classes.unique()) > 5
    assert some[2].features["rgb"].squeeze().tolist() == [2, 1]
    assert some[2].source_id.tolist() == [12, 11] and some[2].label.tolist() == [22, 21]
    assert follow(memories)[0].video_id.tolist() == [4, 1, 2]  # one row per video, all if there are few
