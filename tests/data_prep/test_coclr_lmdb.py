"""CoCLR's LMDBs: the same batches as from the videos they were made of, and a clear error for every kind of damage."""

import pickle
import sys
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path

import cv2
import lmdb
import msgpack
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from cprlib.data import lmdb_frames
from cprlib.data.container import VideoError
from cprlib.data.flow import estimate, extract_flow, quantise, write_flow
from cprlib.data.frame_cache import build_cache
from cprlib.data.frames import open_frames
from cprlib.data.lmdb_frames import read_lmdb
from cprlib.data.manifest import Manifest
from cprlib.data.sampling import ClipPairs
from cprlib.data.video import write_video
from data_prep import coclr_lmdb, ucf101

VIEWS = ("rgb", "flow")
# The video's class folder, its name in the LMDB, its frames; one is spelt differently in the lists, as in UCF101.
VIDEOS = {
    "Archery/v_Archery_g08_c01": 12,
    "Archery/v_Archery_g08_c02": 9,
    "Archery/v_Archery_g01_c01": 10,
    "HandstandPushups/v_HandstandPushups_g09_c01": 11,
    "HandstandPushups/v_HandstandPushups_g01_c01": 8,
}


def lists(folder: Path) -> Path:
    folder.mkdir()
    (folder / "classInd.txt").write_text("1 Archery\n2 HandstandPushups\n")
    names = [name.replace("v_Handstand", "v_HandStand") + ".avi" for name in VIDEOS]
    (folder / "trainlist01.txt").write_text("".join(f"{name} 1\n" for name in names if "_g01_" not in name))
    (folder / "testlist01.txt").write_text("".join(f"{name}\n" for name in names if "_g01_" in name))
    return folder


def moving(num_frames: int, seed: int) -> np.ndarray:
    """(T, 36, 48, 3) uint8: a smooth texture that moves."""
    noise = np.random.default_rng(seed).uniform(0, 255, (36, 48, 3)).astype(np.float32)
    smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 20, 230, cv2.NORM_MINMAX).astype(np.uint8)
    return np.stack([np.roll(smooth, (t, -2 * t), (0, 1)) for t in range(num_frames)])


