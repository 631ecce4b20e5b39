"""Released checkpoints: the same features as a slow S3D with the released names, and export."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cprlib.data.augmentation import to_input
from cprlib.encoders import ReleasedFlowInput, build_encoder
from cprlib.store.checkpoints import export_released, load_released, main, save_checkpoint
from cprlib.store.released import PARTS
from tests.test_encoders import released_flow

DIM = 16
CLOSE = {"rtol": 1e-5, "atol": 5e-6}


def windows(x, kernel, stride, fill):
    """The input shifted to each offset of a kernel, padded so that odd kernels keep the size."""
    x = F.pad(x, [p for k in reversed(kernel) for p in [(k - 1) // 2] * 2], value=fill)
    steps = [(size - k) // s for size, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    for offset in itertools.product(*map(range, kernel)):
        t, h, w = (slice(o, o + n * s + 1, s) for o, n, s in zip(offset, steps, stride, strict=True))
        yield offset, x[:, :, t, h, w]


def convolve(x, conv, norm):
    """Explicit convolution, batch norm with running statistics, and ReLU."""
    y = 0
    for offset, window in windows(x, conv.kernel_size, conv.stride, 0.0):
        y = y + torch.einsum("oc,bcthw->bothw", conv.weight[(..., *offset)], window)
    mean, var, scale, shift = (
        v[:, None, None, None] for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return ((y - mean) / (var + 1e-5).sqrt() * scale + shift).clamp(min=0)


class Pool(nn.Module):
    def __init__(self, kernel, stride):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x):
        return torch.stack([w for _, w in windows(x, self.kernel, self.stride, -torch.inf)]).amax(0)


class Pointwise(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv, self.bn = nn.Conv3d(c_in, c_out, 1, bias=False), nn.BatchNorm3d(c_out)

    def forward(self, x):
        return convolve(x, self.conv, self.bn)


class Separable(nn.Module):
    def __init__(self, c_in, c_out, k, stride=1):
        super().__init__()
        self.conv1 = nn.Conv3d(c_in, c_out, (1, k, k), (1, stride, stride), bias=False)
        self.conv2 = nn.Conv3d(c_out, c_out, (k, 1, 1), (stride, 1, 1), bias=False)
        self.bn1, self.bn2 = nn.BatchNorm3d(c_out), nn.BatchNorm3d(c_out)

    def forward(self, x):
        return convolve(convolve(x, self.conv1, self.bn1), self.conv2, self.bn2)


class Mixed(nn.Module):
    def __init__(self, c_in, one, three_in, three, five_in, five, pooled):
        super().__init__()
        self.branch0 = nn.Sequential(Pointwise(c_in, one))
        self.branch1 = nn.Sequential(Pointwise(c_in, three_in), Separable(three_in, three, 3))
        self.branch2 = nn.Sequential(Pointwise(c_in, five_in), Separable(five_in, five, 3))
        self.branch3 = nn.Sequential(Pool((3, 3, 3), (1, 1, 1)), Pointwise(c_in, pooled))

    def forward(self, x):
        return torch.cat([self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x)], dim=1)


class SlowS3D(nn.Module):
    """S3D with the released code's names: each layer under its own name, and again as an item of its block."""

    def __init__(self):
        super().__init__()
        layers = {
            1: {"Conv_1a": Separable(3, 64, 7, 2)},
            2: {
                "MaxPool_2a": Pool((1, 3, 3), (1, 2, 2)),
                "Conv_2b": Pointwise(64, 64),
                "Conv_2c": Separable(64, 192, 3),
            },
            3: {
                "MaxPool_3a": Pool((1, 3, 3), (1, 2, 2)),
                "Mixed_3b": Mixed(192, 64, 96, 128, 16, 32, 32),
                "Mixed_3c": Mixed(256, 128, 128, 192, 32, 96, 64),
            },
            4: {
                "MaxPool_4a": Pool((3, 3, 3), (2, 2, 2)),
                "Mixed_4b": Mixed(480, 192, 96, 208, 16, 48, 64),
                "Mixed_4c": Mixed(512, 160, 112, 224, 24, 64, 64),
                "Mixed_4d": Mixed(512, 128, 128, 256, 24, 64, 64),
                "Mixed_4e": Mixed(512, 112, 144, 288, 32, 64, 64),
                "Mixed_4f": Mixed(528, 256, 160, 320, 32, 128, 128),
            },
            5: {
                "MaxPool_5a": Pool((2, 2, 2), (2, 2, 2)),
                "Mixed_5b": Mixed(832, 256, 160, 320, 32, 128, 128),
                "Mixed_5c": Mixed(832, 384, 192, 384, 48, 128, 128),
            },
        }
        for number, block in layers.items():
            for name, layer in block.items():
                self.add_module(name, layer)
            self.add_module(f"block{number}", nn.Sequential(*block.values()))

    def forward(self, x):
        for number in range(1, 6):
            x = self.get_submodule(f"block{number}")(x)
        return x


