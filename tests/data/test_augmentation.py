"""Augmentation against torchvision's own per-image operations and against cases worked out by hand."""

import math

import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from cprlib.data.augmentation import (
    Crop,
    colour_jitter,
    draw_crop,
    evaluation_crops,
    gaussian_blur,
    photometric,
    resized_crop,
    shift_hue,
    to_input,
)

WHOLE = Crop(area=1.0, aspect=1.0, y=0.0, x=0.0, flip=False)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def clips(batch=3, frames=2, size=16, seed=0):
    return torch.rand(batch, 3, frames, size, size, generator=generator(seed))


def test_a_full_square_crop_changes_nothing_and_flip_mirrors():
    clip = torch.randint(0, 256, (4, 12, 12, 3), dtype=torch.uint8, generator=generator())
    assert torch.equal(resized_crop(clip, WHOLE, 12, "rgb"), clip)
    assert torch.equal(resized_crop(clip, WHOLE._replace(flip=True), 12, "rgb"), clip.flip(2))


def test_flip_negates_u_and_keeps_v():
    levels = torch.tensor([0, 100, 255], dtype=torch.uint8).view(1, 1, 3, 1).expand(1, 3, 3, 2).contiguous()
    flipped = resized_crop(levels, WHOLE._replace(flip=True), 3, "flow")
    assert flipped[0, 0, :, 0].tolist() == [0, 155, 255]  # mirrored, then 255 - level
    assert flipped[0, 0, :, 1].tolist() == [255, 100, 0]  # only mirrored


@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("planar", [False, True])
def test_resizing_flow_in_pairs_equals_frame_by_frame(frames, planar):
    levels = torch.randint(0, 256, (frames, 40, 50, 2), dtype=torch.uint8, generator=generator())
    levels = levels.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1) if planar else levels
    crop = Crop(area=0.5, aspect=1.2, y=0.3, x=0.6, flip=False)
    alone = [resized_crop(torch.cat([frame, frame[..., :1]], dim=2)[None], crop, 24, "rgb") for frame in levels]
    assert torch.equal(resized_crop(levels, crop, 24, "flow"), torch.cat(alone)[..., :2])


def test_views_of_a_clip_share_their_geometry():
    """A bright patch is at the same place in RGB and flow after the crop."""
    rgb, flow = torch.zeros(2, 40, 50, 3, dtype=torch.uint8), torch.zeros(2, 40, 50, 2, dtype=torch.uint8)
    rgb[:, 10:20, 15:25], flow[:, 10:20, 15:25] = 255, 255
    for seed in range(20):
        crop = draw_crop(generator(seed))._replace(flip=False)
        a, b = resized_crop(rgb, crop, 24, "rgb"), resized_crop(flow, crop, 24, "flow")
        assert torch.equal(a[..., 0], b[..., 0])


def test_crop_area_and_aspect_stay_in_range():
    draws = [draw_crop(generator(seed)) for seed in range(500)]
    areas, aspects = [c.area for c in draws], [c.aspect for c in draws]
    assert 0.2 <= min(areas) < 0.25 and 0.95 < max(areas) <= 1
    assert 0.75 <= min(aspects) < 0.78 and 1.28 < max(aspects) <= 4 / 3
    assert 0.4 < sum(c.flip for c in draws) / 500 < 0.6


def test_the_centre_crop_takes_the_middle():
    clip = torch.zeros(1, 4, 8, 3, dtype=torch.uint8)
    clip[:, :, 2:6] = 200
    assert (evaluation_crops(clip, 4, "rgb") == 200).all()


