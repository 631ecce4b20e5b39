"""Checkpoints: round trip, and refusal of other files."""

import pickle

import pytest
import torch

from cprlib.encoders import ReleasedFlowInput, build_encoder
from cprlib.evaluation.classifier import Classifier
from cprlib.store.checkpoints import load_checkpoint, load_encoder, save_checkpoint
from cprlib.training.config import TrainingConfig
from cprlib.training.fit import new_state

CONFIG = {"backbone": "tiny", "dim": 8, "view": "rgb"}


def test_encoder_round_trip(tmp_path):
    encoder = build_encoder("tiny", 8).eval()
    save_checkpoint(tmp_path, CONFIG, {"encoder": encoder.state_dict()})
    clips = torch.randn(2, 3, 4, 16, 16)
    with torch.no_grad():
        assert torch.equal(load_encoder(tmp_path, "rgb")(clips), encoder(clips))
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.fixture
def of_released_flow(tmp_path):
    """A flow network with the released code's input, and its folder."""
    encoder = build_encoder("tiny", 8).eval()
    encoder.input = ReleasedFlowInput()
    save_checkpoint(tmp_path / "flow", CONFIG | {"view": "flow"}, {"encoder": encoder.state_dict()})
    return encoder, tmp_path / "flow"


def test_input_of_released_flow_is_restored(tmp_path, of_released_flow):
    encoder, folder = of_released_flow
    back, clips = load_encoder(folder, "flow"), torch.randn(2, 3, 4, 16, 16)
    assert isinstance(back.input, ReleasedFlowInput)
    with torch.no_grad():
        assert torch.equal(back(clips), encoder(clips))
    state = {key: value for key, value in encoder.state_dict().items() if key != "input.shift"}
    save_checkpoint(tmp_path / "cut", CONFIG, {"encoder": state})
    with pytest.raises(ValueError, match="cut: the weights do not fit backbone 'tiny'"):
        load_encoder(tmp_path / "cut")


def test_a_training_from_released_flow_keeps_its_input(tmp_path, of_released_flow):
    encoder, folder = of_released_flow
    clips = torch.randn(2, 3, 4, 16, 16)
    plain = TrainingConfig("m.csv", "out", backbone="tiny", dim=8, K=8, device="cpu")
    state = new_state(TrainingConfig(**{**vars(plain), "view": "flow", "init": str(folder)}))
    save_checkpoint(tmp_path / "next", CONFIG, {**state.state_dict()})  # as fit() does after an epoch
    fresh = new_state(TrainingConfig(**{**vars(plain), "view": "flow", "init": str(folder)}))
    fresh.load_state_dict(load_checkpoint(tmp_path / "next"))  # as fit() does on resume
    sampler = new_state(TrainingConfig(**{**vars(plain), "samplers": {"flow": str(folder)}})).samplers["flow"]
    classifier = Classifier(load_encoder(folder), 3, frozen=True, dropout=0.0)
    kept = {k.removeprefix("encoder."): v for k, v in classifier.state_dict().items() if k.startswith("encoder.")}
    save_checkpoint(tmp_path / "classifier", CONFIG, {"encoder": kept})
    networks = [state.encoder, state.key_encoder, fresh.encoder, fresh.key_encoder, sampler, classifier.encoder]
    networks += [load_encoder(tmp_path / "next"), load_encoder(tmp_path / "classifier")]
    with torch.no_grad():
        expected = encoder(clips)
        assert all(torch.equal(network.eval()(clips), expected) for network in networks)


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: p.write_bytes(b""), "not a readable checkpoint"),
        (lambda p: p.write_bytes(pickle.dumps(Evil())), "not a readable checkpoint"),
        (
            lambda p: torch.save({"config": CONFIG, "encoder": Evil()}, p),
            r"holds a Python object \(print\) and is refused",
        ),
        (lambda p: torch.save({"state_dict": {}}, p), "not a checkpoint of cprlib"),
        (lambda p: torch.save({"config": [], "encoder": {}}, p), "not a checkpoint of cprlib"),
        (lambda p: torch.save({"config": CONFIG, "encoder": None}, p), "not a checkpoint of cprlib"),
        (lambda p: torch.save({"config": CONFIG, "encoder": {}}, p), "do not fit backbone 'tiny'"),
        (
            lambda p: torch.save({"config": {"backbone": ["s3d"], "dim": 8}, "encoder": {}}, p),
            "do not fit backbone ..s3d",
        ),
        (
            lambda p: torch.save({"config": {}, "encoder": {}}, p),
            "checkpoint.pt is a None network, but a rgb network is needed",
        ),
    ],
)
def test_files_that_are_not_checkpoints_are_refused_and_never_run(tmp_path, capsys, write, message):
    write(tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match=message):
        load_encoder(tmp_path / "checkpoint.pt", "rgb" if "needed" in message else None)
    assert "code ran" not in capsys.readouterr().out


def test_a_missing_file_and_a_wrong_view_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint at .*train that network first"):
        load_checkpoint(tmp_path)
    save_checkpoint(tmp_path, CONFIG, {"encoder": build_encoder("tiny", 8).state_dict()})
    with pytest.raises(ValueError, match="a flow network is needed"):
        load_encoder(tmp_path, "flow")
