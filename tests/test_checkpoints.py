"""Checkpoints: round trip, and refusal of what is not one."""

import pickle

import pytest
import torch

from cprlib.checkpoints import load_checkpoint, load_encoder, save_checkpoint
from cprlib.encoders import build_encoder

CONFIG = {"backbone": "tiny", "dim": 8, "view": "rgb"}


def test_encoder_comes_back(tmp_path):
    encoder = build_encoder("tiny", 8).eval()
    save_checkpoint(tmp_path, {"config": CONFIG, "encoder": encoder.state_dict()})
    clips = torch.randn(2, 3, 4, 16, 16)
    with torch.no_grad():
        assert torch.equal(load_encoder(tmp_path, "rgb")(clips), encoder(clips))
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: p.write_bytes(b""), "not a readable checkpoint"),
        (lambda p: p.write_bytes(pickle.dumps(Evil())), "not a readable checkpoint"),
        (lambda p: torch.save({"config": CONFIG, "encoder": Evil()}, p), "not a readable checkpoint"),
        (lambda p: torch.save({"state_dict": {}}, p), "not a checkpoint of cprlib"),
        (lambda p: torch.save({"config": CONFIG, "encoder": {}}, p), "do not fit backbone 'tiny'"),
    ],
)
def test_what_is_no_checkpoint_is_refused_and_never_run(tmp_path, capsys, write, message):
    write(tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match=message):
        load_encoder(tmp_path)
    assert "code ran" not in capsys.readouterr().out


def test_missing_and_wrong_view_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at .*train that network first"):
        load_checkpoint(tmp_path)
    save_checkpoint(tmp_path, {"config": CONFIG, "encoder": build_encoder("tiny", 8).state_dict()})
    with pytest.raises(ValueError, match="a flow network is needed"):
        load_encoder(tmp_path, "flow")
