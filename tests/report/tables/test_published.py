"""The published numbers, and the paper's tables beside ours."""

import csv

import pandas as pd
import pytest

from cprlib.methods import ALL_VIEWS, VIEWS
from cprlib.report.tables import published
from cprlib.report.tables.published import COLUMNS, PUBLISHED, our_results, paper_table, read_published


def run_table():
    """CPR and random weights with all numbers, except mining of random weights and of "both"."""
    rows = []
    for method, base in (("random", 0.1), ("cpr", 0.3)):
        for i, view in enumerate(("rgb", "flow", "both")):
            mined = method == "cpr" and view != "both"
            numbers = {name: base + i / 100 for name, (protocol, _) in published.OURS.items() if protocol != "mining"}
            numbers |= {name: 0.5 if mined else None for name in ("pmr_start", "pmr_end", "mining_r1", "cmr_source")}
            rows.append({"method": method, "view": view, **numbers})
    return pd.DataFrame(rows).astype({name: float for name in ("pmr_start", "pmr_end", "mining_r1", "cmr_source")})


def row(table, **labels):
    """The one row with these labels."""
    for name, label in labels.items():
        table = table[table[name] == label]
    assert len(table) == 1
    return table.iloc[0]


def numbers(cells):
    return sorted(cell for cell in cells.to_numpy().ravel() if cell)


@pytest.mark.parametrize(
    "where, value",
    [
        ("cpr,S3D,UCF101,flow,UCF101,retrieval,R@1", 56.7),
        ("cpr,S3D,UCF101,flow,HMDB51,finetune,top-1", 54.8),
        ("cpr,S3D,UCF101,,UCF101,mining,PMR end", 40.3),
        ("coclr,S3D,UCF101,,UCF101,mining,median CMR", 77.8),
        ("coclr,S3D,UCF101,rgb,HMDB51,retrieval,R@20", 65.5),
        ("coclr,S3D,K400,both,UCF101,finetune,top-1", 90.6),
        ("coclr,S3D,UCF101,both,HMDB51,probe,top-1", 40.2),
        ("infonce,S3D,UCF101,flow,UCF101,probe,top-1", 66.8),
        ('"CoCLR, released weights",S3D,UCF101,rgb,UCF101,retrieval,R@1', 51.8),
        ('"IIC, shuffle + v",R3D,UCF101,,UCF101,retrieval,R@50', 86.5),
        ("VCOP,R(2+1)D,UCF101,,HMDB51,retrieval,R@10", 30.7),
        ("SpeedNet,,K400,,UCF101,retrieval,R@20", 49.5),
        ("MVCGC,,UCF101,rgb,HMDB51,retrieval,R@5", 49.7),
        ("MemDPC,,UCF101,both,UCF101,finetune,top-1", 84.3),
    ],
)
def test_published_numbers(where, value):
    names = ["method", "backbone", "pretrained_on", "views", "evaluated_on", "protocol", "measure"]
    frame = read_published().query("setting == ''")  # not those of an ablation
    for name, cell in zip(names, next(csv.reader([where])), strict=True):
        frame = frame[frame[name] == cell]
    assert frame["value"].tolist() == [value]


def test_published_file_is_complete_and_marks_unknown_values():
    frame, value = read_published(), read_published()["value"]
    assert PUBLISHED.parts[-2:] == ("docs", "published.csv") and list(frame) == COLUMNS
    assert value.dropna().between(0, 100).all() and (frame["source"] != "").all()
    assert frame.loc[value.isna(), "note"].str.contains("not found").all()
    assert not frame.duplicated(COLUMNS[:-3]).any()  # no number twice
    allowed = {"table": ["", *"1234567"], "views": ["", *VIEWS, ALL_VIEWS], "evaluated_on": ["UCF101", "HMDB51"]}
    allowed["protocol"] = ["retrieval", "probe", "finetune", "mining"]
    assert all(frame[name].isin(values).all() for name, values in allowed.items())
    for table, settings in {
        "1": ["num_stages=1", "num_stages=3 ratio=0.5", "num_stages=5 ratio=0.5", "num_stages=7 ratio=0.5"],
        "2": [f"num_stages={stages} ratio={ratio}" for stages in (5, 7) for ratio in (0.5, 0.8)],
    }.items():
        cells = frame[frame["table"] == table]
        assert cells["setting"].drop_duplicates().tolist() == settings and cells["value"].isna().all()
    recalled = frame[frame["source"].str.contains("reviewer")]
    assert recalled["value"].tolist() == [83.5] and recalled["note"].str.contains("recalled").all()


def test_our_results_are_tidy_and_in_percent():
    ours = our_results(run_table().assign(r1_std=0.02), "HMDB51", "UCF101", "s3d")
    assert list(ours) == [*COLUMNS, "spread"] and not ours["value"].isna().any()
    r1 = ours[(ours["method"] == "cpr") & (ours["views"] == "flow") & (ours["measure"] == "R@1")].iloc[0]
    assert r1["value"] == pytest.approx(31) and r1["spread"] == pytest.approx(2)
    assert (r1["evaluated_on"], r1["pretrained_on"], r1["backbone"]) == ("HMDB51", "UCF101", "s3d")
    mined = ours[ours["protocol"] == "mining"]
    assert len(mined) == 2 * 4 and set(mined["method"]) == {"cpr"}
    assert set(mined["evaluated_on"]) == {"UCF101"}  # mining is measured on the pre-training data
    assert ours[ours["measure"] != "R@1"]["spread"].isna().all()


