"""Shared by all tests: one thread, and the real videos if they are there."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

from pathlib import Path

import pytest
import torch

from cprlib.runs import resolve

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def cpr_data() -> Path:
    """Folder with videos/ and splits/: $CPR_DATA, by default ../shared."""
    path = resolve("${CPR_DATA:-../shared}")
    if not (path / "videos").is_dir():
        pytest.skip(f"real videos are not at {path}; set CPR_DATA")
    return path
