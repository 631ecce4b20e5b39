"""Files that are not a complete released checkpoint: a one-line error, and no code is run."""

import argparse

import numpy as np
import pytest
import torch

from cprlib.encoders import build_encoder
from cprlib.store.checkpoints import export_released, load_released, save_checkpoint
from tests.store.test_checkpoints import Evil

DIM = 16


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """All keys and shapes of the trained network, with one value per tensor: a checkpoint of some kilobytes."""
    path = export_released(build_encoder("s3d", DIM), tmp_path_factory.mktemp("whole") / "x.pth.tar")
    state = torch.load(path, weights_only=True)["state_dict"]
    state = {key: v.flatten()[0].clone().expand(v.shape) for key, v in without(state, "encoder_k.").items()}
    return state | {"queue": torch.ones(DIM, 8), "queue_ptr": torch.zeros(1, dtype=torch.long)}


def write(folder, state, **extra):
    """A checkpoint file, zip format."""
    torch.save({"epoch": 1, "state_dict": state, **extra}, folder / "x.pth.tar")
    return folder / "x.pth.tar"


def without(state, *ends):
    return {key: v for key, v in state.items() if not any(end in key for end in ends)}


def resnet():
    return {f"encoder_q.0.{key}": v for key, v in build_encoder("r3d_18").backbone.state_dict().items()}


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {f"module.{key}": v for key, v in state.items()},
        lambda state: without(state, ".block"),
        lambda state: without(state, "num_batches_tracked"),
    ],
    ids=["DistributedDataParallel", "one copy of each layer", "before torch 0.4.1"],
)
def test_changes_without_effect_are_accepted(tmp_path, small, change):
    expected = load_released(write(tmp_path, small)).state_dict()
    for key, value in load_released(write(tmp_path, change(small))).state_dict().items():
        assert torch.equal(value, expected[key]) or key.endswith("num_batches_tracked")


CONV = "encoder_q.0.Mixed_4d.branch1.1.conv2.weight"
COPY = "encoder_q.0.block4.3.branch1.1.conv2.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, CONV, COPY), rf"2 missing \({CONV}, {COPY}\);"),
        (lambda s: without(s, COPY), rf": 1 missing \({COPY}\);"),
        (lambda s: without(s, CONV), rf": 1 missing \({CONV}\);"),
        (lambda s: without(s, "Mixed_5c"), r": 40 missing \(encoder_q.0.Mixed_5c.branch0.0.conv.weight, .*, \.\.\.\)"),
        (lambda s: without(s, ".4.weight"), r"S3D: 1 missing \(encoder_q.4.weight\); give"),
        (lambda s: without(s, ".4.bias"), r"S3D: 1 missing \(encoder_q.4.bias\); give"),
        (lambda s: s | {COPY: s[COPY] + 1}, rf": 1 unequal in two copies \({CONV} is not {COPY}\)"),
        (lambda s: s | {CONV: s[CONV][:5]}, rf"{CONV} is \(5, 256, 3, 1, 1\), expected \(256, 256, 3, 1, 1\)"),
        (
            lambda s: s | {"encoder_q.2.weight": torch.ones(1024, 1024)},
            r"is \(1024, 1024\), expected \(1024, 1024, 1, 1, 1\)",
        ),
        (lambda s: s | {"queue_third": torch.ones(1)}, r": 1 unexpected \(queue_third\)"),
        (lambda s: s | {"module.encoder_q.4.bias": torch.ones(DIM)}, r": 1 unexpected \(module.encoder_q.4.bias\)"),
        (lambda s: s | {"encoder_q.0.Mixed_3b.gating_b0.fc.bias": torch.ones(64)}, r"1 unexpected .*gating.*not s3dg"),
        (lambda s: resnet(), r": 389 missing \(.*\); \d+ unexpected \(encoder_q.0.0.0.weight"),
        (
            lambda s: build_encoder("r3d_18").state_dict(),
            "no encoder_q; it has only keys such as backbone.0.0.weight, ",
        ),
        (lambda s: s | {"backbone.x": torch.ones(1), "final_fc.1.bias": torch.ones(9)}, "is a classifier of CoCLR"),
        (lambda s: {k.replace("encoder_q", "sampler"): v for k, v in s.items()}, "has no encoder_q; it has sampler$"),
        (lambda s: s | {"encoder_q.4.bias": 3}, "not a released checkpoint"),
        (lambda s: [1, 2], "not a released checkpoint"),
    ],
)
def test_mismatches_are_named_in_one_line(tmp_path, small, change, message):
    path = write(tmp_path, change(small))
    with pytest.raises(ValueError, match=message) as error:
        load_released(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_other_backbones_parts_and_views_are_refused_before_reading(tmp_path):
    with pytest.raises(ValueError, match="backbone is 'r3d_18'; .* 's3d' only"):
        load_released("nowhere.pth.tar", backbone="r3d_18")
    with pytest.raises(ValueError, match="part is 'encoder'; choose one of encoder_q, encoder_k, sampler"):
        load_released("nowhere.pth.tar", part="encoder")
    with pytest.raises(ValueError, match="view is 'residual'; choose one of rgb, flow"):
        load_released("nowhere.pth.tar", view="residual")
    with pytest.raises(ValueError, match="view is 'residual'; choose one of rgb, flow"):
        export_released(build_encoder("tiny", 8), tmp_path / "out.pth.tar", view="residual")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(("thing", "name"), [(argparse.Namespace(lr=1), "argparse.Namespace"), (Evil(), "print")])
def test_a_python_object_is_refused_and_never_run(tmp_path, capsys, zipped, thing, name):
    torch.save({"state_dict": {}, "args": thing}, tmp_path / "x.tar", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=rf"x.tar holds a Python object \(\S*{name}\) and is refused") as error:
        load_released(tmp_path / "x.tar")
    assert "\n" not in str(error.value) and "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("zipped", [True, False])
def test_numpy_numbers_are_read(tmp_path, small, zipped):
    numbers = {"best_acc": np.float64(0.5), "f": np.float32(1), "epoch": np.int64(3), "done": np.bool_(True)}
    torch.save({"state_dict": small, **numbers}, tmp_path / "x.tar", _use_new_zipfile_serialization=zipped)
    assert load_released(tmp_path / "x.tar").dim == DIM
    torch.save({"state_dict": small, "accs": np.array([0.5])}, tmp_path / "x.tar")
    with pytest.raises(ValueError, match="holds a Python object .*_reconstruct"):
        load_released(tmp_path / "x.tar")


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_files_are_named(tmp_path, small, zipped):
    path = tmp_path / "x.pth.tar"
    torch.save({"state_dict": small}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for share in (0, 1e-5, 1e-3, 0.1, 0.3, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match="x.pth.tar is not a readable checkpoint .*download it"):
            load_released(path)


def test_files_that_are_not_checkpoints_are_named(tmp_path):
    for path in (tmp_path / "none.pth.tar", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no checkpoint at {path}"):
            load_released(path)
    (tmp_path / "page.tar").write_text("<!DOCTYPE html><title>404</title>")
    with pytest.raises(ValueError, match="page.tar is not a readable checkpoint"):
        load_released(tmp_path / "page.tar")
    save_checkpoint(tmp_path, {}, {"encoder": {}})
    with pytest.raises(ValueError, match="checkpoint.pt is a checkpoint of cprlib"):
        load_released(tmp_path / "checkpoint.pt")
