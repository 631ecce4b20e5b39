"""Plain values, checked against the types that their readers declare."""

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from cprlib.store.files import read_bytes


def setting(
    default: Any = MISSING, *, factory: Any = MISSING, choices: Iterable[str] = (), decides=True, **bounds: float
) -> Any:
    """A field of a dataclass of settings, with the values that it may take.

    Args:
        default, factory: as of :func:`dataclasses.field`.
        choices: the only valid values, if given.
        decides: whether it decides the result, see :mod:`cprlib.store.fingerprint`; paths, the device and the number
            of workers do not.
        bounds: of a number: it lies above `above`, is at least `least`, at most `most`, below `below`.
    """
    metadata = {"choices": tuple(choices), "decides": decides, **bounds}
    return field(default=default, default_factory=factory, metadata=metadata)


def unknown(name: str, valid: Iterable[str]) -> str:
    """The message for an unknown `name`: what comes closest, and what is valid."""
    valid = sorted(valid)
    close = "".join(f" Did you mean '{n}'?" for n in difflib.get_close_matches(name, valid, n=1))
    return f"unknown parameter '{name}'.{close} Valid: {', '.join(valid) or 'none'}"


def coerce(name: str, value: Any, hint: Any) -> Any:
    """Check a value against a type; change it only where nothing is lost.

    Args:
        name: what the value is called, for the message.
        value: a plain value, as a person or a YAML file writes it.
        hint: a class, or Optional, Union, Literal, list or tuple of such. An int is accepted
            for a float, a list for a tuple, a str for a Path.

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


def check_settings(obj: Any) -> None:
    """Check each field of a dataclass by its annotation (`coerce`) and `setting`; first line of __post_init__.

    Raises:
        ValueError: ``epochs: expected int, got 'ten' (str)``, ``lr: -1.0 must be greater than 0``.
    """
    hints = get_type_hints(type(obj))
    for entry in fields(obj):  # object.__setattr__, as the dataclass may be frozen
        value = coerce(entry.name, getattr(obj, entry.name), hints[entry.name])
        object.__setattr__(obj, entry.name, value)
        check_range(entry.name, value, entry.metadata)


def check_range(name: str, value: Any, allowed: Mapping[str, Any]) -> None:
    """Check a value, or each of a list, against what :func:`setting` allows; numbers must be finite.

    Raises:
        ValueError: ``lr: -1.0 must be greater than 0``.
    """
    if isinstance(value, list | tuple):
        for each in value:
            check_range(name, each, allowed)
        return
    above, least, most, below = (allowed.get(bound) for bound in ("above", "least", "most", "below"))
    if choices := allowed.get("choices"):
        if value not in choices and re.sub(r"\d+$", "0", str(value)) not in choices:  # cuda:0 stands for all GPUs
            raise ValueError(f"{name}: {value!r} is not one of {', '.join(choices)}")
    elif above is not None and not value > above:  # also refuses NaN
        raise ValueError(f"{name}: {value} must be greater than {above:g}")
    elif least is not None and most is not None and not least <= value <= most:
        raise ValueError(f"{name}: {value} must lie between {least:g} and {most:g}")
    elif least is not None and below is not None and not least <= value < below:
        raise ValueError(f"{name}: {value} must lie in [{least:g}, {below:g})")
    elif least is not None and not value >= least:
        raise ValueError(f"{name}: {value} must be at least {least:g}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name}: {value} must be a finite number")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{name}: {value} is too large")


class _EachOnce(yaml.SafeLoader):
    """YAML in which a name that is given twice is an error: the last would win silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        if merged := [key for key, _ in node.value if key.tag.endswith(":merge")]:
            line = merged[0].start_mark.line + 1
            raise yaml.YAMLError(f"line {line}: '<<' is not supported; write each setting on a line of its own")
        names = [self.construct_object(key, deep) for key, _ in node.value]
        if twice := [name for name in names if names.count(name) > 1]:
            raise yaml.YAMLError(f"'{twice[0]}' is given twice; keep one")
        return super().construct_mapping(node, deep)


def read_params(path: Path) -> dict[str, Any]:
    """Read a flat YAML file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such parameter file")
    try:
        values = yaml.load(read_bytes(path).decode(), _EachOnce) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date such as 2026-13-01 is a ValueError
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        found = f"a {type(values).__name__}" if not isinstance(values, dict) else "a name that is not text"
        raise ValueError(f"{path}: expected lines 'name: value', got {found}")
    return values


def read_pairs(words: Iterable[str]) -> dict[str, Any]:
    """Settings that a command line gives as NAME=VALUE, each value as YAML.

    Raises:
        ValueError: a word is no such pair.
    """
    pairs = {}
    for word in words:
        name, is_pair, value = word.partition("=")
        if not is_pair:
            raise ValueError(f"{word!r} is not NAME=VALUE")
        pairs[name] = yaml.safe_load(value)
    return pairs
