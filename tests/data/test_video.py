import ctypes
import gc
import os
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from cprlib.data import probing, seeking, video
from cprlib.data.container import decode
from cprlib.data.video import VideoError, VideoInfo, probe, read_clip, resize, write_video
from tests.data.made import encoded, moving

DATA = Path(os.environ.get("CPR_DATA", "../shared")) / "videos"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no real videos: CPR_DATA is not set")


def truth(path: Path) -> np.ndarray:
    return np.stack(list(decode(path)))


@pytest.mark.parametrize("reader", ["seek", "decord", "pyav"])
@pytest.mark.parametrize("fps", [25.0, 29.97])
def test_any_frames_in_any_order(tmp_path, reader, fps):
    frames = moving()
    write_video(tmp_path / "v.mp4", frames, fps=fps)
    everything = truth(tmp_path / "v.mp4")
    assert np.abs(everything.astype(int) - frames.numpy()).mean() < 5  # chroma is subsampled
    for indices in ([0], [59], [5, 3, 3, 59, 0, 30], list(range(20, 36)), list(range(60))):
        clip = read_clip(tmp_path / "v.mp4", indices, reader=reader)
        assert clip.dtype == torch.uint8
        np.testing.assert_array_equal(clip.numpy(), everything[indices])


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.avi"])
def test_pyav_reads_real_files_correctly(tmp_path, name):
    path = encoded(tmp_path / name, moving(), bf="3", g="25")
    np.testing.assert_array_equal(read_clip(path, [40, 7, 23], reader="pyav").numpy(), truth(path)[[40, 7, 23]])


@pytest.mark.parametrize("reader", ["seek", "decord", "pyav"])
@pytest.mark.parametrize("indices", [[60], [-1, 3], [2, 1000]])
def test_a_frame_outside_the_video_is_named(tmp_path, reader, indices):
    write_video(tmp_path / "v.mp4", moving())
    wrong = next(i for i in indices if not 0 <= i < 60)
    with pytest.raises(IndexError, match=f"v.mp4: frame {wrong} requested, but it has 60 frames"):
        read_clip(tmp_path / "v.mp4", indices, reader=reader)


