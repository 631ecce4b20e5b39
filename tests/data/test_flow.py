import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from cprlib.data import flow as flow_module
from cprlib.data.container import VideoError
from cprlib.data.flow import (
    dequantise,
    estimate,
    extract_flow,
    flow_info,
    quantise,
    read_flow,
    read_flow_levels,
    write_flow,
)
from cprlib.data.manifest import Manifest
from cprlib.data.video import fingerprint, probe, read_clip, resize, write_video
from cprlib.store.files import locked
from tests.data.made import described, gliding

DATA = Path(os.environ.get("CPR_DATA", "../shared")) / "videos" / "ucf101-12"


def smooth_flow(num_frames: int, height: int, width: int) -> torch.Tensor:
    """(T, 2, H, W) slowly varying displacements, u unlike v, some beyond 20 pixels."""
    t, y, x = np.mgrid[:num_frames, :height, :width].astype(np.float32)
    u = 12 * np.sin(x / 15 + t / 5) + 10 * np.cos(y / 20)
    v = -8 * np.cos(x / 25) * np.sin(y / 18 - t / 7)
    return torch.from_numpy(np.stack([u, v], 1))


def manifest_of(folder: Path, **videos: torch.Tensor) -> Manifest:
    """Write videos to `folder`; returns their manifest."""
    for name, frames in videos.items():
        write_video(folder / f"{name}.mp4", frames)
    return described(*(folder / f"{name}.mp4" for name in videos))


@pytest.mark.parametrize("method", ["tvl1", "dis"])
@pytest.mark.parametrize(("dx", "dy"), [(2, -1), (-1, 2), (0, 0)])
def test_a_known_motion_is_found(method, dx, dy):
    flow = estimate(gliding(4, dx, dy), method)
    assert flow.shape == (3, 2, 64, 80) and flow.dtype == torch.float32
    inner = flow[:, :, 12:-12, 12:-12]  # pixels that wrap around the edge move differently
    assert (inner[:, 0] - dx).abs().median() < 0.15
    assert (inner[:, 1] - dy).abs().median() < 0.15


def test_bad_requests_for_flow():
    with pytest.raises(ValueError, match="'farneback'.*tvl1, dis, raft"):
        estimate(gliding(2, 0, 0), "farneback")
    with pytest.raises(ValueError, match="'cuda'"):
        estimate(gliding(2, 0, 0), "dis", device="cuda")
    for wrong in (gliding(1, 0, 0), gliding(2, 0, 0).float(), gliding(2, 0, 0)[..., :2]):
        with pytest.raises(ValueError, match="expected uint8"):
            estimate(wrong, "dis")


def test_levels_equal_the_papers():
    for value in (-25.0, -20.0, -3.21, 0.0, 0.1, 7.77, 20.0, 31.0):
        level = round((max(-20.0, min(20.0, value)) + 20) / 40 * 255)
        assert quantise(np.array(value), 20.0) == level
        assert dequantise(np.array(level), 20.0) == pytest.approx(level / 255 * 40 - 20, abs=1e-5)
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(quantise(dequantise(every, 8.0), 8.0), every)
    values = np.random.default_rng(0).uniform(-8, 8, 10000)
    assert np.abs(dequantise(quantise(values, 8.0), 8.0) - values).max() <= 8 / 255 + 1e-5


@pytest.mark.parametrize(("height", "width"), [(64, 80), (33, 47), (2, 3)])
def test_the_round_trip_error_is_half_a_level_plus_a_little(tmp_path, height, width):
    flow = smooth_flow(20, height, width)
    write_flow(tmp_path / "f.mp4", flow, "tvl1", bound=20.0, source="abc")
    assert flow_info(tmp_path / "f.mp4") == ("tvl1", 20.0, width, height, 20, "abc", 0)
    levels = read_flow_levels(tmp_path / "f.mp4", range(20))
    assert levels.shape == (20, height, width, 2) and levels.dtype == torch.uint8
    stored = quantise(flow.permute(0, 2, 3, 1), 20.0)
    loss = np.abs(levels.numpy().astype(int) - stored)  # of the codec, in levels
    assert loss.mean() < 1 and np.quantile(loss, 0.99) <= 3
    back = read_flow(tmp_path / "f.mp4", range(20))
    assert back.shape == flow.shape and back.dtype == torch.float32
    error = (back - flow.clamp(-20, 20)).abs()
    codec = torch.from_numpy(loss).permute(0, 3, 1, 2) * 40 / 255
    assert (error <= 20 / 255 + codec + 1e-4).all()


