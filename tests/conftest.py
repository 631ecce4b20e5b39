"""Shared by all tests: one thread per process, and fixtures."""

import os
import shutil

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")  # before OpenCV is

from pathlib import Path

import pytest
import torch

from cprlib.data.flow import extract_flow
from cprlib.store.files import locked, resolve
from cprlib.store.folders import training_folder
from cprlib.training import TrainingConfig, fit
from data_prep import toy_actions
from tests.pipeline import Pipeline

torch.set_num_threads(1)

# `make test` runs four processes; the tests of a file stay together and share its fixtures. The longest files are
# started first: the smoke run, for which others wait, and files that start their own processes.
LONGEST = (
    "tests/test_pipeline.py",
    "tests/training/test_ranks.py",
    "tests/evaluation/test_on_devices.py",
    "tests/data_prep/test_proposals.py",
)


def pytest_collection_modifyitems(items):
    """Sort the files, longest first; the order within a file stays."""
    items.sort(key=lambda item: [item.nodeid.startswith(name) for name in LONGEST], reverse=True)


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A temporary folder shared by all processes of this pytest call."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def cpr_data() -> Path:
    """Folder with videos/ and splits/: $CPR_DATA, by default ../shared."""
    path = resolve("${CPR_DATA:-../shared}")
    if not (path / "videos").is_dir():
        pytest.skip(f"real videos are not at {path}; set CPR_DATA")
    return path


@pytest.fixture(scope="session")
def toy_manifest(shared) -> Path:
    """Manifest of 72 small built-in videos with flow: 18 classes, 3 recordings each for training, 1 for testing."""
    folder = shared / "toy"
    with locked(folder):
        if not (folder / "manifest.csv").exists():
            videos = toy_actions.build(folder, recordings=4, takes=1, workers=1)
            extract_flow(videos, folder / "flow", "dis", 8.0, workers=1).write(folder / "manifest.csv")
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def small_run(shared, toy_manifest) -> Path:
    """A run with InfoNCE networks of both views, one epoch each, on `toy_manifest`; read or copy, do not change."""
    run = shared / "small"
    shape = {"backbone": "tiny", "dim": 8, "clip_len": 4, "clip_stride": 2, "clip_size": 32, "short_side": 36}
    with locked(run):
        for view in ("rgb", "flow"):
            settings = {"view": view, "K": 16, "epochs": 1, "lr_milestones": (), **shape}
            fit(TrainingConfig(str(toy_manifest), training_folder(run, "infonce", view), **settings))
    return run


@pytest.fixture(scope="session")
def smoke(shared) -> Pipeline:
    """The finished smoke run, with everything that `make tables` adds."""
    pipeline = Pipeline(shared / "pipeline")
    with locked(pipeline.folder):
        if not (shared / "finished").exists():
            status, printed = pipeline.run("all", "tables")
            assert status == 0, printed
            shutil.copytree(pipeline.outputs, shared / "finished")
    return pipeline


@pytest.fixture(scope="session")
def finished(smoke, shared) -> Path:
    """The outputs of the finished smoke run, shared by all processes: read or copy, do not change."""
    return shared / "finished"
