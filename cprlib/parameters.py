"""Settings: flat names and plain values, checked against the types that their readers declare."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

# What the Snakefile itself reads from a parameter file; every other name belongs to a notebook.
DATA_PARAMETERS = {
    "run": str,  # name of the run folder
    "outputs": str,  # folder of the run folders and the data
    "dataset": Literal["toy", "ucf101", "hmdb51", "kinetics", "coclr_lmdb", "folder"],
    "videos": str,  # folder of videos; for "folder" also a CSV; for "coclr_lmdb" the LMDB of RGB frames
    "flow_lmdb": str,  # for "coclr_lmdb"
    "splits": str,  # folder of the official split files; for "kinetics" the CSV file, or a folder of them
    "split": Literal[1, 2, 3],
    "manifest": str,  # table of all videos and their flow
    "views": list[str],
    "cycles": int,  # co-training cycles
    "methods": list[Literal["random", "infonce", "coclr", "cpr", "ubernce"]],  # whose networks are judged
    "pretrained": str,  # run whose networks are judged instead
    "released_rgb": str,  # .pth.tar that takes the place of InfoNCE
    "released_flow": str,
    "ablation": list[str],  # points such as "num_stages=7 ratio=0.8", each a CPR training
    "toy_recordings": int,  # of a class of the built-in data, the last 2 for testing
    "toy_takes": int,  # videos of a recording
}


def unknown(name: str, valid: Iterable[str]) -> str:
    """Say that nothing is called `name`, what comes closest, and what there is."""
    valid = sorted(valid)
    close = "".join(f" Did you mean '{n}'?" for n in difflib.get_close_matches(name, valid, n=1))
    return f"unknown parameter '{name}'.{close} Valid: {', '.join(valid) or 'none'}"


def coerce(name: str, value: Any, hint: Any) -> Any:
    """Check a value against a type; change it only where nothing is lost.

    Args:
        name: what the value is called, for the message.
        value: a plain value, as a person or a YAML file writes it.
        hint: a class, or Optional, Union, Literal, list or tuple of such. Where it wants a float
            an int will do, for a tuple a list, for a Path a str.

    Raises:
        ValueError: ``epochs: expected int, got 'ten' (str)``.
    """
    kind, args = get_origin(hint) or hint, get_args(hint)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is Any or (value is None and NoneType in args):
        return value
    if kind in (Union, UnionType):
        for option in args:
            try:
                return coerce(name, value, option)
            except ValueError:
                continue
    elif kind is Literal:
        if any(value == option and type(value) is type(option) for option in args):
            return value
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, args))}, got {value!r}")
    elif kind in (list, tuple) and isinstance(value, list | tuple):
        return _coerce_items(name, value, kind, args or (Any, ...))
    elif kind is float and (number or _is_exponent(value)):
        return float(value)
    elif kind is Path and isinstance(value, str):
        return Path(value)
    elif isinstance(value, kind) and (number or kind is not int):  # a bool is an int to Python
        return value
    wanted = hint.__name__ if kind is hint else str(hint).replace("typing.", "")
    raise ValueError(f"{name}: expected {wanted}, got {value!r} ({type(value).__name__})")


def _coerce_items(name: str, value: list | tuple, kind: type, args: tuple) -> list | tuple:
    if kind is list or args[-1] is ...:
        args = args[:1] * len(value)
    if len(args) != len(value):
        raise ValueError(f"{name}: expected {len(args)} values, got {len(value)}: {value!r}")
    return kind(coerce(f"{name}[{i}]", value[i], arg) for i, arg in enumerate(args))


def _is_exponent(value: Any) -> bool:
    """Whether a text is a number like 1e-3, which YAML takes for text since it has no dot."""
    return isinstance(value, str) and bool(re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value))


def check_types(obj: Any) -> None:
    """Check each field of a dataclass by its annotation (`coerce`); first line of __post_init__."""
    hints = get_type_hints(type(obj))
    for field in fields(obj):  # object.__setattr__, as the dataclass may be frozen
        value = coerce(field.name, getattr(obj, field.name), hints[field.name])
        object.__setattr__(obj, field.name, value)


def from_notebook(cls: type, namespace: Mapping[str, Any], **overrides: Any) -> Any:
    """Build a dataclass from the variables of a notebook that bear its fields' names.

    Args:
        cls: the dataclass.
        namespace: a notebook's ``globals()``, or a plain dict in which every name must be a field.
        overrides: values that take the place of the notebook's.

    Raises:
        ValueError: a wrong type, or a name that no parameter has, even if plain papermill set it.
    """
    hints, notebook = get_type_hints(cls), "__name__" in namespace
    names = {field.name for field in fields(cls) if field.init}
    for name in {*overrides, *(() if notebook else namespace)} - names:
        raise ValueError(unknown(name, names))
    _refuse_injected(namespace.get("In", ()) if notebook else ())
    given = {k: v for k, v in namespace.items() if k in names} | overrides
    return cls(**{name: coerce(name, value, hints[name]) for name, value in given.items()})


def _refuse_injected(cells: Iterable[str]) -> None:
    """Refuse a name in the cell that papermill adds, "# Parameters", if no cell before has it."""
    declared: set[str] = set()
    for source in cells:
        names = set(re.findall(r"^(\w+)\s*(?::[^=\n]+)?=(?!=)", source, re.MULTILINE))
        if declared and source.startswith("# Parameters\n") and names - declared:
            raise ValueError(unknown(min(names - declared), declared))
        declared |= names
