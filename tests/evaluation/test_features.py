"""Windows over videos and their averaged features, with an encoder that can be computed by hand."""

import pandas as pd
import pytest
import torch
from torch import nn

from cprlib.data.manifest import Manifest
from cprlib.data.sampling import window_starts
from cprlib.evaluation.features import Windows, extract_features, mean_over_windows

LENGTHS = {7: 3, 2: 40, 9: 8, 4: 21}  # video_id -> frames; neither sorted nor contiguous


class FakeFrames:
    """Frame t of video v has the constant value 10 v + t, 6 x 8 pixels; records what was read."""

    def __init__(self, channels: int = 3):
        self.channels, self.reads = channels, []

    def frames(self, video_id, view, frame_indices):
        self.reads.append((video_id, view, list(frame_indices)))
        levels = torch.tensor([10 * video_id + t for t in frame_indices], dtype=torch.uint8)
        return levels[:, None, None, None].expand(-1, 6, 8, self.channels)


class FrameValues(nn.Module):
    """Features: the first and last frame of the clip (one of the colours), and their mean."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm3d(3, affine=False)  # would change the output in training mode
        self.batches, self.modes = [], set()

    def features(self, clips):
        self.batches.append(len(clips))
        self.modes.add(self.training)
        values = self.norm(clips).mean(dim=(1, 3, 4))  # (B, T)
        return torch.stack([values[:, 0], values[:, -1], values.mean(dim=1)], dim=1)


def manifest_of(lengths):
    return Manifest(pd.DataFrame({"video_id": list(lengths), "num_frames": list(lengths.values())}))


def extract(frames, encoder=None, lengths=LENGTHS, view="rgb", **options):
    return extract_features(encoder or FrameValues(), Windows(frames, manifest_of(lengths), view, 8, 1, 4), **options)


@pytest.mark.parametrize("num_frames", [1, 7, 8, 9, 12, 13, 40, 41])
@pytest.mark.parametrize(("clip_len", "stride"), [(8, 1), (4, 2), (1, 1), (5, 3)])
def test_windows_cover_the_whole_video(num_frames, clip_len, stride):
    starts = window_starts(num_frames, clip_len, stride)
    span = (clip_len - 1) * stride + 1
    assert starts[0] == 0 and starts == sorted(set(starts))
    assert starts[-1] == max(0, num_frames - span)
    covered = {f for start in starts for f in range(start, start + clip_len * stride)}
    assert covered >= set(range(num_frames))


def test_windows_by_hand():
    assert window_starts(64, 32) == [0, 16, 32]
    assert window_starts(65, 32) == [0, 16, 32, 33]
    assert window_starts(64, 32, overlap=0) == [0, 32]
    assert window_starts(20, 32) == [0]


@pytest.mark.parametrize("bad", [{"num_frames": 0}, {"stride": 0}, {"overlap": 1.0}])
def test_impossible_windows_are_named(bad):
    (name, value), arguments = *bad.items(), {"num_frames": 10, "clip_len": 4, **bad}
    with pytest.raises(ValueError, match=f"{name}={value}"):
        window_starts(**arguments)


def test_features_are_the_mean_over_each_videos_windows_in_manifest_order():
    levels = extract(FakeFrames())
    # by hand: values / 255, normalised per channel, through an untrained batch norm
    mean, std = (torch.tensor(v) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for row, (video_id, length) in enumerate(LENGTHS.items()):
        windows = []
        for start in window_starts(length, 8):
            clip = [10 * video_id + t for t in range(start, min(length, start + 8))]
            clip = [clip[0]] * (8 - len(clip)) + clip  # too short: padded with the first frame
            values = [((v / 255 - mean) / std).mean() / (1 + 1e-5) ** 0.5 for v in clip]
            windows.append([values[0], values[-1], sum(values) / 8])
        assert torch.allclose(levels[row], torch.tensor(windows).mean(dim=0), atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("workers", [0, 2])
def test_batch_size_and_workers_do_not_matter(batch_size, workers):
    expected = extract(FakeFrames(), batch_size=4)
    found = extract(FakeFrames(), batch_size=batch_size, workers=workers)
    assert found.dtype == torch.float32 and found.shape == (4, 3)
    assert torch.allclose(found, expected, atol=1e-5)


def test_windows_are_batched_across_videos():
    encoder = FrameValues()
    extract(FakeFrames(), encoder, batch_size=5)
    total = sum(len(window_starts(n, 8)) for n in LENGTHS.values())
    assert encoder.batches == [5] * (total // 5) + [total % 5] * (total % 5 > 0)


def test_at_most_one_batch_is_decoded_ahead():
    frames, encoder = FakeFrames(), FrameValues()
    ahead = []
    original = encoder.features
    encoder.features = lambda clips: (ahead.append(len(frames.reads)), original(clips))[1]
    extract(frames, encoder, batch_size=3)
    assert ahead[:3] == [2, 3, 4]  # one window of the first video, two of the second, then three of that one


def test_frames_of_overlapping_windows_are_read_once():
    frames = FakeFrames()
    extract(frames, lengths={2: 200}, batch_size=100)
    reads = [set(numbers) for _, _, numbers in frames.reads]
    assert sum(map(len, reads)) == 200 == len(set().union(*reads)) and max(map(len, reads)) == 64


def test_features_use_eval_mode_without_gradients_and_restore_the_mode():
    encoder = FrameValues().train()
    state = torch.get_rng_state()
    features = extract(FakeFrames(), encoder)
    assert encoder.modes == {False} and encoder.training
    assert not features.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert encoder.norm.num_batches_tracked == 0


def test_flow_is_read_as_flow_and_gets_a_third_channel():
    frames = FakeFrames(channels=2)
    features = extract(frames, view="flow", lengths={3: 8})
    assert frames.reads == [(3, "flow", list(range(8)))]
    levels = torch.arange(30, 38) * 2 / 255 - 1
    expected = torch.stack([levels[0], levels[-1], levels.mean()]) * 2 / 3  # third channel 0
    assert torch.allclose(features[0], expected, atol=1e-4)


def test_no_videos_and_broken_weights_are_errors():
    with pytest.raises(ValueError, match="no videos"):
        extract(FakeFrames(), lengths={})
    encoder = FrameValues()
    encoder.norm.running_mean.fill_(torch.nan)
    with pytest.raises(ValueError, match="video_id 7 are not finite"):
        extract(FakeFrames(), encoder)


def test_crops_are_averaged_with_at_most_a_batch_in_memory():
    """Five crops of frames that are brighter on the right; the left ones miss the brightest columns."""
    levels = torch.arange(10, dtype=torch.uint8).view(1, 1, 10, 1).expand(20, 8, 10, 3)
    seen = []

    class Ramp:
        def frames(self, video_id, view, indices):
            return levels[: len(indices)]

    def brightest(clips):
        seen.append(len(clips))
        return clips[:, :1].amax(dim=(2, 3, 4))

    windows = Windows(Ramp(), manifest_of({0: 20}), "rgb", 8, 1, 7, crops="five")
    found = mean_over_windows(brightest, windows, batch_size=12)
    columns = [6, 9, 6, 9, 8]  # the last column of each crop; the centre begins at 1.5, rounded to 2
    expected = (torch.tensor(columns).float().mean() / 255 - 0.485) / 0.229
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    assert len(windows) == 4 and seen == [10, 10]  # two windows of five crops at a time
    middle = Windows(Ramp(), manifest_of({0: 20}), "rgb", 8, 1, 7, middle=True)
    assert middle.windows == [(0, 8)]