def test_full_range_survives(tmp_path):
    flow = torch.full((3, 2, 32, 32), 20.0)
    flow[:, 1] = -20.0
    write_flow(tmp_path / "f.mp4", flow, "dis")
    levels = read_flow_levels(tmp_path / "f.mp4", [1])
    assert (levels[..., 0].float() - 255).abs().mean() < 1 and levels[..., 1].float().mean() < 1


def test_any_flow_frames_in_any_order(tmp_path):
    write_flow(tmp_path / "f.mp4", smooth_flow(40, 32, 48), "dis", fps=29.97)
    everything = read_flow_levels(tmp_path / "f.mp4", range(40))
    for indices in ([39], [5, 3, 3, 38, 0], list(range(20, 36)), [0, 39]):
        assert torch.equal(read_flow_levels(tmp_path / "f.mp4", indices), everything[indices])
    # the last of the video's 41 frames has the flow of the one before
    assert torch.equal(read_flow_levels(tmp_path / "f.mp4", [40, 0]), everything[[39, 0]])
    for wrong in ([41], [-1, 3], []):
        with pytest.raises(IndexError, match=r"f.mp4.* valid are 0\.\.40"):
            read_flow_levels(tmp_path / "f.mp4", wrong)


def test_one_flow_frame_is_enough(tmp_path):
    write_flow(tmp_path / "f.mp4", smooth_flow(1, 16, 16), "dis")
    assert read_flow_levels(tmp_path / "f.mp4", [0, 1]).shape == (2, 16, 16, 2)