class Released(nn.Module):
    """The content of a released checkpoint: three networks and the buffers of the queues."""

    def __init__(self, parts=PARTS):
        super().__init__()
        for part in parts:
            head = nn.Conv3d(1024, 1024, 1), nn.ReLU(), nn.Conv3d(1024, DIM, 1)
            self.add_module(part, nn.Sequential(SlowS3D(), nn.AdaptiveAvgPool3d(1), *head))
        for name in ("queue", "queue_second"):
            self.register_buffer(name, F.normalize(torch.randn(DIM, 64), dim=0))
        for name, size in {"queue_ptr": 1, "queue_vname": 64, "queue_label": 64, "memory_index_record": 64}.items():
            self.register_buffer(name, torch.arange(size))


def as_if_trained(model):
    """Random weights of useful scale in every layer, and running statistics with an effect."""
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.7, 1.5), nn.init.normal_(module.bias, 0, 0.1)
            module.num_batches_tracked.random_(1, 1000)
    return model


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A model of the released code, and its checkpoint with everything its training saves."""
    torch.manual_seed(0)
    with torch.no_grad():
        model = as_if_trained(Released()).eval()
    head = model.encoder_q[4]
    optimizer = torch.optim.Adam([{"params": p} for p in head.parameters()], lr=1e-3)
    head(torch.ones(1, 1024, 1, 1, 1)).sum().backward()
    optimizer.step()
    path = tmp_path_factory.mktemp("released") / "epoch99.pth.tar"
    saved = {"epoch": 99, "state_dict": model.state_dict(), "best_acc": 0.5, "iteration": 7}
    torch.save(saved | {"optimizer": optimizer.state_dict()}, path, _use_new_zipfile_serialization=False)
    return model, path


@pytest.mark.parametrize("part", PARTS)
def test_each_part_equals_a_slow_s3d(released, part):
    model, path = released
    encoder = load_released(path, part=part)
    assert not encoder.training and encoder.dim == DIM
    clips = torch.randn(2, 3, 14, 48, 60, generator=torch.Generator().manual_seed(1))
    slow = copy.deepcopy(getattr(model, part)).double()
    with torch.no_grad():
        maps = slow[0](clips.double())
        pooled, projected = maps.mean((2, 3, 4)), slow[1:](maps).flatten(1)
        assert (pooled[0] - pooled[1]).abs().mean() > 0.1  # the clips matter
        torch.testing.assert_close(encoder.features(clips).double(), pooled, rtol=1e-5, atol=5e-4)
        torch.testing.assert_close(encoder(clips).double(), projected / projected.norm(dim=1, keepdim=True), **CLOSE)


@pytest.fixture(scope="module")
def levels():
    """Flow levels (B, T, H, W, 2) of drifting blobs: u and v differ and are not symmetric."""
    t, y, x = torch.meshgrid(torch.arange(14), torch.arange(48), torch.arange(60), indexing="ij")
    uv = [torch.sin(x / 9 - t / 3) * torch.cos(y / 7), torch.cos(x / 5 + y / 11 + t / 4) - 0.3]
    clip = torch.stack(uv, dim=-1)
    return (127.5 + 90 * torch.stack([clip, clip.flip(2) * 0.5])).round().to(torch.uint8)


def test_a_released_flow_network_takes_flow_of_this_project(released, levels):
    model, path = released
    slow = copy.deepcopy(model.sampler[0]).double()
    with torch.no_grad():
        expected = slow(released_flow(levels)).mean((2, 3, 4))
        right, wrong = (
            load_released(path, part="sampler", view=view).features(to_input(levels, "flow")).double()
            for view in ("flow", "rgb")
        )
    torch.testing.assert_close(right, expected, rtol=1e-5, atol=5e-4)
    assert (wrong - expected).abs().mean() > 0.1


def test_flow_networks_of_this_project_are_exported_for_the_released_input(tmp_path, levels):
    torch.manual_seed(4)
    with torch.no_grad():
        encoder = as_if_trained(build_encoder("s3d", DIM)).eval()
        before, clips = copy.deepcopy(encoder.state_dict()), to_input(levels, "flow")
        out = export_released(encoder, tmp_path / "flow.pth.tar", view="flow")
        assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
        expected = encoder.features(clips)
        there = load_released(out).features(released_flow(levels).float())
        torch.testing.assert_close(there, expected, rtol=1e-4, atol=1e-3)
        back = load_released(out, view="flow")
        torch.testing.assert_close(back.features(clips), expected, rtol=1e-4, atol=1e-3)
    again = export_released(back, tmp_path / "again.pth.tar", view="flow")
    first, second = (torch.load(file, weights_only=True)["state_dict"] for file in (out, again))
    assert all(torch.equal(second[key], value) for key, value in first.items())  # exported unchanged
    with pytest.raises(ValueError, match="rgb.pth.tar not written: the encoder is of flow, but view is 'rgb'"):
        export_released(back, tmp_path / "rgb.pth.tar")


def test_export_and_back_is_exact(tmp_path, released):
    model, path = released
    encoder, out = load_released(path, part="sampler"), tmp_path / "sub" / "out.pth.tar"
    assert export_released(encoder, out, epoch=4, best_acc=0.25) == out
    for part in PARTS[:2]:
        back = load_released(out, part=part)
        assert back.dim == DIM
        for key, value in encoder.state_dict().items():
            assert torch.equal(back.state_dict()[key], value), key
    content = torch.load(out, weights_only=True)
    assert (content["epoch"], content["best_acc"], set(content)) == (4, 0.25, {"epoch", "best_acc", "state_dict"})
    theirs = model.state_dict()
    wanted = {key: v.shape for key, v in theirs.items() if key.startswith(PARTS[:2])}
    assert {key: v.shape for key, v in content["state_dict"].items()} == wanted
    for key, value in content["state_dict"].items():
        assert torch.equal(value, theirs[key.replace(key.split(".")[0], "sampler", 1)]), key
    assert out.stat().st_size < 1.1 * sum(v.nbytes for v in encoder.state_dict().values())  # each layer stored once
    assert [p.name for p in out.parent.iterdir()] == ["out.pth.tar"]


def test_only_an_s3d_is_exported(tmp_path):
    with pytest.raises(ValueError, match="out.pth.tar not written: the encoder is not build_encoder..s3d"):
        export_released(build_encoder("tiny", 8), tmp_path / "out.pth.tar")
    assert not list(tmp_path.iterdir())


def test_the_command_exports_a_run(tmp_path, capsys):
    encoder, out = build_encoder("s3d", 8), tmp_path / "out.pth.tar"
    config = {"backbone": "s3d", "dim": 8, "view": "rgb"}
    save_checkpoint(tmp_path / "run", config, {"encoder": encoder.state_dict(), "epoch": 3})
    main(["export", str(tmp_path / "run"), str(out)])
    assert capsys.readouterr().out.strip() == str(out)
    assert torch.load(out, weights_only=True)["epoch"] == 2  # the third one
    back = load_released(out).state_dict()
    assert all(torch.equal(back[key], value) for key, value in encoder.state_dict().items())
    config["view"] = "flow"
    save_checkpoint(tmp_path / "run", config, {"encoder": encoder.state_dict(), "epoch": 3})
    main(["export", str(tmp_path / "run"), str(out)])
    flow, first = load_released(out, view="flow").state_dict(), "backbone.0.0.0.weight"
    assert torch.equal(flow[first], ReleasedFlowInput().fold(encoder.state_dict()[first]))
    with pytest.raises(SystemExit, match="no checkpoint at .*nothing"):
        main(["export", str(tmp_path / "nothing"), str(out)])
