"""The same command started twice: the second waits for the first or is refused; a killed one never blocks."""

import dataclasses
import multiprocessing
import os
import re
import signal
import time

import pytest

from cprlib.data.frame_cache import build_cache
from cprlib.data.manifest import Manifest
from cprlib.search.index import Index
from cprlib.search.update import update_index
from cprlib.store.files import locked
from cprlib.training.config import TrainingConfig
from cprlib.training.fit import fit
from cprlib.training.loop import read_metrics
from tests.pipeline import Pipeline
from tests.trainings import SMALL

OWNER = r"process \d+ on \S+, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


def told(log, function, *arguments):
    """Call a function with its output in a file."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(handle, 1), os.dup2(handle, 2)
    function(*arguments)


def start(log, function, *arguments):
    """Start a separate process, as a user would."""
    process = multiprocessing.get_context("spawn").Process(target=told, args=(log, function, *arguments))
    process.start()
    return process


def hold(path, taken):
    """Hold a lock until killed."""
    with locked(path):
        taken.touch()
        time.sleep(600)


def await_file(path):
    deadline = time.monotonic() + 300
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def cached(manifest, folder):
    build_cache(Manifest.read(manifest), folder, ["rgb"], 16, workers=1)


@pytest.fixture
def config(toy_manifest, tmp_path):
    more = dict(K=16, epochs=3, lr_milestones=(), device="cpu")
    return TrainingConfig(manifest=str(toy_manifest), out=str(tmp_path / "t"), **SMALL, **more)


def test_of_two_trainings_one_trains_and_both_return_it(config, tmp_path):
    both = [start(tmp_path / f"{n}.log", fit, config) for n in range(2)]
    for process in both:
        process.join()
    logs = [(tmp_path / f"{n}.log").read_text() for n in range(2)]
    assert [process.exitcode for process in both] == [0, 0], logs
    assert sum(bool(re.search(rf"/t: waiting for {OWNER}", log)) for log in logs) == 1, logs
    alone = fit(dataclasses.replace(config, out=str(tmp_path / "alone")))
    assert read_metrics(config.out).loss.equals(read_metrics(alone).loss)


def test_a_second_training_on_devices_is_refused(config, tmp_path):
    other = start(tmp_path / "log", hold, config.out, tmp_path / "taken")
    await_file(tmp_path / "taken")
    try:
        with pytest.raises(RuntimeError, match=rf"/t is being made by {OWNER}; wait for its end"):
            fit(dataclasses.replace(config, devices=2))
        with pytest.raises(BlockingIOError, match=f"/t is being made by process {other.pid} "):
            with locked(config.out, wait=False):
                pass
    finally:
        other.kill()
        other.join()
    fit(config)  # a lock ends with its process


def test_a_waiting_process_resumes_a_killed_cache_and_a_killed_index(toy_manifest, small_run, tmp_path):
    videos = tmp_path / "videos.csv"
    Manifest(Manifest.read(toy_manifest).split("train").table.assign(video_id=range(54))).write(videos)
    calls = ((cached, videos, tmp_path / "c"), (update_index, videos, small_run, tmp_path / "i", 1))
    both = [start(tmp_path / f"{n}.log", *call) for n, call in enumerate((*calls, *calls))]
    await_file(tmp_path / ".i.lock")
    for process in both[:2]:
        os.kill(process.pid, signal.SIGKILL)
    for process in both:
        process.join()
    logs = [(tmp_path / f"{n}.log").read_text() for n in (2, 3)]  # the killed ones may not have logs
    assert [process.exitcode for process in both[2:]] == [0, 0], logs
    cached(videos, tmp_path / "one")
    assert (tmp_path / "c/rgb_16.bin").read_bytes() == (tmp_path / "one/rgb_16.bin").read_bytes()
    assert len(Index(tmp_path / "i").videos) == 54


def test_a_second_pipeline_of_a_run_is_refused(tmp_path):
    pipeline = Pipeline(tmp_path)
    with locked(pipeline.outputs / "smoke"):
        status, printed = pipeline.run("data")
    assert status == 1 and re.search(rf"outputs/smoke is being made by {OWNER}; wait for its end", printed), printed
    assert not (pipeline.outputs / "smoke").exists()
