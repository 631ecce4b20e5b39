"""The variety of real videos: any frame rate, any orientation, ten bits, long ones, copied tags, cut ends."""

import os
import shutil
import struct
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from cprlib.data import seeking
from cprlib.data.container import VideoError, decode
from cprlib.data.flow import extract_flow, flow_info, read_flow_levels, write_flow
from cprlib.data.frame_cache import build_cache
from cprlib.data.frames import open_frames
from cprlib.data.video import fingerprint, probe, read_clip, write_video
from tests.data.made import described, encoded, moving, turned

CASES = Path(os.environ.get("CPR_DATA", "../shared")).resolve() / "cases"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="no made files: CPR_DATA is not set")
DROPPED = [40 * t for t in range(25)] + [1000 + 160 * t for t in range(25)]  # 25 per second, then 6 per second


def truth(path: Path) -> np.ndarray:
    return np.stack(list(decode(path)))


def assert_read_right(path: Path, count: int) -> None:
    """Every reader finds all frames, each equal to that of a sequential decode."""
    info, everything = probe(path), truth(path)
    assert info.num_frames == len(everything) == count and (info.height, info.width) == everything.shape[1:3]
    indices = np.random.default_rng(0).permutation(count)[:12].tolist() + [max(0, count - 9), count - 1, 0]
    for reader in ("auto", "pyav", info.reader):
        for part in (indices, indices[:1], indices[-3:-2]):
            np.testing.assert_array_equal(read_clip(path, part, reader=reader), everything[part])


CODECS = {"webm": "libvpx", "avi": "mpeg4", "mpg": "mpeg2video"}


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "avi", "flv", "ts", "mts"])
def test_dropped_frames_are_not_a_missing_end(tmp_path, suffix):
    path = tmp_path / f"v.{suffix}"
    name = path if suffix != "mts" else tmp_path / "v.ts"
    encoded(name, moving(50), CODECS.get(suffix, "libx264"), DROPPED, g="12").rename(path)
    assert_read_right(path, 50)
    assert probe(path).fps == pytest.approx(49 / 4.84, rel=0.02)  # the actual rate, not the header's


@pytest.mark.parametrize("suffix", ["mpg", "wmv", "3gp"])
def test_other_containers(tmp_path, suffix):
    codec = {"wmv": "wmv2", "mpg": "mpeg2video"}.get(suffix, "libx264")
    assert_read_right(encoded(tmp_path / f"v.{suffix}", moving(50), codec, g="12"), 50)


@needs_cases
@pytest.mark.parametrize("path", sorted(CASES.glob("variable_rate/*")), ids=lambda path: path.name)
def test_made_cases_of_variable_rate(path):
    counts = {"vfr": 90, "recorder": 60, "frag": 60, "time_lapse": 20, "reencoded_with_our_comment": 69}
    assert_read_right(path, counts[path.stem])


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_one_frame_per_hour_has_flow(tmp_path, suffix):
    path = encoded(tmp_path / f"v.{suffix}", moving(8), stamps=[3_600_000 * t for t in range(8)])
    assert_read_right(path, 8)
    manifest = described(path)
    assert manifest.table.fps[0] == pytest.approx(1 / 3600, rel=0.01)
    flow = extract_flow(manifest, tmp_path / "flow", "dis", workers=1).table.flow_path[0]
    assert read_flow_levels(flow, range(7)).shape == (7, 48, 64, 2)


@pytest.mark.parametrize("fps", [1e-9, 1 / 36000, 0.3, 1, 23.976, 240, 1e9])
def test_flow_of_any_frame_rate_is_written(tmp_path, fps):
    write_flow(tmp_path / "f.mp4", torch.rand(30, 2, 16, 16), "dis", fps=fps)
    assert flow_info(tmp_path / "f.mp4").num_frames == 30
    assert read_flow_levels(tmp_path / "f.mp4", [0, 29, 17]).shape == (3, 16, 16, 2)


