"""Trainings in two processes, several in one start of them: starting takes longer than training for a few steps."""

import dataclasses
from pkgutil import resolve_name
from typing import get_type_hints

from cprlib.training.launch import launch


def in_two(function: str, configs) -> None:
    """Call a function of trainings, e.g. "cprlib.training.iic:fit_iic", once for each of its settings, on the CPU."""
    launch("tests.two:each", {"function": function, "settings": [dataclasses.asdict(c) for c in configs]}, 2, "cpu")


def each(function: str, settings: list[dict]) -> None:
    """What each of the two processes does."""
    called = resolve_name(function)
    for given in settings:
        called(get_type_hints(called)["config"](**given))
