import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Optional

import pytest
import yaml

from cprlib.data.estimators import METHODS as FLOW_METHODS
from cprlib.encoders import BACKBONES
from cprlib.evaluation.finetune import FinetuneConfig
from cprlib.notebook import runner
from cprlib.notebook.parameters import CHOICES, RANGES, from_notebook
from cprlib.notebook.runner import check_shared, known_parameters
from cprlib.store.files import project_root
from cprlib.store.settings import check_settings, coerce, unknown
from cprlib.training.config import TrainingConfig
from cprlib.training.iic import IICConfig


@dataclass(frozen=True)
class Settings:
    out: Path = Path("out")
    epochs: int = 10
    lr: float = 1e-3
    steps: tuple[int, ...] = (80,)
    init: str | None = None
    flip: bool = True

    def __post_init__(self):
        check_settings(self)


@pytest.mark.parametrize(
    "value, hint, result",
    [
        (3, int, 3),
        (3, float, 3.0),
        ("1e-3", float, 0.001),  # YAML reads 1e-3 as text
        ("-2.5E+4", float, -25000.0),
        (None, Optional[int], None),  # noqa: UP045 - the form that notebooks use
        (3, Optional[float], 3.0),  # noqa: UP045
        (None, str | None, None),
        ([1, 2], tuple[int, ...], (1, 2)),
        ((1, 2), list[int], [1, 2]),
        ([1, "a"], tuple[int, str], (1, "a")),
        ([1, "a", None], list, [1, "a", None]),
        ("a/b", Path, Path("a/b")),
        ("dis", Literal["tvl1", "dis"], "dis"),
        ({"flow": "run"}, Mapping[str, str], {"flow": "run"}),
        (object, Any, object),
        (False, bool, False),
    ],
)
def test_valid_values(value, hint, result):
    got = coerce("x", value, hint)
    assert got == result and type(got) is type(result)


@pytest.mark.parametrize(
    "value, hint, message",
    [
        ("ten", int, "x: expected int, got 'ten' (str)"),
        (3.0, int, "x: expected int, got 3.0 (float)"),
        (True, int, "x: expected int, got True (bool)"),
        (True, float, "x: expected float, got True (bool)"),
        ("fast", float, "x: expected float, got 'fast' (str)"),
        (1, bool, "x: expected bool, got 1 (int)"),
        (None, str, "x: expected str, got None (NoneType)"),
        ("3", Optional[int], "x: expected Optional[int], got '3' (str)"),  # noqa: UP045
        (3, list[int], "x: expected list[int], got 3 (int)"),
        ([1, "b"], list[int], "x[1]: expected int, got 'b' (str)"),
        ([1], tuple[int, int], "x: expected 2 values, got 1: [1]"),
        ("tvl2", Literal["tvl1", "dis"], "x: expected one of 'tvl1', 'dis', got 'tvl2'"),
        (True, Literal[1, 2], "x: expected one of 1, 2, got True"),
    ],
)
def test_invalid_values(value, hint, message):
    with pytest.raises(ValueError) as error:
        coerce("x", value, hint)
    assert str(error.value) == message


def test_a_dataclass_checks_and_converts_its_fields():
    settings = Settings(out="runs/a", lr=1, steps=[60, 80])
    assert settings == Settings(Path("runs/a"), 10, 1.0, (60, 80))
    assert hash(settings.steps) and type(settings.lr) is float
    with pytest.raises(ValueError, match=r"epochs: expected int, got 'ten' \(str\)"):
        Settings(epochs="ten")


def test_settings_from_the_variables_of_a_notebook():
    variables = {"__name__": "__main__", "epochs": 3, "lr": 1, "steps": [1], "Path": Path, "_": 5}
    assert from_notebook(Settings, variables, flip=False) == Settings(epochs=3, lr=1.0, steps=(1,), flip=False)
    with pytest.raises(ValueError, match="epochs: expected int, got None"):
        from_notebook(Settings, variables | {"epochs": None})


def test_unknown_names_are_refused_with_the_closest_match():
    with pytest.raises(ValueError, match="unknown parameter 'epcohs'. Did you mean 'epochs'"):
        from_notebook(Settings, {"epcohs": 3})
    with pytest.raises(ValueError, match="'epoch'. Did you mean 'epochs'"):
        from_notebook(Settings, {"__name__": "__main__"}, epoch=3)
    assert unknown("zzz", ["b", "a"]) == "unknown parameter 'zzz'. Valid: a, b"


def test_a_name_that_plain_papermill_accepts_is_refused():
    declared = "epochs: int = 10  # passes\nrun: str = 'a=b'\nOptional[int]"
    fine = {"__name__": "__main__", "In": ["", declared, "# Parameters\nepochs = 3\nrun = 'b'\n"]}
    assert from_notebook(Settings, fine | {"epochs": 3}).epochs == 3
    misspelt = fine | {"In": ["", declared, "# Parameters\nepcohs = 3\n", "x = 1"]}
    with pytest.raises(ValueError, match=r"'epcohs'. Did you mean 'epochs'\? Valid: epochs, run"):
        from_notebook(Settings, misspelt)
    own_heading = fine | {"In": ["", "# Parameters\nepochs: int = 10"]}
    assert from_notebook(Settings, own_heading) == Settings()


@pytest.mark.parametrize(  # paper.yaml, of all runs, has its own names: tests/test_cluster.py
    "path", sorted((project_root() / "params").glob("[!p]*.yaml")), ids=lambda path: path.stem
)
def test_every_name_in_a_parameter_file_is_known_to_a_notebook_or_the_pipeline(path):
    check_shared(yaml.safe_load(path.read_text()))


NO_NUMBERS = [float("nan"), float("inf"), -float("inf"), "1e400", True, None, [[1]], {"a": 1}, "ten", ""]
NO_NUMBERS += [-1, -(2**70), [-1]]  # out of range


def test_numbers_out_of_range_are_refused_before_any_step(monkeypatch):
    known, given = known_parameters(), yaml.safe_load((project_root() / "params/toy.yaml").read_text())
    numbers = {
        name for name, hints in known.items() if any("int" in str(h) or "float" in str(h) for h in hints.values())
    }
    assert RANGES.keys() <= numbers and len(numbers & given.keys()) > 25
    monkeypatch.setattr(runner, "known_parameters", lambda folder: known)  # else it reads all notebooks each time
    for name in numbers:
        for value in NO_NUMBERS:
            with pytest.raises(ValueError, match=name):
                check_shared({name: value})
    check_shared({name: value for name, value in given.items() if name in numbers})


def test_choices_are_checked_before_any_step_and_equal_those_of_the_code():
    said = {"flow_method": FLOW_METHODS, "backbone": BACKBONES}
    for kind in (IICConfig, TrainingConfig, FinetuneConfig):
        said |= {f.name: f.metadata["choices"] for f in dataclasses.fields(kind) if f.metadata.get("choices")}
    said["iic_loss"] = next(f.metadata["choices"] for f in dataclasses.fields(IICConfig) if f.name == "loss")
    assert all(set(choices) == set(said[name]) for name, choices in CHOICES.items() if name not in ("crops", "device"))
    assert CHOICES.keys() <= known_parameters().keys()
    for name in CHOICES:
        with pytest.raises(ValueError, match=f"{name}: 'x' is not one of"):
            check_shared({name: "x"})
    for device in ("cuda:1", "mps"):
        check_shared({"device": device})