@pytest.mark.parametrize("options", [{"movflags": "frag_keyframe+empty_moov"}, {"movflags": "faststart"}])
def test_fragmented_and_faststart_files_are_complete(tmp_path, options):
    with av.open(str(tmp_path / "v.mp4"), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "12"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for frame in moving(60).numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    assert_read_right(tmp_path / "v.mp4", 60)
    content = (tmp_path / "v.mp4").read_bytes()
    (tmp_path / "v.mp4").write_bytes(content[: int(0.97 * len(content))])  # less than a twentieth of it is missing
    with pytest.raises(VideoError, match=r"truncated \(\d\d frames readable\)"):
        probe(tmp_path / "v.mp4")


@pytest.mark.parametrize("suffix", ["avi", "mkv", "flv", "wmv"])
@pytest.mark.parametrize("stamps", [None, DROPPED])
def test_a_cut_file_is_detected_at_any_rate(tmp_path, suffix, stamps):
    codec = {"avi": "mpeg4", "wmv": "wmv2"}.get(suffix, "libx264")
    path = encoded(tmp_path / f"v.{suffix}", moving(50), codec, None if suffix == "wmv" else stamps, g="12")
    assert_read_right(path, 50)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // (8 if suffix == "avi" and stamps else 2)])
    with pytest.raises(VideoError, match="truncated"):
        probe(path)


@pytest.mark.parametrize("bframes", ["0", "3"])
def test_an_edit_list_that_cuts_both_ends(tmp_path, bframes):
    path = encoded(tmp_path / "v.mp4", moving(100), bf=bframes, g="25")
    content = bytearray(path.read_bytes())
    place = content.index(b"elst") + 12  # after version and number of edits: length in ms, and media start time
    length, start = struct.unpack(">Ii", content[place : place + 8])
    assert length == 4000
    content[place : place + 8] = struct.pack(">Ii", 1000, start + 12800)  # from second 1 to second 2, of four
    path.write_bytes(content)
    assert 24 <= probe(path).num_frames <= 30
    assert_read_right(path, probe(path).num_frames)


def test_a_copied_comment_tag_does_not_pass_for_a_file_of_ours(tmp_path):
    path = encoded(tmp_path / "v.mp4", moving(50), stamps=DROPPED, comment='{"cprlib": "rgb"}', bf="3", g="50")
    assert_read_right(path, 50)


MATRICES = {
    "plain": (1, 0, 0, 1), "rot90": (0, 1, -1, 0), "rot180": (-1, 0, 0, -1), "rot270": (0, -1, 1, 0),
    "hflip": (-1, 0, 0, 1), "vflip": (1, 0, 0, -1), "transpose": (0, 1, 1, 0), "transverse": (0, -1, -1, 0),
}  # fmt: skip


def shown(frame: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Slow oracle: each stored pixel (x, y) at (a x + c y, b x + d y), shifted so that the picture begins at 0."""
    a, b, c, d = matrix
    places = {(a * x + c * y, b * x + d * y): frame[y, x] for y in range(frame.shape[0]) for x in range(frame.shape[1])}
    columns, rows = sorted({x for x, _ in places}), sorted({y for _, y in places})
    return np.array([[places[x, y] for x in columns] for y in rows])


@pytest.mark.parametrize("name", MATRICES)
def test_every_orientation_is_read_upright_by_every_reader(tmp_path, name):
    path = tmp_path / "v.mp4"
    write_video(path, moving(12))
    stored, matrix = truth(path), MATRICES[name]
    turned(path, matrix)
    expected = np.stack([shown(frame, matrix) for frame in stored])
    np.testing.assert_array_equal(truth(path), expected)
    for reader in ("auto", "seek", "pyav", "decord"):
        np.testing.assert_array_equal(read_clip(path, [9, 2], reader=reader), expected[[9, 2]])
    manifest = described(path)
    assert (manifest.table.height[0], manifest.table.width[0]) == expected.shape[1:3]
    manifest = extract_flow(manifest, tmp_path / "flow", "dis", workers=1)
    assert read_flow_levels(manifest.table.flow_path[0], [0]).shape[1:3] == expected.shape[1:3]


@needs_cases
@pytest.mark.parametrize("path", sorted(CASES.glob("orientation/*.mp4")), ids=lambda path: path.stem)
def test_made_cases_of_orientation(path):
    corner = dict(plain="TL", rot90="TR", rot180="BR", rot270="BL", hflip="TR", vflip="BL", transpose="TL")[path.stem]
    sides = (160, 120) if path.stem in ("rot90", "rot270", "transpose") else (120, 160)
    info = probe(path)
    assert (info.height, info.width) == sides
    for reader in ("auto", "pyav", "decord", info.reader):
        frame = read_clip(path, [5], reader=reader)[0].float()
        red = frame[..., 0] - frame[..., 1:].amax(-1)
        quarter = {"T": slice(0, 20), "B": slice(-20, None), "L": slice(0, 20), "R": slice(-20, None)}
        found = {y + x: float(red[quarter[y], quarter[x]].mean()) for y in "TB" for x in "LR"}
        assert max(found, key=found.get) == corner


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv444p", "yuv422p"])
def test_all_readers_see_the_same_pixels(tmp_path, pix_fmt):
    path = encoded(tmp_path / "v.mp4", moving(30), pix_fmt=pix_fmt, g="12")
    everything, manifest = truth(path), described(path)
    for reader in ("auto", "pyav", "decord", manifest.table.reader[0]):
        np.testing.assert_array_equal(read_clip(path, [20, 3], reader=reader), everything[[20, 3]])
    build_cache(manifest, tmp_path / "cache", ["rgb"], 48, workers=1)
    cached = open_frames(manifest, ["rgb"], 48, tmp_path / "cache").frames(0, "rgb", range(30))
    np.testing.assert_array_equal(cached, open_frames(manifest, ["rgb"], 48).frames(0, "rgb", range(30)))


def test_memory_does_not_grow_with_the_length_of_a_video(tmp_path):
    encoded(tmp_path / "v.mp4", moving(1, 32, 32).expand(8_000, -1, -1, -1), "mpeg4", g="250")
    tracemalloc.start()
    assert probe(tmp_path / "v.mp4").num_frames == 8_000
    read_clip(tmp_path / "v.mp4", [7_999], reader="pyav")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000 * 100  # marks of about 24 x 24 pixels would be 8,000 x 3,072 bytes


def test_only_regular_files_have_a_fingerprint(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")  # reading it would block forever
    for path in (tmp_path / "pipe.mp4", tmp_path, tmp_path / "nothing.mp4"):
        with pytest.raises(FileNotFoundError, match=f"no file at {path}; correct the path"):
            fingerprint(path)


def test_a_change_in_the_middle_changes_the_fingerprint(tmp_path):
    content = np.random.default_rng(0).integers(0, 256, 2**20, dtype=np.uint8).tobytes()
    path, marks = tmp_path / "v.mp4", set()
    for size, places in ((2**20, (0, 70_000, 2**19, 2**20 - 1)), (3 * 2**20, (0, 3 * 2**19 + 2**17, 3 * 2**20 - 1))):
        whole = (content * 3)[:size]
        path.write_bytes(whole)
        marks.add(fingerprint(path))
        for place in places:
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            marks.add(fingerprint(path))
    assert len(marks) == 9
    path.write_bytes(content * 30)
    shutil.copy(path, tmp_path / "copy.mp4")
    assert fingerprint(tmp_path / "copy.mp4") == fingerprint(path)


def test_a_damaged_middle_of_realistic_size_is_noticed(tmp_path):
    """A block of zeros, as a wrongly resumed download leaves it."""
    content = np.random.default_rng(0).integers(1, 256, 40 * 2**20, dtype=np.uint8)
    content.tofile(tmp_path / "v")
    before = fingerprint(tmp_path / "v")
    content[16 * 2**20 : 20 * 2**20] = 0
    content.tofile(tmp_path / "v")
    assert fingerprint(tmp_path / "v") != before


def test_the_frame_index_cache_is_bounded_and_follows_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(seeking, "REMEMBERED", 400)
    monkeypatch.setattr(seeking, "_kept", type(seeking._kept)())
    monkeypatch.setattr(seeking, "_frames", 0)
    for number in range(5):
        write_video(tmp_path / f"{number}.mp4", moving(30))
        assert len(seeking.frame_index(tmp_path / f"{number}.mp4").stamps) == 30
    assert [Path(key[0]).stem for key in seeking._kept] == ["2", "3", "4"] and seeking._frames == 390
    write_video(tmp_path / "4.mp4", moving(31))
    assert len(seeking.frame_index(tmp_path / "4.mp4").stamps) == 31


def test_a_title_in_another_encoding_is_accepted(tmp_path):
    path = encoded(tmp_path / "v.mp4", moving(12), comment="caf__")
    path.write_bytes(path.read_bytes().replace(b"caf__", b"caf\xe9\xe9"))
    assert_read_right(path, 12)
