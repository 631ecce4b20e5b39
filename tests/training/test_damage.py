"""Damaged files of a training are repaired from intact ones or named; they are never used or taken as finished."""

import dataclasses
import random
import shutil
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest
import torch

from bench.faults import same
from cprlib.evaluation.mining import read_mining_log
from cprlib.store.checkpoints import load_checkpoint, load_encoder
from cprlib.store.folders import is_finished, read_config, read_videos
from cprlib.training import loop
from cprlib.training.config import TrainingConfig
from cprlib.training.cotrain import untrained
from cprlib.training.fit import fit
from cprlib.training.loop import read_metrics
from cprlib.training.snapshots import read_memory
from tests.trainings import SMALL


@pytest.fixture(scope="module")
def whole(toy_manifest, tmp_path_factory):
    """The settings of a finished CoCLR network of three epochs that mines from the first."""
    place = tmp_path_factory.mktemp("whole")
    small = SMALL | dict(method="coclr", K=21, top_k=2, epochs=3, lr_milestones=())
    config = TrainingConfig(manifest=str(toy_manifest), out=str(place / "t"), **small)
    flow = dataclasses.replace(config, method="infonce", view="flow", out=str(place / "flow"))
    config = dataclasses.replace(config, samplers={"flow": str(untrained(flow))})
    fit(config)
    return config


@pytest.fixture
def copy(whole, tmp_path):
    """The same training in a folder that a test may change."""
    return dataclasses.replace(whole, out=str(shutil.copytree(whole.out, tmp_path / "t")))


def same_end(config, whole):
    """Whether both trainings end with the same weights, metrics and mining log."""
    a, b = (load_checkpoint(c.out) for c in (config, whole))
    weights = all(
        torch.equal(a[part][name], b[part][name]) for part in ("encoder", "key_encoder", "queue") for name in a[part]
    )
    ends = [open(f"{c.out}/metrics.json", "rb").read() for c in (config, whole)]
    logs = [read_mining_log(c.out) for c in (config, whole)]
    lines = [read_metrics(c.out).drop(columns=["seconds", "clips_per_s"]) for c in (config, whole)]
    pd.testing.assert_frame_equal(*lines)
    pd.testing.assert_frame_equal(*logs)
    return weights and ends[0] == ends[1]


def flip(path, rng):
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


READERS = {
    "checkpoint.pt": load_checkpoint,
    "memory/epoch-0002.pt": lambda folder: read_memory(folder, 2),
    "mining.parquet/epoch-0001.parquet": read_mining_log,
    "metrics.jsonl": read_metrics,
    "config.json": read_config,
    "videos.json": read_videos,
    "networks/epoch-0001.pt": lambda folder: load_encoder(folder / "networks/epoch-0001.pt").state_dict(),
}


@pytest.mark.parametrize("name", READERS)
def test_a_flipped_bit_is_named_or_changes_nothing(copy, name):
    folder, rng, outcomes = Path(copy.out), random.Random(0), set()
    path, read = folder / name, READERS[name]
    data, expected = path.read_bytes(), read(folder)
    for _ in range(25):
        flip(path, rng)
        try:
            assert same(read(folder), expected)
            outcomes.add("harmless")  # e.g. a date within the file
        except ValueError as error:
            assert path.name in str(error)
            outcomes.add("named")
        path.write_bytes(data)
    assert "named" in outcomes
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(64) + data[middle + 64 :])
    with pytest.raises(ValueError, match=path.name):
        read(folder)


def test_a_folder_in_the_place_of_a_checkpoint_is_put_aside(copy, whole):
    path = Path(copy.out) / "checkpoint.pt"
    path.unlink()
    path.mkdir()
    fit(copy)
    assert same_end(copy, whole) and (Path(copy.out) / "checkpoint-damaged.pt").is_dir()


@pytest.mark.parametrize("name", ["metrics.json", "metrics.jsonl", "config.json", "videos.json", "fingerprint.json"])
def test_a_folder_or_a_link_to_itself_in_the_place_of_a_file_costs_nothing(copy, whole, name):
    path = Path(copy.out) / name
    aside = path.rename(path.with_suffix(".aside"))
    path.mkdir()
    with pytest.raises(OSError, match=f"{name}: a folder, where a file is needed; move it away"):
        fit(copy)
    path.rmdir()
    path.symlink_to(path)
    with (
        pytest.raises((OSError, ValueError), match="delete the link|it has no fingerprint.json")
        if name
        in (
            "metrics.json",
            "fingerprint.json",
        )
        else nullcontext()
    ):
        fit(copy)
    path.unlink()
    aside.rename(path)
    fit(copy)
    assert same_end(copy, whole)


