"""The built-in data: the same on every run, similar siblings, splits by recording, no class with its own colours."""

import hashlib
from collections import Counter

import numpy as np
import pytest
import torch

from cprlib.data.flow import estimate
from data_prep import toy_actions
from data_prep.toy_actions import CLASSES, LOOKS, MOTIONS
from data_prep.toy_shapes import thing


def number(motion, look):
    return CLASSES.index((motion, look))


@pytest.fixture
def few(monkeypatch):
    """Three classes; all would only take longer."""
    monkeypatch.setattr(toy_actions, "CLASSES", CLASSES[:3])


def digests(folder, seed=0):
    toy_actions.build(folder, recordings=4, takes=1, seed=seed, workers=1)
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.rglob("*.mp4"))}


def test_half_of_all_pairs_are_classes_and_every_motion_and_look_is_in_three():
    assert len(set(CLASSES)) == 18 and len(MOTIONS) == len(LOOKS) == 6
    assert set(Counter(motion for motion, _ in CLASSES).values()) == {3}
    assert set(Counter(look for _, look in CLASSES).values()) == {3}


def test_manifest_has_groups_and_a_split_by_recording(few, tmp_path):
    table = toy_actions.build(tmp_path, recordings=4, takes=2, workers=1).table
    assert table.label.nunique() == 3 and len(table) == 3 * 4 * 2
    assert (table.groupby("source_id").split.nunique() == 1).all() and (table.groupby("source_id").size() == 2).all()
    assert table.groupby(["class_name", "split"]).size().unstack().eq([2, 6]).all().all()
    assert table.num_frames.between(32, 40).all() and set(table.width) == {80} and set(table.height) == {60}
    assert table.class_name[0] == "slide_ball" and table.source_id[0] == "slide_ball_g01"


def test_rendering_is_reproducible_to_the_byte(few, tmp_path):
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_seeds_recordings_and_takes_differ():
    one = toy_actions.render(0, 0, 0)[:32]
    assert torch.equal(one, toy_actions.render(0, 0, 0, seed=0)[:32])
    for other in ((0, 1, 0), (0, 0, 1), (1, 0, 0)):
        assert (toy_actions.render(*other)[:32].float() - one.float()).abs().mean() > 2
    assert (toy_actions.render(0, 0, 0, seed=1)[:32].float() - one.float()).abs().mean() > 2


def test_colour_does_not_reveal_the_recording():
    """Mean colours of two recordings differ only slightly more than those of two takes."""

    def colour(recording, take):
        return toy_actions.render(number("spin", "cross"), recording, take).float().mean(dim=(0, 1, 2))

    takes = torch.stack([(colour(r, 0) - colour(r, 1)).abs().mean() for r in range(6)])
    recordings = torch.stack([(colour(r, 0) - colour(r + 6, 0)).abs().mean() for r in range(6)])
    assert recordings.median() < 15 and recordings.median() < 4 * takes.median()


def test_motions_match_their_names():
    """In the flow, sliding is horizontal, bouncing vertical, a diagonal both in phase, a circle both out of phase."""

    def flow(motion, look):
        clips = [toy_actions.render(number(motion, look), r, 0) for r in range(4)]
        return [estimate(clip, "dis").mean(dim=(2, 3)).numpy() for clip in clips]  # (T - 1, 2): u, v

    def energy(motion, look):
        return np.abs(np.concatenate(flow(motion, look))).mean(axis=0)

    def in_step(motion, look):
        return np.mean([abs(np.corrcoef(*uv.T)[0, 1]) for uv in flow(motion, look)])

    slide, bounce = energy("slide", "bar"), energy("bounce", "bar")
    assert slide[0] > 2 * slide[1] and bounce[1] > 2 * bounce[0]
    assert in_step("diagonal", "cross") > 0.7 > in_step("circle", "cross") + 0.1


@pytest.mark.parametrize("look", LOOKS)
def test_every_thing_has_its_own_outline(look):
    y, x = np.mgrid[-2.5:2.5:100j, -2.5:2.5:100j]
    covers = {name: thing(name, y, x, np.random.default_rng(0))[0] for name in LOOKS}
    for other in set(LOOKS) - {look}:
        both, either = np.minimum(covers[look], covers[other]).sum(), np.maximum(covers[look], covers[other]).sum()
        assert both / either < 0.6, (look, other)


def test_too_few_recordings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="recordings is 3, takes 2; at least 4"):
        toy_actions.build(tmp_path, recordings=3)


def test_another_seed_makes_other_videos_and_damage_is_repaired(few, tmp_path):
    zero, one = digests(tmp_path, 0), digests(tmp_path, 1)
    assert zero.keys() == one.keys() and all(zero[name] != one[name] for name in zero)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")}
    assert digests(tmp_path, 1) == one and {path: path.stat().st_mtime_ns for path in times} == times  # kept
    next(iter(times)).write_bytes(b"cut off")
    assert digests(tmp_path, 1) == one
    (tmp_path / "videos_looked.json").unlink()  # each video records its seed
    assert digests(tmp_path, 0) == zero
