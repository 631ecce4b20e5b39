"""RAFT with random weights, batches, shards, and refused input."""

import numpy as np
import pytest
import torch
from torchvision.models.optical_flow import raft_small

from cprlib.data import estimators
from cprlib.data.estimators import estimator
from cprlib.data.flow import estimate, extract_flow, flow_info
from tests.data.made import gliding
from tests.data.test_flow import manifest_of


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "raft.pt"
    torch.save(raft_small(weights=None).state_dict(), path)
    return path


def test_raft_at_any_size_equals_raft_on_padded_frames(weights):
    frames, network = gliding(3, 1, 0), estimators.load_raft("raft_small", weights)
    flow = estimate(frames, "raft_small", weights=weights)
    assert flow.shape == (2, 2, 64, 80)
    padded = torch.nn.functional.pad(frames.permute(0, 3, 1, 2).float(), (0, 48, 0, 64), mode="replicate")
    x = padded / 127.5 - 1
    with torch.no_grad():
        expected = network(x[:-1], x[1:])[-1][:, :, :64, :80]
    assert torch.allclose(flow, expected, atol=1e-3)


def test_batches_give_every_pair_once(monkeypatch):
    monkeypatch.setattr(estimators, "BATCH", 3)
    frames = [np.full((2, 2), number) for number in range(8)]
    sums = list(estimators._batched(iter(frames), lambda x: x[:-1] + x[1:]))
    assert [int(pair[0, 0]) for pair in sums] == [1, 3, 5, 7, 9, 11, 13]
    assert list(estimators._batched(iter(frames[:1]), lambda x: x)) == []


def test_raft_flow_files_record_the_weights(weights, tmp_path):
    manifest = manifest_of(tmp_path, a=gliding(3, 1, 0))
    path = extract_flow(manifest, tmp_path / "flow", "raft_small", 8.0, 1, weights=weights).table.flow_path[0]
    assert flow_info(path).method.startswith("raft_small-") and flow_info(path).num_frames == 2


def test_shards_divide_the_videos(tmp_path):
    manifest = manifest_of(tmp_path, a=gliding(4, 1, 0), b=gliding(5, 0, 1), c=gliding(3, 1, 1))
    extract_flow(manifest, tmp_path / "flow", "dis", workers=1, shard=(0, 2))
    made = sorted((tmp_path / "flow").rglob("*.mp4"))
    assert len(made) == 2
    extract_flow(manifest, tmp_path / "flow", "dis", workers=1, shard=(1, 2)).check_files(["flow"])
    assert len(list((tmp_path / "flow").rglob("*.mp4"))) == 3
    with pytest.raises(ValueError, match=r"shard is \(2, 2\)"):
        extract_flow(manifest, tmp_path / "flow", "dis", workers=1, shard=(2, 2))


def test_impossible_estimates_are_refused(weights, tmp_path):
    with pytest.raises(ValueError, match="tvl1 has none"):
        estimator("tvl1", weights=weights)
    with pytest.raises(ValueError, match="not weights of torchvision's raft_large"):
        estimator("raft_large", weights=weights)
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no weights")
    with pytest.raises(ValueError, match="broken.pt: not weights"):
        estimator("raft_small", weights=broken)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no such GPU"):
            estimator("tvl1", "cuda")


def test_long_work_is_announced(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("cprlib.data.flow.FEW", 0)
    monkeypatch.setattr("cprlib.data.flow.LONG", 0)
    extract_flow(manifest_of(tmp_path, a=gliding(4, 1, 0)), tmp_path / "flow", "dis", workers=1)
    assert "flow of 1 videos: about 0 min, 0 MB" in capsys.readouterr().out
