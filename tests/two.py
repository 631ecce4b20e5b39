"""Several trainings in one start of two processes, as starting takes longer than a few training steps."""

import dataclasses
from pkgutil import resolve_name
from typing import get_type_hints

from cprlib.training.launch import launch


def in_two(function: str, configs) -> None:
    """Call a training function, e.g. "cprlib.training.iic:fit_iic", once per configuration, on the CPU."""
    launch("tests.two:each", {"function": function, "settings": [dataclasses.asdict(c) for c in configs]}, 2, "cpu")


def each(function: str, settings: list[dict]) -> None:
    """The work of each of the two processes."""
    called = resolve_name(function)
    for given in settings:
        called(get_type_hints(called)["config"](**given))
