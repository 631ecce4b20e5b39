"""Windows of a video during decoding equal those of a video of known length."""

import numpy as np
import pytest
import torch

from cprlib.data.flow import estimate, quantise
from cprlib.data.sampling import clip_indices, window_starts
from cprlib.data.video import write_video
from cprlib.evaluation.stream import stream_windows, timed_frames


def numbered(count, fps=10.0):
    """Frame t has the value t, 4 x 6 pixels."""
    return ((t / fps, np.full((4, 6, 3), t, np.uint8)) for t in range(count))


@pytest.mark.parametrize("count", [1, 3, 7, 8, 9, 20, 43])
@pytest.mark.parametrize("stride", [1, 3])
def test_windows_equal_those_of_a_known_length(count, stride):
    found = list(stream_windows(numbered(count), ("rgb",), 4, stride))
    expected = [clip_indices(count, start, 4, stride) for start in window_starts(count, 4, stride)]
    assert [window.clips["rgb"][:, 0, 0, 0].tolist() for window in found] == expected
    assert [(w.start, w.end) for w in found] == [(f[0] / 10, min(f[0] + 3 * stride, count - 1) / 10) for f in expected]


def test_flow_is_between_neighbouring_frames_and_the_last_frame_repeats_it():
    frames = np.random.default_rng(0).integers(0, 255, (19, 32, 40, 3), dtype=np.uint8)
    flow = {"method": "dis", "bound": 4.0, "short_side": 0}
    found = list(stream_windows(((t, f) for t, f in enumerate(frames)), ("rgb", "flow"), 19, 1, flow=flow))
    levels = quantise(estimate(torch.from_numpy(frames), "dis").numpy(), 4.0).transpose(0, 2, 3, 1)
    assert len(found) == 1 and np.array_equal(found[0].clips["rgb"], frames)
    assert np.array_equal(found[0].clips["flow"], levels[[*range(18), 17]])


def test_a_single_frame_has_no_flow():
    with pytest.raises(ValueError, match="single frame has no flow"):
        list(stream_windows(numbered(1), ("flow",), 4, 1, flow={"method": "dis", "bound": 4.0, "short_side": 0}))


def test_seconds_come_from_the_file(tmp_path):
    write_video(tmp_path / "slow.mp4", torch.zeros(5, 32, 32, 3, dtype=torch.uint8), fps=2.0)
    assert [seconds for seconds, _ in timed_frames(tmp_path / "slow.mp4")] == pytest.approx([0, 0.5, 1, 1.5, 2])