def test_bad_requests(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.mp4"):
        read_clip(tmp_path / "gone.mp4", [0])
    with pytest.raises(FileNotFoundError, match="gone.mp4"):
        probe(tmp_path / "gone.mp4")
    with pytest.raises(ValueError, match="'opencv'"):
        read_clip(tmp_path / "gone.mp4", [0], reader="opencv")
    with pytest.raises(ValueError, match="no frame"):
        read_clip(tmp_path / "gone.mp4", [])
    (tmp_path / "text.mp4").write_text("no video" * 100)
    for reader in ("decord", "pyav"):
        with pytest.raises(VideoError, match="text.mp4"):
            read_clip(tmp_path / "text.mp4", [0], reader=reader)
    for wrong in (torch.zeros(2, 4, 4), torch.zeros(2, 4, 4, 3), torch.zeros(0, 4, 4, 3).byte()):
        with pytest.raises(ValueError, match="expected uint8"):
            write_video(tmp_path / "w.mp4", wrong)
    assert not (tmp_path / "w.mp4").exists()


def test_the_same_frames_make_the_same_file(tmp_path):
    contents = set()
    for _ in range(30):  # an encoder that depends on timing or stale memory differs now and then
        write_video(tmp_path / "v.mp4", moving(20), fps=29.97)
        contents.add((tmp_path / "v.mp4").read_bytes())
    assert len(contents) == 1


def test_odd_sizes_are_padded_with_edge_pixels(tmp_path):
    write_video(tmp_path / "v.mp4", moving(10, 31, 45), crf=0)
    clip = read_clip(tmp_path / "v.mp4", [4]).int()
    assert clip.shape == (1, 32, 46, 3)
    assert (clip[:, -1] - clip[:, -2]).abs().float().mean() < 3
    assert (clip[:, :, -1] - clip[:, :, -2]).abs().float().mean() < 3


def test_resizing_averages_areas(tmp_path):
    frames = moving(3, 48, 64).numpy()
    halved = frames.reshape(3, 24, 2, 32, 2, 3).mean((2, 4))
    assert np.abs(resize(frames, 24) - halved).max() <= 1
    assert resize(frames, 48) is frames and resize(frames, None) is frames
    assert resize(frames.transpose(0, 2, 1, 3), 20).shape == (3, 27, 20, 3)
    assert resize(frames[..., :2], 96).shape == (3, 96, 128, 2)
    write_video(tmp_path / "v.mp4", moving())
    assert read_clip(tmp_path / "v.mp4", [0, 1], short_side=24).shape == (2, 24, 32, 3)


def test_probe_counts_frames(tmp_path):
    write_video(tmp_path / "v.mp4", moving(), fps=12.5)
    assert probe(tmp_path / "v.mp4") == VideoInfo(60, 64, 48, 12.5, "seek")


def test_unusable_files_get_a_reason(tmp_path):
    def reason(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VideoError) as caught:
            probe(tmp_path / name)
        assert name in str(caught.value)
        return caught.value.reason

    write_video(tmp_path / "good.mp4", moving())
    good = (tmp_path / "good.mp4").read_bytes()
    assert reason("empty.mp4", b"") == "empty"
    assert reason("tail.mp4", good[:-200]) == "truncated"  # the index is at the end
    assert reason("half.mp4", good[: len(good) // 2]) == "truncated"
    assert reason("text.mp4", b"hello" * 1000) == "not a video"
    avi = encoded(tmp_path / "good.avi", moving(), g="25").read_bytes()
    assert reason("half.avi", avi[: len(avi) // 2]).startswith("truncated (")
    mkv = encoded(tmp_path / "good.mkv", moving(), g="25").read_bytes()
    assert reason("half.mkv", mkv[: len(mkv) // 2]).startswith("truncated (")
    write_video(tmp_path / "one.mp4", moving(1))
    assert reason("one.mp4", (tmp_path / "one.mp4").read_bytes()) == "too short (1 frames)"
    assert probe(tmp_path / "one.mp4", min_frames=1).num_frames == 1


def test_a_file_with_only_sound_is_refused(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="no video stream"):
        probe(tmp_path / "sound.mp4")


def test_h264_in_avi_is_read_from_its_start(tmp_path):
    path = encoded(tmp_path / "v.avi", moving(100), bf="3", g="25")
    everything, info = truth(path), probe(path)
    seeking = [read_clip(path, [i], reader="seek")[0].numpy() for i in range(100)]
    wrong = [i for i in range(100) if (seeking[i] != everything[i]).any()]
    assert wrong and info.reader == "pyav"  # AVI stores no presentation times
    for reader in ("auto", info.reader):
        np.testing.assert_array_equal(read_clip(path, wrong, reader=reader), everything[wrong])


def test_false_key_frames_are_detected(tmp_path, monkeypatch):
    write_video(tmp_path / "v.mp4", moving())
    everything, rightly = truth(tmp_path / "v.mp4"), probing.pictures_at

    def shifted(path, indices, index):
        return rightly(path, [max(0, number - 1) for number in indices], index)

    monkeypatch.setattr(probing, "pictures_at", shifted)
    assert probe(tmp_path / "v.mp4").reader == "pyav"
    clip = read_clip(tmp_path / "v.mp4", [50, 2], reader="pyav")
    np.testing.assert_array_equal(clip, everything[[50, 2]])


def test_a_file_is_decoded_from_its_start_if_seeking_fails(tmp_path, monkeypatch):
    write_video(tmp_path / "v.mp4", moving())
    everything, asked = truth(tmp_path / "v.mp4"), []

    def lost(*arguments):
        asked.append(arguments)
        raise seeking.Lost
        yield

    monkeypatch.setattr(seeking, "_from_key", lost)
    clip = read_clip(tmp_path / "v.mp4", [3, 40, 50], reader="seek")
    assert asked
    np.testing.assert_array_equal(clip, everything[[3, 40, 50]])


def test_pyav_reads_without_decord(tmp_path, monkeypatch):
    write_video(tmp_path / "v.mp4", moving())
    monkeypatch.setattr(video, "_decord", lambda: None)
    clip = read_clip(tmp_path / "v.mp4", [50, 2], reader="decord")
    np.testing.assert_array_equal(clip, truth(tmp_path / "v.mp4")[[50, 2]])


def test_no_frame_stays_in_memory(tmp_path):
    write_video(tmp_path / "v.mp4", moving())
    gc.collect()
    gc.disable()  # reference cycles would wait for the collector
    try:
        read_clip(tmp_path / "v.mp4", range(60))
        assert sum(type(thing) is av.VideoFrame for thing in gc.get_objects()) <= 1
    finally:
        gc.enable()


def test_reading_leaves_nothing_behind(tmp_path):
    class Info(ctypes.Structure):
        _fields_ = [(name, ctypes.c_size_t) for name in "a b c d e f g used h i".split()]

    if not hasattr(libc := ctypes.CDLL(None), "mallinfo2"):
        pytest.skip("this C library does not report allocated memory")
    libc.mallinfo2.restype = Info

    def used(times: int) -> int:
        for _ in range(times):
            read_clip(tmp_path / "v.mp4", range(3, 57))
        gc.collect()
        return libc.mallinfo2().used

    write_video(tmp_path / "v.mp4", moving())  # five key frames, so five places to read from
    before = used(20)
    assert used(200) - before < 200 * 100


@needs_data
@pytest.mark.parametrize("pattern", ["ucf101-12/PullUps/*g01*.mp4", "ucf101-original/*/*.avi"])
def test_real_videos(pattern):
    for path in sorted(DATA.glob(pattern))[:2]:
        info, everything = probe(path), truth(path)
        assert (info.num_frames, info.height, info.width) == everything.shape[:3]
        indices = np.random.default_rng(0).permutation(info.num_frames)[:16]
        clip = read_clip(path, indices, reader=info.reader)
        np.testing.assert_array_equal(clip, everything[indices])
