"""Features out: the vectors of the encoder, with what is known of each video."""

import numpy as np
import pandas as pd
import pytest

from cprlib import load_encoder
from cprlib.data.manifest import Manifest
from cprlib.features import main


def test_a_table_and_arrays_say_what_the_encoder_says(small_run, toy_manifest, tmp_path):
    for name in ("features.parquet", "features.npz"):
        main([str(small_run / "infonce"), "--out", str(tmp_path / name)])
    table, arrays = pd.read_parquet(tmp_path / "features.parquet"), np.load(tmp_path / "features.npz")
    assert list(table) == ["path", "recording", "label", "split", "view", "vector"]
    assert table.view.value_counts().to_dict() == {"rgb": 72, "flow": 72, "both": 72}
    row = Manifest.read(toy_manifest).table.iloc[5]
    found = table[table.path == row.path].set_index("view")
    assert found.label.unique() == [row.class_name] and found.recording.unique() == [row.source_id]
    embedded = load_encoder(small_run / "infonce").embed(row.path)[0].numpy()
    assert found.loc["both"].vector @ embedded > 0.99
    assert (
        arrays["vector_both"].shape == (72, 256) and arrays["path"].tolist() == table[table.view == "rgb"].path.tolist()
    )
    with pytest.raises(SystemExit, match="parquet or .npz"):
        main([str(small_run / "infonce"), "--out", str(tmp_path / "features.txt")])
