"""Near copies on both sides of a split are reported, other videos are not."""

import numpy as np
import pandas as pd
import torch

from cprlib.data.manifest import Manifest
from cprlib.data.video import write_video
from data_prep import own_videos
from data_prep.near_copies import near_copies
from data_prep.recordings import tell_counts


def test_a_re_encoded_copy_on_the_other_side_is_found(tmp_path, capsys):
    draw = np.random.default_rng(0)
    for number in range(5):
        small = draw.integers(0, 255, (6, 6, 8, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
        write_video(tmp_path / f"{number}.mp4", torch.from_numpy(small))
        if number == 3:
            write_video(tmp_path / "copy.mp4", torch.from_numpy(small), crf=35)
    rows = {"path": [f"{name}.mp4" for name in (*range(5), "copy")], "class_name": list("ababab")}
    pd.DataFrame({**rows, "split": ["train"] * 4 + ["test"] * 2}).to_csv(tmp_path / "own.csv", index=False)
    made, problems = own_videos.with_near_copies(*own_videos.build(tmp_path / "own.csv", workers=1), workers=1)
    (remark,) = problems.itertuples()
    assert remark.path.endswith("copy.mp4") and remark.reason.startswith("looks like a training video")
    assert "3.mp4" in remark.reason and "look like a training video: 1;" in capsys.readouterr().out
    assert near_copies(made, workers=1, least=1.01) == []


def test_a_class_without_a_test_video_is_reported(toy_manifest, capsys):
    table = Manifest.read(toy_manifest).table
    name = table.class_name.iloc[0]
    split = table.split.where(table.class_name != name, "train")
    tell_counts(Manifest(table.assign(split=split)), table.head(0))
    assert f"no video for testing: {name}; add recordings" in capsys.readouterr().out
    tell_counts(Manifest(table), table.head(0))
    assert "no video for testing" not in capsys.readouterr().out
