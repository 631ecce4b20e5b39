"""The built-in data: the same on every run, siblings alike, splits by recording."""

import hashlib
from pathlib import Path

import pytest
import torch

from data_prep import toy_actions


def test_manifest_has_groups_and_a_split_by_recording(tmp_path):
    table = toy_actions.build(tmp_path, recordings=4, takes=2, workers=1).table
    assert table.label.nunique() == 12 and len(table) == 12 * 4 * 2
    assert (table.groupby("source_id").split.nunique() == 1).all() and (table.groupby("source_id").size() == 2).all()
    assert table.groupby(["class_name", "split"]).size().unstack().eq([2, 6]).all().all()
    assert table.num_frames.between(32, 44).all() and set(table.width) == {80} and set(table.height) == {60}


def test_rendering_again_gives_the_same_bytes(tmp_path):
    def digests(folder):
        toy_actions.build(folder, recordings=4, takes=1, workers=1)
        files = sorted(Path(folder).rglob("*.mp4"))
        return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}

    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_takes_share_the_scene_and_recordings_do_not():
    def mean_colour(recording, take):
        return toy_actions.render("spin", "star_on_checks", 0, 8, recording, take).float().mean(dim=(0, 1, 2))

    def normalised(colour):
        return colour / colour.norm()  # takes differ in exposure

    same = torch.stack([normalised(mean_colour(r, 0)) @ normalised(mean_colour(r, 1)) for r in range(4)])
    other = torch.stack([normalised(mean_colour(r, 0)) @ normalised(mean_colour(r + 4, 1)) for r in range(4)])
    assert same.min() > other.max()


def test_motions_move_as_they_are_called():
    """Sliding is horizontal in the flow, bouncing vertical."""
    from cprlib.data.flow import estimate

    def energy(motion):
        number = toy_actions.MOTIONS.index(motion) * 3 + 1
        clips = [toy_actions.render(motion, "tile_on_clouds", 0, number, r, 0) for r in range(4)]
        flow = torch.cat([estimate(clip, "dis") for clip in clips])
        return flow.mean(dim=(2, 3)).abs().mean(dim=0)  # (u, v)

    slide, bounce = energy("slide"), energy("bounce")
    assert slide[0] > 2 * slide[1] and bounce[1] > 2 * bounce[0]


def test_too_few_recordings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="recordings is 3, takes 2; at least 4"):
        toy_actions.build(tmp_path, recordings=3)


def test_another_seed_makes_other_videos_and_damage_is_mended(tmp_path):
    def digests(seed: int) -> dict:
        toy_actions.build(tmp_path, recordings=4, takes=1, seed=seed, workers=1)
        return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(tmp_path.rglob("*.mp4"))}

    zero = digests(0)
    one = digests(1)
    assert zero.keys() == one.keys() and all(zero[name] != one[name] for name in zero)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")}
    assert digests(1) == one and {path: path.stat().st_mtime_ns for path in times} == times  # kept
    next(iter(times)).write_bytes(b"cut off")
    assert digests(1) == one
    (tmp_path / "videos_looked.json").unlink()  # each video says itself what seed it is of
    assert digests(0) == zero
