"""The comparison table, from the CSV files of small made-up runs."""

import pandas as pd
import pytest

from cprlib.report.tables import comparison as tables

RETRIEVAL = "method,view,k,recall\n"
MINING = "method,view,pmr_start,pmr_end,mining_r1,cmr_source,cmr_video\n"


def make_run(folder, shift=0.0, ks=(1, 5, 10, 20)):
    """CPR before random in the files, so that order has to come from the code."""
    (folder / "tables").mkdir(parents=True)
    retrieval = [
        f"{method},{view},{k},{base + k / 100 + shift}\n"
        for method, base in (("cpr", 0.3), ("random", 0.1))
        for view in ("both", "rgb", "flow")
        for k in ks
    ]
    (folder / "tables" / "retrieval.csv").write_text(RETRIEVAL + "".join(retrieval))
    mining = f"cpr,rgb,{0.3 + shift},{0.4 + shift},0.45,0.8,0.5\n"
    (folder / "tables" / "mining.csv").write_text(MINING + mining)
    return folder


def test_one_run(tmp_path):
    table = tables.run_table(make_run(tmp_path))
    assert list(table) == ["method", "view", *tables.MEASURES]
    order = [(m, v) for m in ("random", "cpr") for v in ("rgb", "flow", "both")]
    assert list(zip(table["method"], table["view"], strict=True)) == order
    cpr = table.iloc[3]
    assert [cpr[name] for name in tables.MEASURES[:8]] == pytest.approx([0.3, 0.4, 0.45, 0.8, 0.5, 0.31, 0.35, 0.4])
    assert table[tables.CLASSIFIED].isna().all(axis=None)
    assert table.loc[[0, 4, 5], tables.MINING].isna().all(axis=None)


def test_classification_stands_beside_retrieval(tmp_path):
    run = make_run(tmp_path)
    (run / "tables" / "probe_cpr.csv").write_text("method,view,protocol,top1,top5\ncpr,flow,probe,0.6,0.9\n")
    (run / "tables" / "probe_random.csv").write_text("method,view,protocol,top1,top5\nrandom,rgb,probe,0.1,0.4\n")
    table = tables.run_table(run)
    probed = table.set_index(["method", "view"]).probe.dropna()
    assert probed.to_dict() == {("random", "rgb"): 0.1, ("cpr", "flow"): 0.6}
    words = tables.readable(table)
    assert words["Linear probe"].tolist() == ["10.0", "–", "–", "–", "60.0", "–"]
    assert "Fine-tuned" not in words  # nothing was fine-tuned


def test_mean_and_spread_over_runs(tmp_path):
    runs = [make_run(tmp_path / str(i), shift) for i, shift in enumerate((0, 0.02, 0.04))]
    mean, spread = tables.comparison_table(*runs), tables.spread_table(*runs)
    assert mean["runs"].tolist() == [3] * 6
    assert mean.loc[3, "pmr_end"] == pytest.approx(0.42)
    assert spread.loc[3, "pmr_end"] == pytest.approx(0.02)  # sqrt((4 + 0 + 4) / 2) points
    assert spread[["method", "view"]].equals(mean[["method", "view"]])
    words = tables.readable(mean, spread)
    assert words.loc[3, "PMR start → end"] == "32.0 ± 2.0 → 42.0 ± 2.0"
    assert words.loc[3, "Mining R@1"] == "45.0 ± 0.0"
    assert words.loc[0, "R@1"] == "13.0 ± 2.0"


def test_words_of_one_run(tmp_path):
    words = tables.readable(tables.comparison_table(make_run(tmp_path)))
    assert words.iloc[3].tolist() == ["CPR", "RGB", "30.0 → 40.0", "45.0", "80.0", "50.0"] + [
        "31.0",
        "35.0",
        "40.0",
    ]
    assert words.iloc[0, 2:6].tolist() == ["–"] * 4
    assert words.iloc[2, :2].tolist() == ["Random weights", "Both views"]


def test_small_gallery_leaves_cells_empty(tmp_path):
    words = tables.readable(tables.run_table(make_run(tmp_path, ks=(1, 5))))
    assert words["R@10"].tolist() == ["–"] * 6 and words.loc[0, "R@5"] == "15.0"


def test_markdown_and_text_hold_every_cell(tmp_path):
    words = tables.readable(tables.run_table(make_run(tmp_path)))
    header, rule, *rows = tables.to_markdown(words).splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == list(words)
    assert rule.count("---") == len(words.columns)
    for row, expected in zip(rows, words.to_numpy().tolist(), strict=True):
        assert [cell.strip() for cell in row.strip("|").split("|")] == expected
    lines = tables.to_text(words).splitlines()
    assert len(lines) == 2 + len(words)
    ends = {len(line) for line in lines}
    assert len(ends) == 1  # right-aligned: every line ends in the same column
    assert lines[2].startswith("Random weights  RGB")


def test_written_files(tmp_path):
    table = tables.comparison_table(make_run(tmp_path))
    paths = tables.write_table(table, tmp_path / "out")
    assert [path.name for path in paths] == ["comparison.csv", "comparison.md", "comparison.txt"]
    pd.testing.assert_frame_equal(pd.read_csv(paths[0]), table)
    assert "| CPR | RGB | 30.0 → 40.0 |" in paths[1].read_text(encoding="utf-8")
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_missing_input_is_named(tmp_path):
    with pytest.raises(ValueError, match="no run folder"):
        tables.comparison_table()
    with pytest.raises(FileNotFoundError, match="retrieval.csv.*notebook 05_retrieval"):
        tables.run_table(tmp_path)
    make_run(tmp_path)
    (tmp_path / "tables" / "mining.csv").unlink()  # as where networks of another run are judged
    assert tables.run_table(tmp_path)[tables.MINING].isna().all(axis=None)
    (tmp_path / "tables" / "mining.csv").write_text("method,view,pmr_start\n")
    with pytest.raises(ValueError, match="mining.csv has no column pmr_end.*07_mining_quality"):
        tables.run_table(tmp_path)
