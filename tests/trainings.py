"""Small trainings: their settings, an interruption, and several in one start of two processes."""

import dataclasses
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import get_type_hints
from unittest.mock import patch

import pytest

from cprlib.training.launch import launch

SMALL = dict(backbone="tiny", dim=8, clip_len=4, clip_size=16, short_side=30, batch_size=8)


@contextmanager
def interrupted(module, epoch: int):
    """Expect a training, with `train_epoch` of this module, to be stopped when it begins an epoch."""
    original = module.train_epoch

    def stop(config, state, *rest, **more):
        if state.epoch == epoch:
            raise KeyboardInterrupt
        return original(config, state, *rest, **more)

    with patch.object(module, "train_epoch", stop), pytest.raises(KeyboardInterrupt):
        yield


def in_two(function: str, configs) -> None:
    """Call a training function, e.g. "cprlib.training.iic:fit_iic", once per configuration, on the CPU.

    In one start of two processes, as starting takes longer than a few training steps.
    """
    settings = [dataclasses.asdict(config) for config in configs]
    launch("tests.trainings:each", {"function": function, "settings": settings}, 2, "cpu")


def each(function: str, settings: list[dict]) -> None:
    """The work of each of the two processes."""
    called = resolve_name(function)
    for given in settings:
        called(get_type_hints(called)["config"](**given))
