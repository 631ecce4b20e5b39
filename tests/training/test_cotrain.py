"""Folders of networks, random weights, and runs that start from released weights."""

import dataclasses

import pytest
import torch

from cprlib.encoders import ReleasedFlowInput, build_encoder
from cprlib.store.checkpoints import export_released, load_checkpoint, load_encoder
from cprlib.store.folders import cotrained_networks, is_finished, training_folder
from cprlib.training.config import TrainingConfig
from cprlib.training.cotrain import from_released, untrained
from cprlib.training.fit import new_state


@pytest.fixture
def config(tmp_path):
    return TrainingConfig(manifest="unused", out=str(tmp_path / "infonce_rgb"), dim=16)


def test_only_cotrained_networks_have_cycles():
    names = [training_folder("run", method, "rgb", 2) for method in ("random", "infonce", "ubernce", "coclr", "cpr")]
    assert names == [
        "run/random_rgb",
        "run/infonce_rgb",
        "run/ubernce_rgb",
        "run/coclr_rgb_cycle2",
        "run/cpr_rgb_cycle2",
    ]


def test_cotrained_networks_are_found_by_view_and_cycle(tmp_path):
    names = ["cpr_rgb_cycle10", "cpr_rgb_cycle9", "cpr_flow_cycle1", "cpr_rgb_cycle1.old", "coclr_rgb_cycle1"]
    for name in names:
        (tmp_path / name).mkdir()
    found = cotrained_networks(tmp_path, "cpr")
    assert list(found) == ["rgb", "flow"]
    assert [path.name for path in found["rgb"]] == ["cpr_rgb_cycle9", "cpr_rgb_cycle10"]
    assert not cotrained_networks(tmp_path / "nothing", "cpr")


def test_random_weights_equal_the_initial_weights_of_training(config):
    folder = untrained(dataclasses.replace(config, backbone="tiny"))
    start = new_state(dataclasses.replace(config, backbone="tiny")).encoder.state_dict()
    assert all(torch.equal(start[name], value) for name, value in load_encoder(folder).state_dict().items())
    written = (folder / "checkpoint.pt").stat().st_mtime_ns
    unmined = dataclasses.replace(config, backbone="tiny", drop_self_positive=0.0)  # random weights mine nothing
    assert untrained(unmined) == folder and is_finished(folder)
    assert (folder / "checkpoint.pt").stat().st_mtime_ns == written


@pytest.mark.parametrize("view", ["rgb", "flow"])
def test_training_starts_from_released_weights(config, tmp_path, view):
    torch.manual_seed(3)
    released = build_encoder("s3d", 16)
    file = export_released(released, tmp_path / "released.pth.tar", view=view)
    folder = from_released(dataclasses.replace(config, view=view), file)
    assert is_finished(folder) and load_checkpoint(folder)["config"]["view"] == view
    encoder = load_encoder(folder, view)
    assert isinstance(encoder.input, ReleasedFlowInput) == (view == "flow")
    following = dataclasses.replace(config, view=view, init=str(folder), out=str(tmp_path / "next"))
    clips = torch.randn(1, 3, 8, 64, 64)
    if view == "flow":
        clips[:, 2] = 0
    with torch.no_grad():
        expected, found = released.eval()(clips), new_state(following).encoder.eval()(clips)
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_file_that_does_not_match_the_settings_is_refused(config, tmp_path):
    file = export_released(build_encoder("s3d", 8), tmp_path / "released.pth.tar")
    with pytest.raises(ValueError, match="features have length 8; set dim to 8, not 16"):
        from_released(config, file)
    with pytest.raises(ValueError, match="tiny"):
        from_released(dataclasses.replace(config, backbone="tiny"), file)
    assert not (tmp_path / "infonce_rgb").exists()