def jpegs(frames: np.ndarray) -> list[bytes]:
    """Encoded like the published files: by OpenCV, at best quality, without reordering the channels."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, 100]
    return [cv2.imencode(".jpg", np.ascontiguousarray(frame), quality)[1].tobytes() for frame in frames]


def flow_pictures(levels: np.ndarray) -> np.ndarray:
    """(T-1, H, W, 2) levels of u and v → (T-1, H, W, 3), the third channel constant."""
    return np.concatenate([levels, np.full((*levels.shape[:3], 1), 128, np.uint8)], axis=3)


def write_lmdb(path: Path, records: dict, old: bool = True, subdir: bool = False) -> Path:
    """The published layout: shuffled names; a key is the position of a name; msgpack 0.6 had no bytes type."""

    def pack(value):
        return msgpack.packb(value, use_bin_type=not old)

    names = [list(records)[i] for i in np.random.default_rng(0).permutation(len(records))]
    keys = {name: b"%09d" % place for place, name in enumerate(names)}
    environment = lmdb.open(str(path), subdir=subdir, map_size=2**28, lock=False)
    with environment.begin(write=True) as transaction:
        for name, frames in records.items():
            transaction.put(keys[name], frames if isinstance(frames, bytes) else pack(frames))
        about = {"order": names, "keys": [keys[name] for name in records], "len": len(names)}
        for name, value in about.items():
            transaction.put(f"__{name}__".encode(), pack(value))
    environment.close()
    return path


@pytest.fixture(scope="module")
def clips() -> dict[str, np.ndarray]:
    return {name: moving(count, seed) for seed, (name, count) in enumerate(VIDEOS.items())}


@pytest.fixture(scope="module")
def levels(clips) -> dict[str, np.ndarray]:
    """Name → (T-1, H, W, 2) uint8, ±20 pixels on 256 levels."""
    flows = {name: estimate(torch.from_numpy(clip), "dis").numpy() for name, clip in clips.items()}
    return {name: quantise(flow, 20.0).transpose(0, 2, 3, 1) for name, flow in flows.items()}


@pytest.fixture(scope="module")
def records(clips, levels) -> dict[str, dict[str, list[bytes]]]:
    rgb = {name: jpegs(clip[..., ::-1]) for name, clip in clips.items()}  # OpenCV's order is BGR
    return {"rgb": rgb, "flow": {name: jpegs(flow_pictures(part)) for name, part in levels.items()}}


def write_both(folder: Path, records: dict, **options) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    return {view: write_lmdb(folder / f"{view}.lmdb", records[view], **options) for view in VIEWS}


class Decoded:
    """Slow oracle: decode every JPEG of a video with Pillow, as CoCLR does, then select frames and resize."""

    def __init__(self, manifest: Manifest, records: dict, short_side: int):
        self.names = ["/".join(path.split("/")[-2:]) for path in manifest.table.path]
        self.records, self.short_side = records, short_side

    def frames(self, video_id, view, frame_indices):
        everything = self.records[view][self.names[video_id]]
        pictures = [np.array(Image.open(BytesIO(jpeg)).convert("RGB")) for jpeg in everything]
        chosen = [pictures[min(i, len(pictures) - 1)] for i in frame_indices]
        size = self.short_side * 48 // 36, self.short_side
        small = np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in chosen])
        return torch.from_numpy(small if view == "rgb" else small[..., [2, 1]])  # blue is u, green is v


def pairs(manifest: Manifest, frames) -> ClipPairs:
    part = manifest.split("train")
    return ClipPairs(part.table, part.source_codes, frames, VIEWS, VIEWS, clip_len=6, stride=1, size=16)


def batch(manifest: Manifest, frames) -> dict:
    data = pairs(manifest, frames)
    return torch.utils.data.default_collate([data[(row, 10 * row + k)] for row in range(len(data)) for k in range(4)])


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return torch.equal(a, b)


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("subdir", [True, False])
def test_batches_equal_those_of_the_original_jpegs(tmp_path, records, old, subdir):
    paths = write_both(tmp_path, records, old=old, subdir=subdir)
    manifest, problems = coclr_lmdb.build(paths["rgb"], paths["flow"], lists(tmp_path / "lists"), workers=1)
    assert problems.empty
    table = manifest.table
    found = {"/".join(r.path.split("/")[-2:]): (r.class_name, r.source_id, r.split) for r in table.itertuples()}
    hand = "HandstandPushups/v_HandstandPushups_g"
    assert found == {
        "Archery/v_Archery_g08_c01": ("Archery", "v_Archery_g08", "train"),
        "Archery/v_Archery_g08_c02": ("Archery", "v_Archery_g08", "train"),
        "Archery/v_Archery_g01_c01": ("Archery", "v_Archery_g01", "test"),
        f"{hand}09_c01": ("HandstandPushups", "v_HandStandPushups_g09", "train"),
        f"{hand}01_c01": ("HandstandPushups", "v_HandStandPushups_g01", "test"),
    }
    assert [VIDEOS[name] for name in found] == table.num_frames.tolist()
    assert set(table.reader) == {"lmdb"} and set(table.fps) == {25.0}
    assert set(table.width) == {48} and set(table.height) == {36}
    assert table.path[0] == f"{paths['rgb']}/Archery/v_Archery_g08_c01"
    manifest.write(tmp_path / "m.csv")
    again = Manifest.read(tmp_path / "m.csv").check_files(VIEWS)
    frames = open_frames(again, VIEWS, 24)
    oracle = Decoded(manifest, records, 24)
    assert same(batch(again, frames), batch(manifest, oracle))
    for row in table.itertuples():
        for view, channels in (("rgb", 3), ("flow", 2)):
            indices = [row.num_frames - 1, 0, 3, 3]
            got = frames.frames(row.video_id, view, indices)
            assert got.dtype == torch.uint8 and got.shape == (4, 24, 32, channels)
            assert torch.equal(got, oracle.frames(row.video_id, view, indices))


def test_batches_nearly_equal_those_of_video_files(tmp_path, clips, levels, records):
    paths, folder = write_both(tmp_path, records), lists(tmp_path / "lists")
    manifest, _ = coclr_lmdb.build(paths["rgb"], paths["flow"], folder, workers=1)
    for name, clip in clips.items():
        write_video(tmp_path / "videos" / f"{name}.mp4", torch.from_numpy(clip), crf=4)
        flow = levels[name].transpose(0, 3, 1, 2) * np.float32(40 / 255) - 20
        write_flow(tmp_path / "flow" / f"{name}.mp4", flow, "dis", 20.0)
    videos, _ = ucf101.build(tmp_path / "videos", folder, workers=1)
    flow_paths = [path.replace(f"{tmp_path}/videos", f"{tmp_path}/flow") for path in videos.table.path]
    videos = Manifest(videos.table.assign(flow_path=flow_paths))
    columns = ["class_name", "label", "source_id", "split", "num_frames", "width", "height", "fps"]
    pd.testing.assert_frame_equal(videos.table[columns], manifest.table[columns])
    a, b = (batch(m, open_frames(m, VIEWS)) for m in (manifest, videos))
    for clip in ("q", "k"):
        for view in VIEWS:
            error = (a[clip][view].int() - b[clip][view].int()).abs().float()
            assert error.mean() < 3  # of 255; swapped channels of either view would give far more
            for c in range(error.shape[-1]):
                others = (a[clip][view][..., c].int() - b[clip][view].roll(1, -1)[..., c].int()).abs().float()
                assert others.mean() > 3 * error.mean()
    assert all(torch.equal(a[key], b[key]) for key in ("strong_q", "strong_k", "video_id", "source_id", "label"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, records) -> Manifest:
    folder = tmp_path_factory.mktemp("lmdb")
    paths = write_both(folder, records)
    return coclr_lmdb.build(paths["rgb"], paths["flow"], lists(folder / "lists"), workers=1)[0]


@pytest.mark.parametrize(("method", "workers"), [("fork", 2), ("spawn", 1)])
def test_loader_workers_open_their_own_lmdb(whole, method, workers):
    frames = open_frames(whole, VIEWS, 24)
    frames.frames(0, "rgb", [0])  # opens it here first: a forked worker must not use this one
    assert len(pickle.dumps(frames)) < 20_000
    data, asked = pairs(whole, frames), [(row, seed) for seed in range(4) for row in range(3)]
    batches = [asked[i : i + 3] for i in range(0, 12, 3)]
    loader = DataLoader(data, batch_sampler=batches, num_workers=workers, multiprocessing_context=get_context(method))
    for got, items in zip(loader, batches, strict=True):
        assert same(got, torch.utils.data.default_collate([data[item] for item in items]))


def test_only_the_frames_asked_for_are_decoded(whole, monkeypatch):
    decoded, decode = [], lmdb_frames._decode
    monkeypatch.setattr(
        lmdb_frames, "_decode", lambda p, index, jpeg: (decoded.append(index), decode(p, index, jpeg))[1]
    )
    open_frames(whole, VIEWS).frames(0, "rgb", [7, 2, 2, 7])
    assert decoded == [2, 7]


def test_the_cache_holds_the_same_frames(whole, tmp_path, monkeypatch):
    monkeypatch.setattr("cprlib.data.frame_cache.CHUNK", 5)  # several chunks per video
    build_cache(whole, tmp_path, VIEWS, 24, 1)
    cached, read = open_frames(whole, VIEWS, 24, tmp_path), open_frames(whole, VIEWS, 24)
    for row in whole.table.itertuples():
        for view in VIEWS:
            every = range(row.num_frames)
            assert torch.equal(cached.frames(row.video_id, view, every), read.frames(row.video_id, view, every))


def test_frames_outside_a_video_are_refused_and_flow_comes_from_its_lmdb(whole):
    frames = open_frames(whole, VIEWS)
    for view in VIEWS:
        for wrong in ([12], [-1], []):
            with pytest.raises(IndexError, match="v_Archery_g08_c01: frames .* requested, but valid are 0..11"):
                frames.frames(0, view, wrong)
    with pytest.raises(ValueError, match="give both to python -m data_prep.coclr_lmdb"):
        extract_flow(whole, "unused")


def test_flow_is_optional_and_limits_the_length(tmp_path, records):
    folder, name = lists(tmp_path / "lists"), "Archery/v_Archery_g08_c01"
    short = {**records, "flow": {**records["flow"], name: records["flow"][name][:6]}}
    paths = write_both(tmp_path / "a", short)
    alone, problems = coclr_lmdb.build(paths["rgb"], None, folder, workers=1)
    assert problems.empty and set(alone.table.flow_path) == {""} and alone.table.num_frames[0] == 12
    open_frames(alone, ["rgb"])
    with pytest.raises(ValueError, match="no flow yet for .*v_Archery_g08_c01"):
        open_frames(alone, VIEWS)
    both, _ = coclr_lmdb.build(paths["rgb"], paths["flow"], folder, workers=1)
    assert both.table.num_frames.tolist() == [7, 9, 11, 10, 8]  # six flow frames: the seventh is the last with one


def test_unusable_videos_are_named(tmp_path, records):
    folder, (first, second, third) = lists(tmp_path / "lists"), list(VIDEOS)[:3]

    def reasons(rgb: dict, flow: dict | None = None) -> dict[str, str]:
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        place.mkdir()
        paths = [write_lmdb(place / view, part) for view, part in (("rgb", rgb), ("flow", flow)) if part]
        problems = coclr_lmdb.build(paths[0], paths[1] if flow else None, folder, workers=1)[1]
        return {Path(row.path).stem: row.reason.replace(str(place), "") for row in problems.itertuples()}

    rgb, flow = records["rgb"], records["flow"]
    good, packed = rgb[second], msgpack.packb(rgb[second], use_bin_type=False)
    others = {"Archery/v_Archery_g77_c01": rgb[first], **{name: rgb[name] for name in rgb if name != third}}
    assert reasons(others) == {
        "v_Archery_g01_c01": "listed but missing",
        "v_Archery_g77_c01": "present but not in the split lists",
    }
    for broken, reason in (
        (packed[: len(packed) // 2], "truncated or broken record (Unpack failed: incomplete input)"),
        (msgpack.packb({"a": 1}), "its record is no list of JPEGs"),
        (msgpack.packb(msgpack.ExtType(1, b"object")), "its record is no list of JPEGs"),
        ([*good[:4], b"GIF", *good[5:]], "broken JPEG (frame 4)"),
        ([*good[:8], good[8][:200]], "broken JPEG (frame 8)"),
        ([], "too short (0 frames)"),
        (good[:1], "too short (1 frames)"),
    ):
        assert reasons({**rgb, second: broken}) == {"v_Archery_g08_c02": reason}
    without = {name: flow[name] for name in flow if name != second}
    assert reasons(rgb, without) == {"v_Archery_g08_c02": "has no flow in /flow"}
    assert reasons(rgb, {**flow, second: [b"\xff\xd8"]}) == {"v_Archery_g08_c02": "flow: broken JPEG (frame 0)"}


def test_a_frame_damaged_later_is_named(tmp_path, records):
    name = "Archery/v_Archery_g08_c01"
    good = records["rgb"][name]
    path = write_lmdb(tmp_path / "rgb.lmdb", {name: [*good[:5], good[5][:300], *good[6:]]})
    assert read_lmdb(path / name, "rgb", [4, 6]).shape == (2, 36, 48, 3)
    with pytest.raises(VideoError, match=r"rgb.lmdb/Archery/v_Archery_g08_c01: broken JPEG \(frame 5\)"):
        read_lmdb(path / name, "rgb", [4, 5])
    with pytest.raises(VideoError, match="rgb.lmdb/Archery/other: not in the LMDB"):
        read_lmdb(path / "Archery" / "other", "rgb", [0])


def test_files_that_are_not_lmdbs_are_refused(tmp_path, records):
    folder = lists(tmp_path / "lists")
    paths = write_both(tmp_path, records)
    with pytest.raises(FileNotFoundError, match="no LMDB at .*gone.lmdb"):
        coclr_lmdb.build(tmp_path / "gone.lmdb", None, folder)
    content = paths["rgb"].read_bytes()
    for size, message in ((len(content) // 2, r"truncated LMDB \(\d+ of \d+ bytes\); download"), (100, "no LMDB")):
        path = tmp_path / f"cut{size}.lmdb"
        path.write_bytes(content[:size])
        with pytest.raises(VideoError, match=rf"cut{size}.lmdb: {message}"):
            coclr_lmdb.build(path, None, folder)
    with pytest.raises(ValueError, match="no usable video among 5: .*are the RGB and the flow LMDB swapped"):
        coclr_lmdb.build(paths["rgb"], paths["rgb"], folder, workers=1)
    with lmdb.open(str(tmp_path / "other.lmdb"), subdir=False, lock=False) as environment:
        with environment.begin(write=True) as transaction:
            transaction.put(b"key", b"value")
    with pytest.raises(VideoError, match="other.lmdb: no readable __order__"):
        coclr_lmdb.build(tmp_path / "other.lmdb", None, folder)
    with pytest.raises(ValueError, match="none of the 1 videos .*same data set"):
        coclr_lmdb.build(write_lmdb(tmp_path / "cats.lmdb", {"Cat/tom": []}), None, folder)


def test_training_checks_the_lmdb_early(tmp_path, records):
    paths = write_both(tmp_path, records)
    manifest, _ = coclr_lmdb.build(paths["rgb"], paths["flow"], lists(tmp_path / "lists"), workers=1)
    moved = tmp_path / "moved"
    moved.mkdir()
    table = manifest.table.assign(flow_path=manifest.table.flow_path.str.replace(str(tmp_path), str(moved)))
    with pytest.raises(FileNotFoundError, match=r"moved/flow.lmdb is in the manifest and not on disk \(1 of 1"):
        Manifest(table).check_files(VIEWS)
    Manifest(table).check_files()
    (moved / "flow.lmdb").write_bytes(paths["flow"].read_bytes()[:-40_000])
    with pytest.raises(VideoError, match="moved/flow.lmdb: truncated LMDB"):
        Manifest(table).check_files(VIEWS)


def test_the_command(tmp_path, records, monkeypatch, capsys):
    paths, out = write_both(tmp_path, records), tmp_path / "m.csv"
    for flow in (paths["flow"], "-"):
        words = ["coclr_lmdb", paths["rgb"], flow, tmp_path / "lists", out, "--split", "1", "--workers", "1"]
        monkeypatch.setattr(sys, "argv", [*map(str, words)])
        if flow != "-":
            with pytest.raises(SystemExit, match="^error: no classInd.txt in"):
                coclr_lmdb.main()
            lists(tmp_path / "lists")
        coclr_lmdb.main()
        assert "5 videos of 2 classes (3 train, 2 test)" in capsys.readouterr().out
        assert (Manifest.read(out).table.flow_path == "").all() == (flow == "-")
