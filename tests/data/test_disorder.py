"""Intra-negatives keep the content of the frames but not their order."""

import pytest
import torch

from cprlib.data.disorder import DISORDERS, repeat_frame, shuffle_segments
from cprlib.methods import frame_difference


def numbered(batch=5, frames=10):
    """Clips of constant frames: ten times the clip's number plus the frame's."""
    values = 10 * torch.arange(batch)[:, None] + torch.arange(frames)
    return values[:, None, :, None, None].expand(batch, 3, frames, 2, 2).float()


def order(clips):
    return (clips[:, 0, :, 0, 0] % 10).int().tolist()


def test_repeat_repeats_one_frame_of_the_same_clip():
    clips = repeat_frame(numbered(), torch.Generator().manual_seed(0))
    assert all(len(set(frames)) == 1 for frames in order(clips))
    assert (clips[:, 0, 0, 0, 0] // 10).tolist() == [0, 1, 2, 3, 4]
    assert len({frames[0] for frames in order(clips)}) > 1  # each clip draws its own
    assert (frame_difference(clips / 50) == 0).all()  # the residual of a still clip is constant


@pytest.mark.parametrize("frames", [2, 3, 8, 10])
def test_shuffled_segments_hold_the_same_frames_in_another_order(frames):
    clips = shuffle_segments(numbered(20, frames), torch.Generator().manual_seed(0))
    for found in order(clips):
        assert sorted(found) == list(range(frames)) and found != list(range(frames))
    whole = sum(b == a + 1 for found in order(clips) for a, b in zip(found, found[1:], strict=False))
    assert whole >= 20 * (frames - min(4, frames))  # segments keep their inner order
    assert len(set(map(tuple, order(clips)))) > 1 or frames == 2


def test_draws_come_from_the_generator_and_one_frame_has_no_order():
    for disorder in DISORDERS.values():
        a, b = (disorder(numbered(), torch.Generator().manual_seed(3)) for _ in range(2))
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="clips of one frame have no order to shuffle"):
        shuffle_segments(numbered(2, 1), torch.Generator())