def change(path, alter):
    saved = torch.load(path, weights_only=True)
    alter(saved)
    torch.save(saved, path)


@pytest.mark.parametrize(
    ("alter", "told"),
    [
        (lambda s: s.pop("queue"), "lacks 'queue'"),
        (lambda s: s.pop("metrics"), None),  # as in old checkpoints; uses the file's lines
        (lambda s: s.update(epoch=1), "says that 1 epochs are finished"),
        (lambda s: s.update(epoch=7), "says that 7 epochs are finished"),
        (
            lambda s: s["encoder"]["head.0.weight"].fill_(float("nan")),
            "weight holds numbers that are not finite",
        ),
        (lambda s: s["config"].update(view="flow"), "its view is 'flow', that of its training 'rgb'"),
        (lambda s: s.update(config={}), "its view is None"),
        (lambda s: s["config"].pop("clip_len"), "its clip_len is None"),
        (lambda s: s["encoder"].update({"head.0.bias": "0"}), "head.0.bias of its encoder is not a tensor"),
        (lambda s: s["encoder"].pop("head.0.weight"), "head.0.weight"),
        (lambda s: s["queue"].update(label=torch.zeros(3)), "does not fit"),
    ],
)
def test_an_invalid_checkpoint_is_put_aside_for_the_previous_one(copy, whole, capsys, alter, told):
    folder = Path(copy.out)
    change(folder / "checkpoint.pt", alter)
    fit(copy)
    assert same_end(copy, whole) and is_finished(folder)
    printed = capsys.readouterr().out
    assert (told in printed and (folder / "checkpoint-damaged.pt").exists()) if told else "aside" not in printed


def test_a_damaged_checkpoint_without_a_previous_one_is_named(copy):
    folder = Path(copy.out)
    (folder / "checkpoint-before.pt").unlink()
    flip(folder / "checkpoint.pt", random.Random(1))
    with pytest.raises(ValueError, match="checkpoint.pt is not a readable .*delete the folder to train again"):
        fit(copy)


def test_a_kill_between_both_checkpoints(copy, whole):
    """Only the previous one is left."""
    (Path(copy.out) / "checkpoint.pt").unlink()
    assert not is_finished(copy.out)
    fit(copy)
    assert same_end(copy, whole)


@pytest.mark.parametrize("content", [b"", b"{}\n", b'{"epoch": 0', b"\xff\xfe", None])
@pytest.mark.parametrize("name", ["metrics.json", "metrics.jsonl"])
def test_cut_and_missing_metrics_are_restored(copy, whole, name, content):
    path = Path(copy.out) / name
    path.unlink() if content is None else path.write_bytes(content)
    fit(copy)
    if (name, content) != ("metrics.json", b"{}\n"):
        assert same_end(copy, whole)


@pytest.mark.parametrize("name", ["config.json", "videos.json"])
def test_records_of_a_training_are_restored(copy, name, capsys):
    path = Path(fit(copy)) / name  # records its new place
    before = path.read_bytes()
    path.write_bytes(before.replace(b'"hash"', b'"lash"'))
    with pytest.raises(ValueError, match=f"{name}: damaged"):
        READERS[name](path.parent)
    fit(copy)
    assert path.read_bytes() == before
    assert f"{name}: damaged: it does not fit its hash; written again" in capsys.readouterr().out


def test_a_missing_part_of_the_mining_log_is_named(copy):
    (Path(copy.out) / "mining.parquet/epoch-0001.parquet").unlink()
    with pytest.raises(ValueError, match="mining.parquet lacks epoch 1"):
        read_mining_log(copy.out)


def test_weights_that_are_not_finite_are_not_saved(copy, monkeypatch, tmp_path):
    config, original = dataclasses.replace(copy, out=str(tmp_path / "new")), loop._keep_epoch

    def broken(folder, epoch, config, state, log):
        original(folder, epoch, config, state, log)
        if epoch == 1:
            state.encoder.head[0].weight.data[0, 0] = float("inf")

    monkeypatch.setattr(loop, "_keep_epoch", broken)
    with pytest.raises(FloatingPointError, match="encoder head.0.weight is no longer finite"):
        fit(config)
    assert load_checkpoint(config.out)["epoch"] == 1
