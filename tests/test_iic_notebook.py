"""Notebook 08 from its first cell to its last, on the small built-in data."""

import json

import nbformat
import pandas as pd

from cprlib.notebook import runner
from cprlib.store.files import project_root


def test_notebook_08_trains_and_evaluates_both_methods(toy_manifest, tmp_path):
    settings = {"outputs": tmp_path, "run": "small", "manifest": toy_manifest, "cache": "", "short_side": 36, "dim": 16}
    settings |= {"clip_len": 4, "clip_stride": 4, "clip_size": 24, "batch_size": 16, "iic_epochs": 2, "examples": 1}
    settings |= {"iic_milestones": "[1]", "num_stages": 2, "top_k": 2, "intra": "shuffle"}
    notebook, done = project_root() / "notebooks/08_iic.ipynb", tmp_path / "08.ipynb"
    pairs = [word for name, value in settings.items() for word in ("-p", name, str(value))]
    assert not runner.main([str(notebook), str(done), *pairs])
    code = [cell for cell in nbformat.read(done, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    table = pd.read_csv(tmp_path / "small/tables/iic.csv")
    assert set(table.method) == {"random", "iic", "iic_cpr"} and set(table.view) == {"rgb", "residual", "both"}
    assert json.loads((tmp_path / "small/iic_cpr/config.json").read_text())["method"] == "iic_cpr"