def test_retrieval_with_ours_beside_the_published_numbers():
    ours = our_results(run_table(), "built-in", "built-in", "tiny")
    table = paper_table(7, ours)
    cpr = row(table, Method="CPR", View="Flow")
    assert cpr["R@1, UCF101 (published)"] == "56.7" and cpr["R@1, HMDB51 (published)"] == "24.4"
    assert cpr["R@5, UCF101 (published)"] == ""
    assert cpr["R@1, built-in (ours, tiny)"] == "31.0"
    assert cpr["Published with"] == "S3D, UCF101 (CPR paper)"
    rgb = row(table, Method="CPR", View="RGB")  # the paper has no such row
    assert rgb["R@1, UCF101 (published)"] == "" and rgb["R@1, built-in (ours, tiny)"] == "30.0"
    vcop = row(table, Method="VCOP", **{"Published with": "R(2+1)D, UCF101 (repeated in another paper)"})
    assert vcop["R@20, HMDB51 (published)"] == "45.6" and vcop["R@1, built-in (ours, tiny)"] == ""
    assert table["Method"].drop_duplicates().tolist()[:4] == ["Random weights", "InfoNCE", "CoCLR", "CPR"]


def test_ours_never_share_a_column_with_published_numbers():
    for number in (4, 6, 7):
        alone = paper_table(number)
        titles = [title for title in alone if title.endswith("(published)")]
        for data in ("UCF101-12", "UCF101"):  # not even on the same data
            table = paper_table(number, our_results(run_table(), data, data, "s3d"))
            own = [title for title in table if title not in alone]
            assert own and all(title.endswith(f", {data} (ours, s3d)") for title in own)
            assert numbers(table[titles]) == numbers(alone[titles])
            assert {"30.0", "50.0"} & set(numbers(table[own]))


def test_transfer_and_other_networks_have_separate_columns():
    transfer = our_results(run_table(), "HMDB51", "UCF101", "s3d")
    kinetics = our_results(run_table(), "HMDB51", "K400", "s3d")
    table = paper_table(6, pd.concat([transfer, kinetics]))
    flow = row(table, Method="CPR", View="Flow")
    assert flow["fine-tuned, HMDB51 (published)"] == "54.8"
    assert flow["fine-tuned, HMDB51 (ours, s3d on UCF101)"] == "31.0"
    assert flow["fine-tuned, HMDB51 (ours, s3d on K400)"] == "31.0"  # no published row of that pretraining: beside this
    coclr = kinetics[kinetics["method"] == "cpr"].assign(method="coclr")
    rows = paper_table(6, coclr)
    rows = rows[(rows["Method"] == "CoCLR") & (rows["View"] == "RGB")].set_index("Published with")
    assert rows.loc["S3D, K400 (repeated in another paper)", "linear probe, HMDB51 (ours, s3d on K400)"] == "30.0"
    assert (rows["linear probe, HMDB51 (ours, s3d on K400)"] == "").sum() == 1


def test_quality_of_mining():
    table = paper_table(4, our_results(run_table(), "built-in", "built-in", "tiny"))
    cpr = row(table, Method="CPR", View="not stated")
    assert cpr[["PMR start, UCF101 (published)", "PMR end, UCF101 (published)"]].tolist() == ["34.0", "40.3"]
    assert cpr["median CMR, UCF101 (published)"] == "83.3"
    assert cpr["classes with the higher CMR, UCF101 (published)"] == "48"
    assert row(table, Method="CPR", View="RGB")["PMR end, built-in (ours, tiny)"] == "50.0"


def test_a_column_without_any_number_is_left_out():
    points = pd.DataFrame({"setting": ["num_stages=7 ratio=0.5", "num_stages=9 ratio=0.5"], "method": "cpr"})
    ours = our_results(points.assign(view="rgb", pmr_end=[0.4, 0.5]), "built-in", "built-in", "tiny")
    table = paper_table(1, ours)
    assert table["Stages"].tolist() == ["1", "3", "5", "7", "7"] and table["Ratio"].tolist() == [""] + ["0.5"] * 4
    assert list(table) == ["Stages", "Ratio", "View", "Published with", "PMR end, built-in (ours, tiny)"]
    assert table["PMR end, built-in (ours, tiny)"].tolist() == [""] * 4 + ["40.0"]
    assert paper_table(2)["Ratio"].tolist() == ["0.5", "0.8"] * 2


def test_two_results_for_one_cell():
    ours = our_results(run_table(), "built-in", "built-in", "tiny")
    with pytest.raises(ValueError, match="duplicate"):
        paper_table(7, pd.concat([ours, ours]))


def test_tables_are_written_as_markdown_and_as_files(tmp_path):
    ours = our_results(run_table(), "built-in", "built-in", "tiny")
    text = published.write_paper_tables(ours, tmp_path)
    assert (tmp_path / "paper.md").read_text() == text and text.count("### Table") == 5
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert ["CPR", "Flow", "S3D, UCF101 (CPR paper)", "", "83.8", "", "54.8"] in [line[:7] for line in lines]
    table = pd.read_csv(tmp_path / "paper_6.csv", dtype=str, keep_default_na=False)
    assert table.equals(paper_table(6, ours))
