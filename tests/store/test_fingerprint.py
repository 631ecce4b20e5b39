"""Fingerprints compare what decides a result, and nothing else."""

from dataclasses import dataclass, replace

import pytest
import torch

from cprlib.store.files import write_json
from cprlib.store.fingerprint import Fingerprint, deciding_settings, default_settings, hash_weights
from cprlib.store.folders import is_finished, open_training
from cprlib.store.settings import setting


@dataclass(frozen=True)
class Settings:
    lr: float = 0.1
    steps: tuple[int, ...] = (1, 2)
    device: str = setting("auto", decides=False)


def made_from(config, **parts):
    return Fingerprint({"settings": deciding_settings(config), **parts})


def begun(folder):
    (folder / "checkpoint.pt").touch()
    return folder


def finished(folder):
    write_json(begun(folder) / "metrics.json", {})
    return folder


def test_differences_of_settings_and_inputs_are_named():
    old = made_from(Settings(), videos="a" * 32, flow={"bound": 8.0}, samplers={"flow": "b" * 32})
    assert not old.differences(made_from(Settings(), videos="a" * 32, flow={"bound": 8.0}, samplers={"flow": "b" * 32}))
    new = made_from(Settings(lr=0.2), videos="c" * 32, flow={"bound": 2.0})
    assert old.differences(new) == {
        "lr": "lr 0.1 -> 0.2",
        "videos": "other videos",
        "flow.bound": "flow bound 8.0 -> 2.0",
        "samplers.flow": "other samplers flow",
    }


def test_a_new_field_with_its_default_keeps_old_results(tmp_path):
    old = Fingerprint({"settings": {"lr": 0.1}})  # before the setting existed
    assert not old.differences(made_from(Settings()), default_settings(Settings))
    told = old.differences(made_from(Settings(steps=(3,))), default_settings(Settings))
    assert told == {"steps": "steps [1, 2] -> [3]"}


def test_a_fingerprint_survives_a_round_trip_and_damage_is_named(tmp_path):
    found = made_from(Settings(), flow=None, init=None)
    found.write(tmp_path)
    assert Fingerprint.read(tmp_path).hash == found.hash and Fingerprint.read(tmp_path / "nothing") is None
    path = tmp_path / "fingerprint.json"
    path.write_text(path.read_text().replace("0.1", "0.7"))
    with pytest.raises(ValueError, match="fingerprint.json is damaged; delete its folder"):
        Fingerprint.read(tmp_path)


def test_the_hash_of_weights_covers_every_value():
    weights = {"a": torch.zeros(2, 3), "n": torch.tensor(1)}
    same = {"n": torch.tensor(1), "a": torch.zeros(2, 3)}
    assert hash_weights(weights) == hash_weights(same)
    others = [{**weights, "a": torch.zeros(3, 2)}, {**weights, "a": torch.full((2, 3), 1e-9)}, {"a": weights["a"]}]
    others += [{**weights, "n": torch.tensor(1.0)}]
    assert len({hash_weights(w) for w in [weights, *others]}) == 5


def test_a_folder_reopens_for_the_same_training_and_is_refused_for_another(tmp_path):
    config = Settings()
    folder = finished(open_training(tmp_path / "t", made_from(config), config))
    elsewhere = replace(config, device="cpu")  # recorded, not compared
    assert open_training(folder, made_from(elsewhere), elsewhere) == folder and is_finished(folder)
    assert '"cpu"' in (folder / "config.json").read_text()
    other = replace(config, lr=0.2)
    with pytest.raises(ValueError, match=r"something else \(lr 0.1 -> 0.2\).* delete the folder to train again"):
        open_training(folder, made_from(other), other)
    assert is_finished(folder)  # a refusal deletes nothing
    open_training(folder, made_from(other), other, redo=True)
    assert not (folder / "checkpoint.pt").exists() and not is_finished(folder)


def test_files_not_written_by_a_training_are_never_deleted(tmp_path):
    config = Settings()
    folder = finished(open_training(tmp_path / "t", made_from(config), config))
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="notes.txt, which no training wrote"):
        open_training(folder, made_from(Settings(lr=1.0)), Settings(lr=1.0), redo=True)
    assert is_finished(folder)


def test_an_older_training_without_a_fingerprint_is_not_trusted(tmp_path):
    (tmp_path / "t").mkdir()
    finished(tmp_path / "t")
    with pytest.raises(ValueError, match="it has no fingerprint.json"):
        open_training(tmp_path / "t", made_from(Settings()), Settings())


def test_an_unfinished_training_may_resume_with_a_lower_rate(tmp_path):
    config, lower = Settings(), Settings(lr=0.01)
    folder = begun(open_training(tmp_path / "t", made_from(config), config))
    with pytest.raises(ValueError, match="lr 0.1 -> 0.01"):
        open_training(folder, made_from(lower), lower)
    open_training(folder, made_from(lower), lower, continue_with=["lr"])
    history = [{"fingerprint": made_from(config).hash, "lr": 0.1}]
    assert Fingerprint.read(folder).parts["continued"] == history
    assert open_training(finished(folder), made_from(lower), lower) == folder
    with pytest.raises(ValueError):  # not for a finished one
        open_training(folder, made_from(config), config, continue_with=["lr"])


def test_a_training_without_its_checkpoint_is_not_finished(tmp_path):
    folder = finished(open_training(tmp_path / "t", made_from(Settings()), Settings()))
    (folder / "checkpoint.pt").unlink()
    assert not is_finished(folder)
