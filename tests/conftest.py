"""Shared by all tests: one thread, and the real videos if they are there."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

from pathlib import Path

import pytest
import torch

from cprlib.data.flow import extract_flow
from cprlib.store.files import resolve
from data_prep import toy_actions
from tests.pipeline import Pipeline

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def cpr_data() -> Path:
    """Folder with videos/ and splits/: $CPR_DATA, by default ../shared."""
    path = resolve("${CPR_DATA:-../shared}")
    if not (path / "videos").is_dir():
        pytest.skip(f"real videos are not at {path}; set CPR_DATA")
    return path


@pytest.fixture(scope="session")
def toy_manifest(tmp_path_factory) -> Path:
    """Manifest of 72 small built-in videos with flow: 18 classes, 3 recordings each for training, 1 for testing."""
    folder = tmp_path_factory.mktemp("toy")
    videos = toy_actions.build(folder, recordings=4, takes=1, workers=1)
    extract_flow(videos, folder / "flow", "dis", 8.0, workers=1).write(folder / "manifest.csv")
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Pipeline:
    """The smoke run, finished, with all that `make tables` adds."""
    pipeline = Pipeline(tmp_path_factory.mktemp("pipeline"))
    status, printed = pipeline.run("all", "tables")
    assert status == 0, printed
    return pipeline
