"""The comparison table, from the CSV files of small synthetic runs."""

import pandas as pd
import pytest

from cprlib.methods import MEASURES
from cprlib.report.tables import comparison as tables
from cprlib.report.tables.text import to_markdown

RETRIEVAL = "method,view,k,recall\n"
MINING = "method,view,pmr_start,pmr_end,mining_r1,cmr_source,cmr_video\n"


def make_run(folder, shift=0.0, ks=(1, 5, 10, 20)):
    """CPR before random in the files, so that the order has to come from the code."""
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
    assert list(table) == ["method", "view", *MEASURES]
    order = [(m, v) for m in ("random", "cpr") for v in ("rgb", "flow", "both")]
    assert list(zip(table["method"], table["view"], strict=True)) == order
    cpr = table.iloc[3]
    assert [cpr[name] for name in list(MEASURES)[:8]] == pytest.approx([0.3, 0.4, 0.45, 0.8, 0.5, 0.31, 0.35, 0.4])
    assert table[tables.CLASSIFIED].isna().all(axis=None)
    assert table.loc[[0, 4, 5], tables.MINING].isna().all(axis=None)


def test_classification_is_beside_retrieval(tmp_path):
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
    mean = tables.comparison_table(*runs)
    assert mean["runs"].tolist() == [3] * 6
    assert mean.loc[3, "pmr_end"] == pytest.approx(0.42)
    assert mean.loc[3, "pmr_end_std"] == pytest.approx(0.02)  # sqrt((4 + 0 + 4) / 2) points
    words = tables.readable(mean)
    assert words.loc[3, "PMR start → end"] == "32.0 ± 2.0 → 42.0 ± 2.0"
    assert words.loc[3, "Mining R@1"] == "45.0 ± 0.0"
    assert words.loc[0, "R@1"] == "13.0 ± 2.0"


def make_table(**r1):
    """A table of one run: method -> R@1 in flow; the methods coclr, cpr and "mine" mine positives."""
    rows = [{"method": m, "view": "flow", "r1": x, "pmr_end": None if m == "random" else x / 2} for m, x in r1.items()]
    return pd.DataFrame(rows).astype({"pmr_end": float})


def test_differences_are_within_each_run():
    runs = [make_table(coclr=0.5, cpr=0.5 + gain, random=0.1) for gain in (0.01, 0.03, 0.02)]
    runs[1] = runs[1].assign(r1=runs[1]["r1"] + 0.2)  # a better seed for all changes nothing
    frame = tables.differences(pd.concat([table.assign(run=i) for i, table in enumerate(runs)]))
    assert list(frame) == ["measure", "view", "coclr", "cpr", "difference", "error", "runs"]
    pmr, r1 = frame.to_dict("records")
    assert (r1["measure"], r1["view"], r1["runs"]) == ("r1", "flow", 3)
    assert r1["difference"] == pytest.approx(0.02) and r1["error"] == pytest.approx(0.01 / 3**0.5)
    assert r1["coclr"] == pytest.approx(0.5 + 0.2 / 3)
    words = tables.difference_words(frame)
    assert words.iloc[1].tolist() == ["R@1", "Flow", "56.7", "58.7", "+2.0 ± 0.6"]
    assert list(words) == ["Measure", "View", "CoCLR", "CPR", "CPR − CoCLR"]


def test_any_two_methods_can_be_compared():
    table = make_table(coclr=0.5, cpr=0.6, mine=0.45, random=0.1)
    assert list(tables.differences(table))[2:4] == ["coclr", "mine"]  # the first and the last that mine
    words = tables.difference_words(tables.differences(table, "cpr", "mine"))
    assert words.iloc[-1].tolist() == ["R@1", "Flow", "45.0", "60.0", "+15.0"]
    worse = tables.difference_words(tables.differences(table, "random", "cpr"))
    assert worse.to_numpy().tolist() == [["R@1", "Flow", "60.0", "10.0", "−50.0"]]
    level = tables.difference_words(tables.differences(make_table(coclr=0.50031, cpr=0.50012)))
    assert level.iloc[-1, -1] == "0.0"  # a difference that rounds to 0 has no sign
    assert tables.differences(make_table(cpr=0.5, random=0.1)).empty
    with pytest.raises(ValueError, match="no results of method 'unknown'; there are those of coclr, cpr, mine, random"):
        tables.differences(table, "cpr", "unknown")


