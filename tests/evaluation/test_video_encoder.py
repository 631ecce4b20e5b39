"""Vectors of videos equal those of retrieval, one video at a time, with the mean kept beside the network."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from cprlib import load_encoder
from cprlib.data.container import VideoError, decode
from cprlib.data.frames import open_frames
from cprlib.data.manifest import Manifest
from cprlib.data.video import write_video
from cprlib.encoders import build_encoder
from cprlib.evaluation import video_encoder
from cprlib.evaluation.features import network_features
from cprlib.evaluation.retrieval import prepare_views
from cprlib.evaluation.video_encoder import find_networks
from cprlib.store.folders import read_config
from cprlib.store.released import export_released
from cprlib.store.sealed import write_sealed
from cprlib.training.iic import IICConfig, fit_iic


@pytest.fixture(scope="module")
def encoder(small_run):
    return load_encoder(small_run / "infonce")


@pytest.fixture(scope="module")
def videos(toy_manifest):
    return Manifest.read(toy_manifest)


def test_vectors_equal_retrievals_with_the_training_mean(small_run, encoder, videos):
    frames = open_frames(videos, ["rgb", "flow"], 36)
    features = {
        view: tuple(
            network_features(small_run / f"infonce_{view}", videos, frames, split) for split in ("test", "train")
        )
        for view in ("rgb", "flow")
    }
    expected, _ = prepare_views(features, centre="gallery")
    found = encoder.embed(videos.split("test").table.path[:4].tolist())
    assert found.shape == (4, 256) and torch.allclose(found.norm(dim=1), torch.ones(4))
    parts = {view: found[:, columns] * 2**0.5 for view, columns in encoder.parts().items()}
    assert torch.allclose(parts["rgb"], expected["rgb"][:4], atol=1e-4)
    assert (parts["flow"] * expected["flow"][:4]).sum(dim=1).min() > 0.99  # stored flow is compressed
    cosines = torch.stack([normalize(part, dim=1) @ normalize(part, dim=1).T for part in parts.values()])
    assert torch.allclose(found @ found.T, cosines.mean(dim=0), atol=1e-5)


def test_one_video_is_embedded_like_many_and_frames_like_their_file(encoder, videos):
    paths = videos.table.path[:3].tolist()
    together = encoder.embed(paths)
    frames = torch.from_numpy(np.stack(list(decode(paths[1]))))
    assert torch.allclose(encoder.embed(paths[1]), together[1:2], atol=1e-5)
    assert torch.allclose(encoder.embed([paths[0], frames]), together[:2], atol=1e-5)


def test_windows_of_mixed_sizes_and_rates(encoder, tmp_path):
    generator = torch.Generator().manual_seed(0)
    for name, size, fps in (("tall.mp4", (20, 96, 64), 8.0), ("wide.mp4", (9, 48, 160), 60.0)):
        write_video(tmp_path / name, torch.randint(255, (*size, 3), generator=generator, dtype=torch.uint8), fps)
    tall, wide = encoder.vectors(tmp_path / "tall.mp4"), encoder.vectors(tmp_path / "wide.mp4")
    assert tall.windows.shape == (5, 256) and tall.seconds[-1].tolist() == pytest.approx([13 / 8, 19 / 8])
    assert len(wide.windows) == 2 and wide.seconds[-1, 1].item() == pytest.approx(8 / 60)
    assert torch.equal(encoder.embed(tmp_path), torch.stack([tall.whole, wide.whole]))  # a folder, by name


def test_input_that_is_not_a_video_is_named(encoder, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoError, match="text.mp4: cannot be read"):
        encoder.embed(tmp_path / "text.mp4")
    with pytest.raises(FileNotFoundError, match="no video at .*gone.mp4"):
        encoder.embed(tmp_path / "gone.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no video in"):
        encoder.embed(tmp_path / "empty")
    write_video(tmp_path / "still.mp4", torch.zeros(1, 16, 16, 3, dtype=torch.uint8))
    with pytest.raises(VideoError, match="still.mp4: a video of a single frame has no flow"):
        encoder.embed(tmp_path / "still.mp4")
    write_video(tmp_path / "tiny.mp4", torch.zeros(4, 8, 8, 3, dtype=torch.uint8))
    with pytest.raises(VideoError, match="tiny.mp4: dis flow cannot be estimated for frames of 8 x 8 pixels"):
        encoder.embed(tmp_path / "tiny.mp4")
    with pytest.raises(FileNotFoundError, match="tiny.mp4 is a file; give the folder"):
        find_networks(tmp_path / "tiny.mp4")
    with pytest.raises(ValueError, match="expected uint8"):
        encoder.embed(torch.zeros(4, 8, 8, 3))
    with pytest.raises(ValueError, match="fps is 0"):
        encoder.embed(torch.zeros(4, 8, 8, 3, dtype=torch.uint8), fps=0)
    with pytest.raises(ValueError, match="the list holds no video"):
        encoder.embed([])
    with pytest.raises(ValueError, match="3 is not a video; give a path, frames, or a list of these"):
        encoder.embed(3)


def test_the_mean_stays_when_the_videos_are_deleted(small_run, encoder, videos, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "moved")
    for view in ("rgb", "flow"):
        training = run / f"infonce_{view}"
        write_sealed(training / "config.json", {**read_config(training), "manifest": str(run / "gone.csv")})
    assert load_encoder(run / "infonce").fingerprint.hash == encoder.fingerprint.hash
    (run / "infonce_rgb" / "centre_rgb.pt").unlink()
    with pytest.raises(FileNotFoundError, match="no centre_rgb.pt yet"):
        load_encoder(run / "infonce_rgb")


def test_a_run_a_method_or_a_training_can_be_loaded(small_run, encoder, monkeypatch):
    assert load_encoder(small_run).fingerprint.hash == encoder.fingerprint.hash
    assert load_encoder(small_run / "infonce_flow").views == ["flow"]
    with pytest.raises(FileNotFoundError, match=r"no finished network at .*cpr; .*here: infonce"):
        load_encoder(small_run / "cpr")
    monkeypatch.setattr(video_encoder, "METHODS", {})  # as after a miner of one's own is taken out again
    assert load_encoder(small_run / "infonce_flow").views == ["flow"]


def test_a_published_file_is_centred_on_given_videos(tmp_path):
    torch.manual_seed(0)
    export_released(build_encoder("s3d", 128), tmp_path / "coclr.pth.tar")
    plain = load_encoder(tmp_path / "coclr.pth.tar")
    videos = list(torch.randint(255, (2, 2, 16, 16, 3), dtype=torch.uint8))
    centred = plain.centred_on(videos)
    assert plain.embed(videos).min() >= 0 and centred.embed(videos).mean() == pytest.approx(0, abs=0.01)


def test_importing_the_cascade_does_not_import_evaluation():
    code = "import sys, cprlib.cascade; sys.exit('cprlib.evaluation' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_one_network_of_several_views(toy_manifest, videos, tmp_path):
    shape = {"backbone": "tiny", "dim": 8, "clip_len": 4, "clip_stride": 2, "clip_size": 16, "short_side": 36}
    fit_iic(IICConfig(str(toy_manifest), str(tmp_path / "iic"), epochs=1, lr_milestones=(), batch_size=8, **shape))
    encoder = load_encoder(tmp_path / "iic")
    assert encoder.views == ["residual", "rgb"] and encoder.flow is None
    assert (tmp_path / "iic/centre_residual.pt").exists()
    assert encoder.embed(videos.table.path[0]).shape == (1, 256)
