"""Encoders: shapes, normalisation, momentum."""

import pytest
import torch
from torch import nn

from cprlib.encoders import BACKBONES, build_encoder, momentum_copy, momentum_update


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