def test_views_side_by_side():
    rows = [("cpr", "both", 0.4), ("mine", "rgb", 0.2), ("cpr", "rgb", 0.1), ("cpr", "flow", 0.3)]
    rows.append(("cpr", "depth", 0.6))
    words = tables.two_stream_table(pd.DataFrame(rows, columns=["method", "view", "r1"]))
    assert list(words) == ["Method", "R@1 RGB", "R@1 Flow", "R@1 depth", "R@1 All views"]
    assert words.to_numpy().tolist() == [["CPR", "10.0", "30.0", "60.0", "40.0"], ["mine", "20.0", "–", "–", "–"]]


def test_words_of_one_run(tmp_path):
    words = tables.readable(tables.comparison_table(make_run(tmp_path)))
    assert words.iloc[3].tolist() == ["CPR", "RGB", "30.0 → 40.0", "45.0", "80.0", "50.0", "31.0", "35.0", "40.0"]
    assert words.iloc[0, 2:6].tolist() == ["–"] * 4
    assert words.iloc[2, :2].tolist() == ["Random weights", "Both views"]
    words = tables.readable(tables.run_table(make_run(tmp_path / "few", ks=(1, 5))))
    assert "R@10" not in words and words.loc[0, "R@5"] == "15.0"


def test_markdown_and_text_hold_every_cell(tmp_path):
    words = tables.readable(tables.run_table(make_run(tmp_path)))
    words.loc[0, "Method"] = "a|b_$c$ <i>"
    header, _, *rows = to_markdown(words).splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == list(words)
    assert rows[0].startswith(r"| a\|b\_\$c\$ \<i> | RGB ")
    for row, expected in zip(rows[1:], words.to_numpy().tolist()[1:], strict=True):
        assert [cell.strip() for cell in row.strip("|").split("|")] == expected
    lines = to_markdown(words, "simple").splitlines()
    assert len(lines) == 2 + len(words) and len({len(line) for line in lines}) == 1  # numbers are right-aligned
    assert lines[2].startswith("a|b_$c$ <i>") and "30.0 → 40.0" in lines[5]


def test_written_files(tmp_path):
    run = make_run(tmp_path)
    mining = (run / "tables" / "mining.csv").read_text()
    (run / "tables" / "mining.csv").write_text(mining + "random,rgb,0.1,0.2,0.3,0.4,0.5\n")  # a miner of its own
    paths = tables.write_comparison([run], tmp_path / "out")
    assert [path.name for path in paths] == ["comparison.csv", "differences.csv", "comparison.md", "comparison.txt"]
    pd.testing.assert_frame_equal(pd.read_csv(paths[0]), tables.comparison_table(run))
    assert pd.read_csv(paths[1])["difference"].tolist()[0] == pytest.approx(0.2)
    markdown = paths[2].read_text(encoding="utf-8")
    assert "30.0 → 40.0" in markdown and "CPR − Random weights" in markdown
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_missing_input_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="retrieval.csv.*notebook 05_retrieval"):
        tables.run_table(tmp_path)
    make_run(tmp_path)
    (tmp_path / "tables" / "mining.csv").unlink()  # as when evaluating networks of another run
    assert tables.run_table(tmp_path)[tables.MINING].isna().all(axis=None)
    (tmp_path / "tables" / "mining.csv").write_text("method,view,pmr_start\n")
    with pytest.raises(ValueError, match="mining.csv has no column pmr_end.*07_mining_quality"):
        tables.run_table(tmp_path)