def test_files_that_hold_no_flow(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.mp4.*01_flow_extraction"):
        read_flow(tmp_path / "gone.mp4", [0])
    write_video(tmp_path / "rgb.mp4", gliding(5, 1, 0))
    (tmp_path / "text.mp4").write_text("no flow")
    for name in ("rgb.mp4", "text.mp4"):
        with pytest.raises(VideoError, match=f"{name}: not a flow file"):
            flow_info(tmp_path / name)
    with pytest.raises(ValueError, match="bound is 0"):
        write_flow(tmp_path / "f.mp4", smooth_flow(2, 16, 16), "dis", bound=0)
    with pytest.raises(ValueError, match="no flow frame"):
        write_flow(tmp_path / "f.mp4", smooth_flow(0, 16, 16), "dis")
    assert not (tmp_path / "f.mp4").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_extraction_fills_the_manifest(tmp_path, workers):
    manifest = manifest_of(tmp_path, a=gliding(12, 1, 0), b=gliding(5, 0, 1))
    done = extract_flow(manifest, tmp_path / "flow", "dis", workers=workers)
    assert (manifest.table.flow_path == "").all()
    for row in done.validate().table.itertuples():
        clip = read_clip(row.path, range(row.num_frames))
        expected = quantise(estimate(clip, "dis").permute(0, 2, 3, 1), 20.0).astype(int)
        levels = read_flow_levels(row.flow_path, range(row.num_frames - 1)).numpy()
        assert np.abs(levels - expected).mean() < 1
    assert len(list((tmp_path / "flow").rglob("[!.]*"))) == 3  # two files and a folder


def test_extraction_is_resumed(tmp_path, monkeypatch):
    manifest = manifest_of(tmp_path, a=gliding(8, 1, 0), b=gliding(5, 0, 1))
    folder, made = tmp_path / "flow", []
    names = {fingerprint(path): Path(path).stem for path in manifest.table.path}
    write = flow_module.write_flow

    def noted(path, *arguments):
        made.append(names[Path(path).stem])
        write(path, *arguments)

    monkeypatch.setattr(flow_module, "write_flow", noted)

    def remade(**changes) -> list[str]:
        made.clear()
        extract_flow(manifest, folder, **{"method": "dis", "workers": 1, **changes})
        return made

    assert remade() == ["a", "b"]
    assert remade() == []
    Path(extract_flow(manifest, folder, "dis", workers=1).table.flow_path[1]).write_bytes(b"cut off")
    assert remade() == ["b"]
    write_video(manifest.table.path[0], gliding(8, -1, 0))  # another video under the same name
    names[fingerprint(manifest.table.path[0])] = "new a"
    assert remade() == ["new a"]
    assert remade(bound=8.0) == ["new a", "b"]
    assert remade(bound=8.0, method="tvl1") == ["new a", "b"]
    assert remade(bound=8.0, method="tvl1", short_side=32) == ["new a", "b"]
    assert remade(short_side=0) == []  # other settings change nothing else
    flow = extract_flow(manifest, folder, "tvl1", 8.0, 1, short_side=32).table.flow_path[0]
    assert (flow_info(flow).method, flow_info(flow).bound, flow_info(flow).short_side) == ("tvl1", 8.0, 32)


def test_a_failing_video_is_named_after_the_others_finish(tmp_path):
    videos = {name: gliding(6, place, 0) for place, name in enumerate("abc")}
    manifest = manifest_of(tmp_path, **videos)
    Path(manifest.table.path[0]).write_bytes(b"broken")
    write_video(manifest.table.path[1], gliding(7, 1, 0))
    with pytest.raises(RuntimeError, match=r"2 of 3 videos.*a\.mp4.*b\.mp4.*longer has the 6"):
        extract_flow(manifest, tmp_path / "flow", "dis", workers=1)
    (flow,) = [path for path in (tmp_path / "flow").rglob("*.mp4") if path.stem == fingerprint(manifest.table.path[2])]
    assert flow_info(flow).num_frames == 5
    Path(manifest.table.path[0]).unlink()
    with pytest.raises(FileNotFoundError, match="a.mp4"):
        extract_flow(manifest, tmp_path / "flow", "dis", workers=1)
    with pytest.raises(ValueError, match="'deep'"):
        extract_flow(manifest, tmp_path / "flow", "deep")


def test_every_video_has_its_own_flow_file_whatever_its_name(tmp_path):
    names = ["A/rec1/c01.mp4", "A/rec2/c01.mp4", "A/rec3/c01_2.mp4", "A/C01.mp4", "A/c01.mkv", "a/c01.mp4"]
    names += [f"A/{'x' * 251}.mp4", f"A/{'é' * 125}.mp4", "A/$HOME {b} 'q' \"d\".mp4"]
    paths = [tmp_path / name for name in names]
    for number, path in enumerate(paths):
        write_video(path, gliding(4 + number, 1, 0))
    table = described(*paths).table.assign(class_name="../../esc")
    done = extract_flow(Manifest(table), tmp_path / "flow", "dis", workers=1)
    assert [flow_info(path).num_frames for path in done.table.flow_path] == [3 + n for n in range(len(names))]
    lowered = {path.lower() for path in done.table.flow_path}  # for case-insensitive file systems
    assert len(lowered) == len(names) and all(Path(path).is_relative_to(tmp_path / "flow") for path in lowered)


def test_flow_is_reused_after_a_move_and_by_copies_and_other_data_sets(tmp_path, monkeypatch):
    manifest = manifest_of(tmp_path / "old", a=gliding(6, 1, 0), b=gliding(5, 0, 1), copy=gliding(6, 1, 0))
    done = extract_flow(manifest, tmp_path / "flow", "dis", workers=1).table
    assert done.flow_path[0] == done.flow_path[2] and done.flow_path.nunique() == 2
    (tmp_path / "old").rename(tmp_path / "new")
    moved = Manifest(manifest.table.assign(path=manifest.table.path.str.replace("/old/", "/new/")))
    monkeypatch.setattr(flow_module, "write_flow", None)
    assert extract_flow(moved, tmp_path / "flow", "dis", workers=1).table.flow_path.tolist() == done.flow_path.tolist()
    linked = extract_flow(moved, tmp_path / "other", "dis", workers=1, others=[tmp_path / "flow"]).table.flow_path
    assert [Path(a).samefile(b) for a, b in zip(linked, done.flow_path, strict=True)] == [True] * 3
    assert Path(linked[0]).is_relative_to(tmp_path / "other")
    with pytest.raises(RuntimeError, match="no flow for 2 of 2 videos"):  # another bound is other flow
        extract_flow(moved, tmp_path / "more", "dis", 8.0, workers=1, others=[tmp_path / "flow"])


@pytest.mark.parametrize("method", ["tvl1", "dis"])
def test_a_level_means_the_same_motion_at_any_resolution(tmp_path, method):
    large = gliding(5, 4, -2, 192, 256).numpy()  # one scene in three sizes: 4, 2 and 1 pixels to the right
    sizes = {192: large, 96: resize(large, 96), 48: resize(large, 48)}
    for side, frames in sizes.items():
        write_video(tmp_path / f"{side}.mp4", torch.from_numpy(frames), crf=2)
    manifest = described(*(tmp_path / f"{side}.mp4" for side in sizes))
    done = extract_flow(manifest, tmp_path / "flow", method, 20.0, 1, short_side=96)
    for side, path in zip(sizes, done.table.flow_path, strict=True):
        info, flow = flow_info(path), read_flow(path, range(4))
        assert (info.short_side, info.height) == (96, min(side, 96))  # smaller videos are not enlarged
        inner = flow[:, :, info.height // 4 : -info.height // 4, info.width // 4 : -info.width // 4]
        assert (inner[:, 0].median() - 2).abs() < 0.3 and (inner[:, 1].median() + 1).abs() < 0.3
    as_it_is = extract_flow(manifest, tmp_path / "flow", method, 20.0, 1).table.flow_path
    medians = [float(read_flow(path, [0])[:, 0].median()) for path in as_it_is]
    assert medians == pytest.approx([4, 2, 1], abs=0.35)
    assert len({*as_it_is, *done.table.flow_path}) == 6  # neither overwrites the other
    with pytest.raises(ValueError, match="short_side is -1"):
        extract_flow(manifest, tmp_path / "flow", method, short_side=-1)


def test_estimating_at_a_working_size():
    frames = gliding(3, 4, -2, 192, 256)
    small = torch.from_numpy(resize(frames.numpy(), 96))
    assert torch.equal(estimate(frames, "dis", short_side=96), estimate(small, "dis"))
    assert torch.equal(estimate(small, "dis", short_side=192), 2 * estimate(small, "dis"))
    assert torch.equal(estimate(small, "dis", short_side=96), estimate(small, "dis"))


@pytest.mark.skipif(not DATA.is_dir(), reason="no real videos: CPR_DATA is not set")
def test_stored_flow_is_about_as_large_as_its_video(tmp_path):
    path = sorted(DATA.glob("*/*.mp4"))[57]
    flow = estimate(read_clip(path, range(probe(path).num_frames)), "dis")
    write_flow(tmp_path / "f.mp4", flow, "dis")
    assert (tmp_path / "f.mp4").stat().st_size < 2 * path.stat().st_size
    back = read_flow(tmp_path / "f.mp4", range(len(flow)))
    assert (back - flow.clamp(-20, 20)).abs().mean() < 20 / 255


def test_a_second_start_waits_and_finds_everything_done(tmp_path, capsys):
    videos = manifest_of(tmp_path, a=gliding(4, 1, 0), b=gliding(4, 0, 1))
    place = tmp_path / "flow"
    with ThreadPoolExecutor() as pool:
        with locked(place / "dis-8.0-0-0of1"):
            (place / "dis-8.0-0").mkdir()
            killed = place / "dis-8.0-0/.tmp-a.mp4"
            killed.touch()
            os.utime(killed, (0, 0))
            second = pool.submit(extract_flow, videos, place, "dis", 8.0, 1)
            while "dis-8.0-0-0of1: waiting for process" not in capsys.readouterr().out:
                time.sleep(0.01)
            assert not second.done() and killed.exists()
        second.result()
    assert len(list((place / "dis-8.0-0").iterdir())) == 2
