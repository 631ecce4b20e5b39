"""Settings chosen from the videos."""

import pandas as pd
import pytest

from cprlib.cascade import plan_stages
from cprlib.training import TrainingConfig
from data_prep.proposals import USUAL, for_videos, look, propose, told
from tests.data_prep.test_data_prep import videos
from tests.pipeline import Pipeline


def heads(width=320, height=240, frames=100, fps=25.0):
    return pd.DataFrame([[width, height, frames, fps]] * 3, columns=list(USUAL))


def values(count, table=None, **given):
    return {name: value for name, (value, _) in propose(count, heads() if table is None else table, given).items()}


@pytest.mark.parametrize(
    ("count", "batch", "rows", "stages", "top_k", "epochs"),
    [
        (8, 4, 16, 2, 3, 300), (16, 8, 16, 2, 3, 300), (160, 32, 128, 4, 4, 300),
        (900, 32, 512, 6, 5, 200), (4000, 32, 2048, 7, 5, 100), (200_000, 32, 2048, 7, 5, 100),
    ],
)  # fmt: skip
def test_settings_follow_the_number_of_videos(count, batch, rows, stages, top_k, epochs):
    chosen = values(count)
    expected = {"batch_size": batch, "K": rows, "num_stages": stages, "top_k": top_k, "infonce_epochs": epochs}
    assert chosen.items() >= expected.items()


@pytest.mark.parametrize("count", [2, 3, 7, 8, 20, 33, 64, 200, 1000, 5000])
@pytest.mark.parametrize("backbone", ["tiny", "s3d"])
def test_every_proposal_can_be_trained(count, backbone):
    chosen = values(count, backbone=backbone) | {"backbone": backbone}
    own = {name for name in chosen if not name.startswith(("flow_", "infonce_"))}
    config = TrainingConfig("m", "o", method="cpr", samplers={"flow": "f"}, **{name: chosen[name] for name in own})
    assert len(plan_stages(config.K, config.views, config.num_stages, 0.5, config.top_k)) == chosen["num_stages"]
    assert config.K < config.epochs * (count // min(config.batch_size, count)) * config.batch_size  # the memory fills


def test_clips_follow_sizes_and_lengths():
    wanted = ["short_side", "clip_size", "clip_len", "clip_stride"]

    def clips(**sizes):
        return [values(100, heads(**sizes))[name] for name in wanted]

    assert clips() == [64, 56, 8, 2]
    assert clips(width=1080, height=1920, fps=60.0) == [64, 56, 8, 5]
    assert clips(width=50, height=41, fps=8.0) == [40, 40, 8, 1]
    assert clips(frames=10) == [64, 56, 8, 1]  # 8 frames in a row and one more for flow
    assert clips(frames=6) == [64, 56, 4, 1] == clips(frames=2)
    large = values(100, backbone="s3d")
    assert [large[name] for name in wanted] == [128, 128, 32, 1]
    nothing = propose(100, heads().head(0), {})
    assert [nothing[name][0] for name in wanted] == clips()
    broken = pd.concat([heads(), heads(0, 0, 0, 0.0)])
    assert [values(100, broken)[name] for name in wanted] == clips()


def test_given_settings_stay_and_the_rest_follows():
    chosen = values(100, K=1024, infonce_epochs=10, short_side=48)
    assert not {"K", "infonce_epochs", "short_side"} & chosen.keys()
    assert chosen["num_stages"] == 7 and chosen["top_k"] == 5
    assert chosen["infonce_milestones"] == [8] and chosen["clip_size"] == 48
    assert values(100, init_run="toy")["infonce_epochs"] == 100
    text = told(propose(100, heads(), {"top_k": 2}))
    assert "K: 64" in text and "# about a row for each of 100 training videos" in text and "  top_k:" not in text


def test_a_folder_is_examined_without_decoding(tmp_path, capsys):
    folder = videos(tmp_path / "own", *(f"{c}/{i}.mp4" for c in ("jump", "run") for i in range(5)))
    (folder / "run/broken.mp4").write_bytes(b"no video")
    count, table = look(folder)
    assert count == 9 and len(table) == 10 and (table.frames > 1).all() and capsys.readouterr().out == ""
    rows = pd.DataFrame({"path": table.index.map("own/run/{}.mp4".format)[:4], "split": ["train"] * 3 + ["test"]})
    rows.to_csv(tmp_path / "own.csv", index=False)
    assert look(tmp_path / "own.csv")[0] == 3
    with pytest.raises(FileNotFoundError, match="no video folder at"):
        look(tmp_path / "nothing")


def test_initial_networks_decide_the_clips(small_run, tmp_path):
    folder = videos(tmp_path / "own", *(f"{c}/{i}.mp4" for c in ("jump", "run") for i in range(5)))
    given = {"outputs": str(small_run.parent), "init_run": "small", "dim": 9}
    found = {name: value for name, (value, _) in for_videos(folder, given).items()}
    assert found["clip_size"] == 32 and found["short_side"] == 36 and found["flow_bound"] == 8.0 and "dim" not in found
    found = for_videos(folder, {"outputs": str(tmp_path), "released_flow": "theirs.pth.tar", "clip_len": 8})
    assert found["backbone"] == ("s3d", "that of the networks of theirs.pth.tar") and "clip_len" not in found
    assert found["flow_method"][0] == "tvl1" and found["clip_size"][0] == 128


def test_the_pipeline_uses_proposals_and_refuses_impossible_settings(tmp_path):
    folder = videos(tmp_path / "own", *(f"{c}/{i}.mp4" for c in ("jump", "run") for i in range(5)))
    pipeline = Pipeline(tmp_path, "params/own_videos.yaml")
    assert {"infonce", "ubernce", "coclr", "cpr"} <= pipeline.plan(videos=folder)
    for config, message in (
        ({"videos": folder, "top_k": 20}, "top_k"),
        ({"videos": folder, "init_run": "nothing"}, "no finished network at"),
        ({"videos": folder, "init_run": "theirs.pth.tar"}, "is no run; published weights are released_rgb=FILE"),
        ({"videos": tmp_path / "none"}, "no video folder at"),
    ):
        status, printed = pipeline.run(**config)
        assert status == 1 and message in printed, printed
    assert not (tmp_path / "outputs").exists()