def test_ten_crops_by_hand():
    """Pixel (y, x) of an 8 x 12 frame is 12 y + x; crops have 7/8 of the short side, 7 pixels, and are not resized."""
    clip = torch.arange(96, dtype=torch.uint8).view(1, 8, 12, 1).expand(2, -1, -1, 2).contiguous()
    crops = evaluation_crops(clip, 7, "rgb", "ten")
    corners = [(0, 0), (0, 5), (1, 0), (1, 5), (0, 2)]  # top left, top right, bottom left, bottom right, centre
    assert crops.shape == (10, 2, 7, 7, 2)
    for number, (top, left) in enumerate(corners):
        expected = torch.tensor([[12 * (top + y) + left + x for x in range(7)] for y in range(7)])
        assert torch.equal(crops[number, 1, :, :, 0].long(), expected), number
        assert torch.equal(crops[number + 5, 1, :, :, 1].long(), expected.flip(1)), number
    assert torch.equal(evaluation_crops(clip, 7, "rgb", "five"), crops[:5])
    flow = evaluation_crops(clip, 7, "flow", "ten")
    assert torch.equal(flow[5:, ..., 0], 255 - crops[5:, ..., 0])  # u points the other way in a mirror
    assert torch.equal(flow[5:, ..., 1], crops[5:, ..., 1]) and torch.equal(flow[:5], crops[:5])
    with pytest.raises(ValueError, match="'tne'; choose one of centre, five, ten"):
        evaluation_crops(clip, 7, "rgb", "tne")


def test_jitter_of_one_factor_equals_torchvision():
    x = clips()
    none = torch.tensor([1.0, 1.0, 1.0, 0.0])
    per_frame = x.transpose(1, 2)  # torchvision wants (..., 3, H, W)
    for column, value, oracle in ((0, 0.7, TF.adjust_brightness), (2, 1.3, TF.adjust_saturation)):
        factors = none.repeat(3, 1)
        factors[:, column] = value
        # torchvision's grey weights have four digits
        torch.testing.assert_close(
            colour_jitter(x, factors), oracle(per_frame, value).transpose(1, 2), atol=2e-4, rtol=0
        )
    hue = TF.adjust_hue(per_frame, 0.08).transpose(1, 2)
    torch.testing.assert_close(shift_hue(x, torch.full((3, 1, 1, 1, 1), 0.08)), hue, atol=1e-5, rtol=0)


def test_contrast_scales_around_the_mean_brightness_of_the_clip():
    x = clips(batch=1)
    flat = colour_jitter(x, torch.tensor([[1.0, 0.0, 1.0, 0.0]]))
    mean = (0.299 * x[0, 0] + 0.587 * x[0, 1] + 0.114 * x[0, 2]).mean()
    torch.testing.assert_close(flat, mean.expand_as(flat))


def test_blur_equals_torchvision_and_each_clip_has_its_own():
    x, sigma = clips(size=24), torch.tensor([0.6, 1.0, 1.5])
    radius = math.ceil(2 * 1.5)
    oracle = [
        TF.gaussian_blur(c.transpose(0, 1), 2 * radius + 1, float(s)).transpose(0, 1)
        for c, s in zip(x, sigma, strict=True)
    ]
    torch.testing.assert_close(gaussian_blur(x, sigma), torch.stack(oracle), atol=1e-5, rtol=1e-4)


def test_photometric_differs_by_clip_not_by_frame_and_repeats():
    x = clips(batch=1, frames=1, size=16).expand(8, 3, 2, 16, 16).clone()
    a, b = photometric(x.clone(), generator(3)), photometric(x.clone(), generator(3))
    assert torch.equal(a, b)
    torch.testing.assert_close(a[:, :, 0], a[:, :, 1])
    assert len({round(float(clip.sum()), 3) for clip in a}) > 4
    assert 0 <= a.min() and a.max() <= 1


def test_only_strong_clips_change_and_flow_never():
    bytes_ = torch.randint(0, 256, (6, 2, 8, 8, 3), dtype=torch.uint8, generator=generator())
    strong = torch.tensor([True, False, True, False, True, False])
    plain, augmented = to_input(bytes_, "rgb"), to_input(bytes_, "rgb", strong, generator(1))
    assert torch.equal(plain[~strong], augmented[~strong])
    assert not torch.equal(plain[strong], augmented[strong])
    flow = bytes_[..., :2]
    assert torch.equal(to_input(flow, "flow"), to_input(flow, "flow", strong, generator(1)))


def test_input_ranges():
    white = to_input(torch.full((1, 1, 2, 2, 3), 255, dtype=torch.uint8), "rgb")
    assert white[0, :, 0, 0, 0].tolist() == pytest.approx(
        [(1 - m) / s for m, s in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    )
    flow = to_input(torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 1, 2), "flow")
    assert flow.flatten().tolist() == [-1, 1, 0]
