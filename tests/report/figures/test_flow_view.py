"""Arrows point where pixels move, clips loop, videos are found by parts of their names."""

import base64
import io
import re

import cv2
import lmdb
import msgpack
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cprlib.data.flow import estimate, read_flow, write_flow
from cprlib.data.manifest import Manifest
from cprlib.data.video import probe, read_clip, write_video
from cprlib.report.figures.flow_view import find_video, flow_arrows, look, looping_bytes, looping_clip
from cprlib.report.figures.style import flow_colour


def moving(num_frames, dx=2, height=32, width=48):
    """A smooth pattern that moves dx to the right per frame."""
    y, x = np.mgrid[:height, :width]
    frames = [127 + 60 * np.sin((x - dx * t) / 4) + 60 * np.sin(y / 5) for t in range(num_frames)]
    return torch.from_numpy(np.stack(frames).astype(np.uint8))[..., None].repeat(1, 1, 1, 3)


def manifest_of(folder, *names, num_frames=12):
    rows = []
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        write_video(path, moving(num_frames))
        about = {"path": str(path), "label": 0, "class_name": "c", "source_id": name, "split": "train"}
        rows.append(about | {"video_id": number, "flow_path": ""} | probe(path)._asdict())
    return Manifest(pd.DataFrame(rows)).validate()


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_wheel_has_the_colours_of_the_directions():
    figure = flow_arrows(np.zeros((20, 30, 3), np.uint8), np.ones((2, 20, 30)))
    axes = figure.axes[2]
    wheel = axes.images[0].get_array()
    middle, last = wheel.shape[0] // 2, wheel.shape[0] - 1
    directions = np.zeros((2, 1, 4))
    directions[:, 0] = [[1, -1, 0, 0], [0, 0, 1, -1]]  # right, left, down, up
    rim = [wheel[middle, last], wheel[middle, 0], wheel[last, middle], wheel[0, middle]]
    assert np.array_equal(np.stack(rim)[:, :3], flow_colour(directions)[0])
    assert (wheel[middle, middle, :3] >= 254).all() and wheel[0, 0, 3] == 0 and wheel[middle, middle, 3] == 255
    assert {"right\nu > 0", "left\nu < 0", "down\nv > 0", "up\nv < 0"} <= set(texts(figure))
    assert axes.yaxis_inverted()


def test_arrows_start_at_their_pixel_and_show_its_flow():
    flow = np.random.default_rng(0).uniform(3, 4, (2, 100, 140)).astype(np.float32)  # 14 arrows in a row
    flow[0] *= -1  # to the left and down
    frame = np.zeros((100, 140, 3), np.uint8)
    figure = flow_arrows(frame, flow)
    left, middle, right = figure.axes
    arrows = left.collections[0]
    assert arrows.XY.astype(int).tolist() == [[x, y] for y in range(5, 100, 10) for x in range(5, 140, 10)]
    times = float(re.search(r"arrows ([\d.]+) ×", left.get_title())[1])
    at = flow[:, 5::10, 5::10].reshape(2, -1) * times
    assert np.allclose([arrows.U, arrows.V], at) and arrows.scale == 1 and arrows.angles == "xy"
    assert 10 < np.hypot(*at).max() < 20 and left.yaxis_inverted()
    assert np.array_equal(left.images[0].get_array(), frame)
    assert np.array_equal(middle.images[0].get_array(), flow_colour(flow))
    assert f"rim: {np.hypot(*flow).max():.1f} pixels\nper frame" in texts(figure)


def test_without_motion_there_are_no_arrows():
    figure = flow_arrows(np.zeros((20, 30, 3), np.uint8), torch.zeros(2, 20, 30))
    assert len(figure.axes[0].collections[0].U) == 0


def test_a_clip_loops_with_its_views_side_by_side():
    rgb = np.stack([np.full((30, 40, 3), level, np.uint8) for level in (0, 80, 160, 240)])
    flow = np.zeros((3, 2, 30, 40))
    flow[0, 0], flow[1, 0], flow[2, 1] = 5, -5, 5
    data = looping_bytes({"rgb": rgb, "flow": flow}, fps=10, height=60)
    picture = Image.open(io.BytesIO(data))
    assert picture.size == (168, 60) and picture.n_frames == 3  # as many as both views have
    for index in range(3):
        picture.seek(index)
        shown = np.asarray(picture.convert("RGB")).astype(int)
        assert abs(shown[30, 40] - rgb[index, 0, 0]).max() < 12
        assert abs(shown[30, 124] - flow_colour(flow)[index, 15, 20].astype(int)).max() < 40
        assert (shown[30, 84] > 150).all()  # a white line between
    assert picture.info["loop"] == 0 and picture.info["duration"] == 100
    one = Image.open(io.BytesIO(looping_bytes({"rgb": rgb}, still=True)))
    assert getattr(one, "n_frames", 1) == 1 and abs(int(np.asarray(one.convert("RGB"))[64, 64, 0]) - 160) < 12


def test_a_few_wrong_pixels_do_not_make_a_clip_pale():
    flow = np.zeros((2, 2, 30, 40))
    flow[:, 0, :, :20] = 1
    usual = looping_bytes({"flow": flow})
    flow[0, 0, 0, 0] = 100
    assert looping_bytes({"flow": flow}) == usual
    flow[:] = 0
    flow[0, 1, :3, :3] = 3  # almost nothing moves
    assert np.asarray(Image.open(io.BytesIO(looping_bytes({"flow": flow}, height=30))).convert("RGB")).min() < 200


