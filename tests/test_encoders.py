"""Encoders: shapes, normalisation, momentum."""

import pytest
import torch
from torch import nn

from cprlib.data.augmentation import to_input
from cprlib.encoders import BACKBONES, ReleasedFlowInput, build_encoder, momentum_copy, momentum_update


@pytest.mark.parametrize(("backbone", "width"), [("s3d", 1024), ("r3d_18", 512), ("r2plus1d_18", 512), ("tiny", 128)])
def test_clips_become_normalised_features(backbone, width):
    encoder = build_encoder(backbone, dim=16).eval()
    clips = torch.randn(2, 3, 8, 32, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert encoder.features(clips).shape == (2, width)
        torch.testing.assert_close(encoder(clips).norm(dim=1), torch.ones(2))
        assert encoder(clips).shape == (2, 16)


def test_s3d_has_the_papers_layers():
    modules = list(build_encoder("s3d").backbone.modules())
    assert sum(isinstance(m, nn.Conv3d) for m in modules) == 77
    norms = [m for m in modules if isinstance(m, nn.BatchNorm3d)]
    assert len(norms) == 77 and {(m.eps, m.momentum) for m in norms} == {(1e-5, 0.1)}


def test_unknown_backbone_is_named():
    with pytest.raises(ValueError, match=f"'resnet'; choose one of .*{sorted(BACKBONES)[0]}"):
        build_encoder("resnet")


def test_momentum_moves_the_copy_and_nothing_else():
    encoder = build_encoder("tiny", 8)
    key = momentum_copy(encoder)
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(1)
    before = [p.clone() for p in encoder.parameters()]
    momentum_update(encoder, key, 0.75)
    for q, k, b in zip(encoder.parameters(), key.parameters(), before, strict=True):
        torch.testing.assert_close(q, b)
        torch.testing.assert_close(k, b - 0.75)
        assert not k.requires_grad


def released_flow(levels):
    """Flow levels (B, T, H, W, 2) uint8 as input of the released code: a normalised picture of 128, v, u."""
    u, v = levels.double().unbind(-1)
    channels = zip((torch.full_like(u, 128), v, u), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
    return torch.stack([(channel / 255 - mean) / std for channel, mean, std in channels], dim=1)


@pytest.fixture
def levels():
    return torch.randint(256, (2, 5, 12, 10, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def test_flow_becomes_the_picture_of_the_released_code(levels):
    ours = to_input(levels, "flow")
    before = ours.clone()
    torch.testing.assert_close(ReleasedFlowInput()(ours).double(), released_flow(levels), rtol=0, atol=2e-6)
    assert torch.equal(ours, before)  # the batch is not modified


def test_a_folded_convolution_agrees_up_to_the_borders(levels):
    conv = nn.Conv3d(3, 6, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False).double()
    with torch.no_grad():
        expected = conv(to_input(levels, "flow").double())
        conv.weight.copy_(ReleasedFlowInput().fold(conv.weight))
        torch.testing.assert_close(conv(released_flow(levels)), expected, rtol=0, atol=1e-6)


def test_a_momentum_copy_keeps_the_input_layer(levels):
    encoder = build_encoder("tiny", 8).eval()
    encoder.input = ReleasedFlowInput()
    key, clips = momentum_copy(encoder), to_input(levels, "flow")
    momentum_update(encoder, key, 0.5)
    with torch.no_grad():
        assert torch.equal(key(clips), encoder(clips))
        encoder.input = nn.Identity()
        assert not torch.equal(key(clips), encoder(clips))


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 17, 31), (8, 40, 40), (8, 56, 56), (33, 24, 18)])
def test_tiny_takes_clips_of_any_length_and_size_from_16_pixels(shape):
    encoder = build_encoder("tiny", dim=4)
    clips = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    assert encoder(clips).shape == (2, 4) and encoder.features(clips).shape == (2, 128)
