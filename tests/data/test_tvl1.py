"""TV-L1 in torch against OpenCV's, on synthetic and real frames."""

import cv2
import numpy as np
import pytest
import torch

from cprlib.data.flow import estimate, quantise
from cprlib.data.tvl1 import median, resize, tvl1, warp
from cprlib.data.video import read_clip
from tests.data.made import gliding


def grey(frames):
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in np.asarray(frames)])


def ours(frames):
    pictures = torch.from_numpy(grey(frames))
    return tvl1(pictures[:-1], pictures[1:])


def assert_like_opencv(frames):
    expected, found = estimate(frames, "tvl1"), ours(frames)
    assert found.shape == expected.shape and found.dtype == torch.float32
    assert (found - expected).norm(dim=1).median() <= 0.05  # pixels
    levels = [quantise(flow.numpy(), 20.0).astype(int) for flow in (found, expected)]
    assert np.abs(levels[0] - levels[1]).mean() <= 1


@pytest.mark.parametrize(("dx", "dy"), [(2, -1), (0, 0)])
def test_a_known_motion_is_found_as_in_opencv(dx, dy):
    frames = gliding(4, dx, dy)
    inner = ours(frames)[:, :, 12:-12, 12:-12]  # pixels that wrap around the edge move differently
    assert (inner[:, 0] - dx).abs().median() < 0.15 and (inner[:, 1] - dy).abs().median() < 0.15
    assert_like_opencv(frames)


def test_flow_of_real_frames_equals_opencvs(cpr_data):
    paths = sorted((cpr_data / "videos" / "ucf101-original").glob("*/*"))
    for path in (paths[0], paths[-1]):
        assert_like_opencv(read_clip(path, [20, 21, 22], short_side=96))


def test_pairs_of_a_batch_are_independent():
    frames = torch.cat([gliding(2, 2, -1), gliding(2, 0, 0)])
    together = ours(frames)
    for number in range(3):
        assert (together[number] - ours(frames[number : number + 2])[0]).abs().max() < 1e-3


def test_small_frames_need_no_pyramid():
    assert ours(gliding(2, 1, 0)[:, :17, :18]).shape == (1, 2, 17, 18)


def test_its_parts_equal_opencvs():
    g = torch.Generator().manual_seed(0)
    image, u = 255 * torch.rand(2, 1, 33, 40, generator=g), 3 * torch.randn(2, 2, 33, 40, generator=g)
    for number in range(2):
        picture = image[number, 0].numpy()
        x, y = (np.arange(40) + u[number, 0].numpy(), np.arange(33)[:, None] + u[number, 1].numpy())
        warped = cv2.remap(picture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC)
        # OpenCV 4 rounds positions to 1/32 pixel, OpenCV 5 does not
        assert np.abs(warp(image, u)[number, 0].numpy() - warped).mean() < (0.01 if cv2.__version__ > "5" else 5)
        assert np.array_equal(median(image)[number, 0].numpy(), cv2.medianBlur(picture, 5))
        smaller = cv2.resize(picture, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_LINEAR)
        assert np.abs(resize(image, [26, 32], 1.25)[number, 0].numpy() - smaller).max() < 1e-3
        larger = cv2.resize(picture, (51, 41), interpolation=cv2.INTER_LINEAR)
        assert np.abs(resize(image, [41, 51])[number, 0].numpy() - larger).max() < 1e-3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_the_gpu_computes_the_same_flow():
    frames = gliding(40, 2, -1)  # more than a batch
    assert (estimate(frames, "tvl1", "cuda") - estimate(frames, "tvl1")).norm(dim=1).median() < 0.05