def test_the_html_describes_the_clip_and_can_be_still():
    clip = {"rgb": moving(6), "flow": np.ones((5, 2, 32, 48))}
    page = looping_clip(clip, name='<b>"jump"')
    assert "<b>" not in page and page.count("http") == 0
    assert 'alt="&lt;b&gt;&quot;jump&quot;, moving in a loop: RGB beside Flow"' in page
    addresses = re.findall(r'(srcset|src)="data:image/webp;base64,([^"]+)"', page)
    frames = {kind: Image.open(io.BytesIO(base64.b64decode(data))) for kind, data in addresses}
    assert frames["src"].n_frames == 5 and getattr(frames["srcset"], "n_frames", 1) == 1
    assert 'media="(prefers-reduced-motion: reduce)" srcset' in page


def test_a_video_is_found_by_number_path_or_part_of_its_name(tmp_path):
    manifest = manifest_of(tmp_path, "jump_1.mp4", "jump_10.mp4", "walk.mp4", "3.mp4", num_frames=3)
    path = manifest.table.path[2]
    for asked, number in (("", 0), (1, 1), ("1", 1), ("jump_1", 0), ("_10", 1), ("WALK", 2), ("walk.mp4", 2)):
        assert find_video(manifest, asked).video_id == number
    assert find_video(manifest, path).video_id == 2
    assert find_video(manifest, "3").path.endswith("3.mp4") and find_video(manifest, 0).video_id == 0
    with pytest.raises(ValueError, match=r"'jump' is in the names of 2 of.*0 \(.*/jump_1.mp4\), 1 \(.*/jump_10.mp4\)"):
        find_video(manifest, "jump")
    with pytest.raises(ValueError, match=r"'wlk' is in the names of 0 of the 4 videos.*2 \(.*/walk.mp4\)"):
        find_video(manifest, "wlk")
    with pytest.raises(ValueError, match="'99'"):
        find_video(manifest, 99)
    manifest = manifest_of(tmp_path, "jump/1.mp4", "jump/2.mp4", "run/1.mp4", "run/2.mp4", num_frames=3)
    assert [find_video(manifest, number).video_id for number in range(4)] == [0, 1, 2, 3]
    assert find_video(manifest, "2").video_id == 2  # two files have this name: the number decides
    with pytest.raises(ValueError, match=r"0 \(jump/1.mp4\), 1 \(jump/2.mp4\)"):
        find_video(manifest, "mp4")


def test_flow_is_estimated_until_it_is_stored(tmp_path):
    manifest = manifest_of(tmp_path, "a.mp4")
    frames = read_clip(manifest.table.path[0], range(12), reader=manifest.table.reader[0])
    seen = look(manifest, "a", count=4)
    assert torch.equal(seen.frames, frames[3:7])
    assert torch.equal(seen.flow, estimate(frames[3:8], "dis"))
    assert seen.flow[:, 0].mean() > 1 and seen.row.video_id == 0
    write_flow(tmp_path / "flow.mp4", estimate(frames, "dis"), "dis", 8.0)
    stored = Manifest(manifest.table.assign(flow_path=str(tmp_path / "flow.mp4")))
    seen = look(stored)
    assert len(seen.frames) == len(seen.flow) == 11  # the last frame has no flow
    assert torch.allclose(seen.flow, read_flow(tmp_path / "flow.mp4", range(11)), atol=1e-5)
    half = look(stored, short_side=16)
    assert half.frames.shape == (11, 16, 24, 3) and half.flow.shape == (11, 2, 16, 24)
    assert float(half.flow[:, 0].mean()) == pytest.approx(float(seen.flow[:, 0].mean()) / 2, rel=0.05)
    with pytest.raises(ValueError, match="'deep'.*tvl1, dis"):
        look(manifest, flow_method="deep")


def write_lmdb(folder, frames):
    """A video c/v as CoCLR wrote it: JPEGs by OpenCV, which reverses the channels."""
    jpegs = [cv2.imencode(".png", np.ascontiguousarray(frame[..., ::-1]))[1].tobytes() for frame in frames]
    with lmdb.open(str(folder), map_size=2**20) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"%09d" % 0, msgpack.packb(jpegs))
        transaction.put(b"__order__", msgpack.packb(["c/v"]))
    return str(folder / "c" / "v")


def test_the_flow_of_an_lmdb_is_in_pixels_too(tmp_path):
    frames, levels = moving(6).numpy(), np.full((5, 32, 48, 3), 128, np.uint8)
    levels[..., 2] = 140  # blue of the file, the first that OpenCV reads: u
    about = {"label": 0, "class_name": "c", "source_id": "s", "split": "train", "fps": 25.0, "reader": "lmdb"}
    sizes = {"video_id": 0, "num_frames": 6, "width": 48, "height": 32}
    paths = {"path": write_lmdb(tmp_path / "rgb", frames), "flow_path": write_lmdb(tmp_path / "flow", levels)}
    seen = look(Manifest(pd.DataFrame([about | sizes | paths])), "v")
    assert np.array_equal(seen.frames, frames[:5])
    assert np.allclose(seen.flow[:, 0], 140 * 40 / 255 - 20, atol=1e-4)
    assert np.allclose(seen.flow[:, 1], 128 * 40 / 255 - 20, atol=1e-4)


def test_the_fastest_frame_is_shown(tmp_path):
    seen = look(manifest_of(tmp_path, "a.mp4"))
    flow = torch.zeros_like(seen.flow)
    flow[3], flow[7, 1] = 1, -2
    assert seen._replace(flow=flow).fastest == 7
