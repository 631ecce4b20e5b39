"""Exported features: the vectors of the encoder, with the manifest's columns of each video."""

import re

import numpy as np
import pandas as pd
import pytest

from cprlib import load_encoder
from cprlib.data.manifest import Manifest
from cprlib.features import feature_table, main, write_features
from cprlib.store.files import project_root


def test_tables_and_arrays_hold_the_encoders_vectors(small_run, toy_manifest, tmp_path):
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


@pytest.mark.parametrize(("library", "language"), [("sklearn", "python"), ("duckdb", "sql")])
def test_the_recipes_of_the_docs_run_on_the_table(small_run, tmp_path, monkeypatch, library, language):
    module = pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    write_features(feature_table(small_run / "infonce"), "features.parquet")
    text = (project_root() / "docs/own-videos.md").read_text(encoding="utf-8").split("\n## 3. ")[1]
    recipe = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)[1]
    if language == "sql":
        nearest = module.sql(recipe.replace("slide_ball_g10_c01", "slide_ball_g01_c01")).df()
        assert len(nearest) == 5 and nearest.similarity.is_monotonic_decreasing
    else:
        names: dict = {}
        exec(recipe, names)
        assert names["table"].cluster.nunique() == 18 and len(names["table"]) == 72
