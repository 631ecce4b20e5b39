"""Reports and the index page of small run folders, read back with an HTML parser."""

import os
import re
from urllib.parse import unquote

import pandas as pd
import pytest
import yaml

from cprlib.data.manifest import UNLABELLED, Manifest
from cprlib.report.figures.catalogue import figures_of_run
from cprlib.report.html import report
from cprlib.report.html.results import result_sections
from cprlib.report.run import Run
from cprlib.report.tables.comparison import write_comparison
from tests.report_runs import NETWORKS, SETTINGS, Page, make_half, make_network, make_run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of runs with the pages of a finished and a half-finished run."""
    outputs = tmp_path_factory.mktemp("work") / "outputs"
    make_run(outputs)
    make_half(outputs)
    (outputs / "data" / "toy").mkdir(parents=True)  # shared data, not a run
    for name in ("toy", "half"):
        assert report.main([str(outputs / name)]) == 0
    return outputs


@pytest.fixture(scope="module")
def pages(made):
    return {path: Page(path) for path in (made / "toy/report.html", made / "half/report.html", made / "index.html")}


def test_nothing_is_fetched(pages):
    for page in pages.values():
        assert not {"script", "link", "iframe", "object", "form", "video"} & set(page.tags)
        assert all(image["src"].startswith("data:image/") for image in page.images)
        assert not [address for address in page.addresses if re.match(r"(?!data:)(\w+:|//|/)", address)]
        assert "url(" not in page.source and "@import" not in page.source
        policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page.source)[1]
        assert policy.startswith("default-src 'none'") and "script-src" not in policy


def test_relative_links_point_to_files(pages):
    for path, page in pages.items():
        assert page.links
        for link in page.links:
            if link.startswith("#"):
                assert link[1:] in page.ids
            else:
                assert (path.parent / unquote(link)).is_file(), link
    links = [unquote(link) for link in pages[next(iter(pages))].links]
    assert {"../index.html", "notebooks/04_cpr.html", "comparison.csv", "tables/mining.csv"} <= set(links)
    assert "ablation/num_stages=1,K=320/notebooks/04_cpr.html" in links


def test_structure_works_for_screen_readers(pages):
    for page in pages.values():
        levels = [level for level, _ in page.headings]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
        assert all(len(image["alt"]) > 10 and int(image["width"]) > 0 for image in page.images)
        assert set(page.scopes) == {"row", "col"}
        assert all(caption and len({len(row) for row in rows}) == 1 for caption, rows in page.tables.items())
        assert page.open == [] and '<html lang="en">' in page.source and 'name="viewport"' in page.source


def test_numbers_equal_those_of_the_csv(made, pages):
    page = pages[made / "toy/report.html"]
    head, *rows = page.tables["Mining, retrieval and classification, percent"]
    frame = pd.DataFrame(rows, columns=head)
    table = pd.read_csv(made / "toy/comparison.csv")
    assert frame["Method"].tolist() == ["InfoNCE"] * 3 + ["CoCLR"] * 3 + ["CPR"] * 3
    for title, name in {"R@1": "r1", "R@5": "r5", "Median CMR": "cmr_source", "Linear probe": "probe"}.items():
        shown = [float("nan") if cell == "–" else float(cell) for cell in frame[title]]
        assert shown == pytest.approx(100 * table[name], abs=0.05, nan_ok=True)
    assert page.tables["Recall by the number k of neighbours, percent"][1] == ["InfoNCE", "RGB", "31.0", "35.0"]
    probe = page.tables["Share of test videos whose class is named, percent"]
    assert probe[0][2:] == ["Linear probe, top-1", "Linear probe, top-5"]
    assert probe[1] == ["CoCLR", "RGB", "25.0", "90.0"]
    paper = page.tables["Table 1. Ablation: number of stages"]
    assert paper == [["Stages", "PMR < 1 (ours)"], ["1", "37.5"], ["3", ""]]


def test_summary_compares_two_methods(made, pages):
    page = pages[made / "toy/report.html"]
    assert "on the built-in data, seed 3." in page.text
    head, *rows = page.tables["CPR against CoCLR, percent; one run, one seed"]
    assert head == ["Measure", "View", "CoCLR", "CPR", "CPR − CoCLR"]
    assert rows[0] == ["PMR", "RGB", "30.0", "40.0", "+10.0"]
    assert ["R@1", "Both views", "52.0", "47.0", "−5.0"] in rows
    assert ["Linear probe", "RGB", "25.0", "25.0", "0.0"] in rows


def test_any_two_methods_can_be_compared(tmp_path):
    run = make_run(tmp_path)
    assert report.main([str(run), "--compare", "infonce", "cpr"]) == 0
    rows = Page(run / "report.html").tables["InfoNCE against CPR, percent; one run, one seed"]
    assert rows[1] == ["R@1", "RGB", "46.0", "31.0", "−15.0"]


def test_pictures_are_in_their_sections(made, pages):
    page = pages[made / "toy/report.html"]
    alts = [image["alt"] for image in page.images]
    assert len(alts) == 5 and "Panels for PMR" in alts[0]
    folded = page.source[page.source.index('<details id="confusion"') :]
    assert folded[: folded.index("</details>")].count("<img") == 2
    assert "Confusion matrices: 2" in page.text and "My own." in page.text
    order = [text for level, text in page.headings if level == 2]
    assert order.index("Quality of mining") < order.index("Retrieval") < order.index("Configuration")


def test_half_finished(made, pages):
    page = pages[made / "half/report.html"]
    assert "Unfinished: cpr_rgb_cycle1, epoch 2 of 4." in page.text
    rows = {row[0]: row[1:] for row in page.tables["Networks; loss and PMR are those of the last epoch"]}
    assert list(rows)[1:] == NETWORKS
    assert rows["coclr_flow_cycle1"][:4] == ["finished", "4 epochs", "1.700", "33.0"]
    assert rows["cpr_rgb_cycle1"][:4] == ["unfinished", "epoch 2 of 4", "1.900", "31.0"]
    assert rows["cpr_flow_cycle1"] == ["not started", "–", "–", "–", "–"]
    for notebook in ("05_retrieval", "06_classification", "07_mining_quality", "make tables"):
        assert notebook in page.text
    assert not page.images and "start the same command again" in page.text


def test_configuration_and_provenance(tmp_path):
    run = make_run(tmp_path)
    (run / "cpr_flow_cycle1/environment.json").write_text(
        '{"python": "3.12.0", "torch": "2.15.0", "git_commit": "abc"}'
    )
    page = Page(report.write_report(run))
    settings = dict(page.tables["params.yaml"][1:])
    assert settings["methods"] == "infonce, coclr, cpr" and settings["seed"] == "3"
    own = dict(page.tables["Settings of each network that differ from params.yaml or are not in it"][1:])
    assert own["all that have it"] == "tau = 0.07; init = –; num_stages = 1"  # K and epochs are those of params.yaml
    assert own["cpr_rgb_cycle1"] == "method = cpr; view = rgb"
    assert own["ablation/num_stages=1,K=320/cpr_rgb_cycle1"] == "method = cpr; view = rgb; K = 32"
    recorded = dict(page.tables["Recorded by 7 networks at the start of their training"][1:])
    assert recorded == {
        "python": "3.11.7 (6), 3.12.0 (1)",
        "torch": "2.15.0",
        "git_commit": "not recorded (6), abc (1)",
    }


def test_odd_names_are_escaped(tmp_path):
    run = make_run(tmp_path, name="a&b <i>", dataset="<script>alert(1)</script>", evaluated_on="x < y & z")
    assert report.main([str(run)]) == 0
    page, index = Page(run / "report.html"), Page(tmp_path / "index.html")
    assert page.headings[0][1] == "Run a&b <i>" and "on x < y & z" in page.text
    assert not {"script", "i"} & set(page.tags + index.tags)
    assert index.tables["Runs, the last changed first"][1][:2] == ["a&b <i>", "x < y & z"]
    assert all((tmp_path / unquote(link)).is_file() for link in index.links)


def test_index(made, pages):
    page = pages[made / "index.html"]
    head, *rows = page.tables["Runs, the last changed first"]
    cells = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    assert set(cells) == {"toy", "half"}
    assert cells["toy"]["State"] == "finished" and cells["toy"]["Seed"] == "3"
    assert cells["toy"]["PMR, RGB"] == "30.0 → 40.0" and cells["toy"]["Compared"] == "CoCLR → CPR"
    assert cells["toy"]["R@1, all views"] == "52.0 → 47.0"
    assert cells["half"]["State"] == "unfinished: cpr_rgb_cycle1, epoch 2 of 4" and cells["half"]["PMR, RGB"] == "–"
    assert {"toy/report.html", "half/report.html", "toy/notebooks/04_cpr.html"} <= set(page.links)


def test_index_alone_and_its_order(tmp_path, capsys):
    assert report.main(["--outputs", str(tmp_path)]) == 0
    assert "There is no run" in Page(tmp_path / "index.html").text
    for name in ("old", "new"):
        make_run(tmp_path, name)
    for path in (tmp_path / "old").rglob("*"):
        os.utime(path, (1e9, 1e9))
    assert report.main(["--outputs", str(tmp_path)]) == 0
    page = Page(tmp_path / "index.html")
    assert [row[0] for row in page.tables["Runs, the last changed first"][1:]] == ["new", "old"]
    assert "2001-09-09" in page.text and not any(link.endswith("report.html") for link in page.links)
    assert capsys.readouterr().out.split() == [str(tmp_path / "index.html")] * 2


def test_broken_files_are_named(tmp_path, capsys):
    assert report.main(["tyo", "--outputs", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: tyo is no folder of a run")
    run = make_run(tmp_path)
    (run / "params.yaml").write_text("just words")
    assert report.main([str(run)]) == 1
    error = capsys.readouterr().err
    assert "params.yaml: expected lines 'name: value'" in error and error.count("\n") == 1
    other = make_run(tmp_path, "other")
    (other / "tables/retrieval.csv").write_text("method,view\n")
    with pytest.raises(ValueError, match="retrieval.csv has no column k"):
        result_sections(Run(other), None, [])
    # other reports are made, and the index names the problem
    assert report.main([str(make_half(tmp_path))]) == 0
    states = {row[0]: row[3] for row in Page(tmp_path / "index.html").tables["Runs, the last changed first"][1:]}
    assert states["half"].startswith("unfinished") and "params.yaml: expected lines" in states["toy"]


def test_several_seeds(tmp_path):
    runs = [make_run(tmp_path, f"seed{i}") for i in range(2)]
    together = tmp_path / "seeds"
    write_comparison(runs, together)
    page = Page(report.write_report(together))
    rows = page.tables["Mining, retrieval and classification, mean ± standard deviation of 2 runs, percent"]
    assert rows[-2][2] == "20.0 ± 0.0 → 40.0 ± 0.0"  # of CPR in flow
    pairs = page.tables["CPR against CoCLR, percent; mean of 2 runs, the difference ± its standard error"]
    assert pairs[1][-1] == "+10.0 ± 0.0" and "holds results without settings" in page.text
    page = Page(report.write_report(together, ("cpr", "infonce")))  # of means: their errors are unknown
    assert page.tables["CPR against InfoNCE, percent; mean of 2 runs"][1] == ["R@1", "RGB", "31.0", "46.0", "+15.0"]


def test_any_set_of_methods_and_views_works(tmp_path):
    run = make_run(tmp_path, views=["rgb", "flow", "residual"], methods=["infonce", "mine"])
    for path in (run / "tables").glob("*.csv"):
        path.write_text(path.read_text().replace("cpr,", "<mine>,").replace("infonce,flow", "infonce,residual"))
    write_comparison([run], run)
    page = Page(report.write_report(run))
    head, *rows = page.tables["What each view is worth at inference, percent"]
    assert head[:5] == ["Method", "R@1 RGB", "R@1 Flow", "R@1 Residual", "R@1 All views"]
    assert [row[0] for row in rows] == ["InfoNCE", "CoCLR", "<mine>"]
    assert "<mine> against CoCLR, percent; one run, one seed" in page.tables and "mine" not in page.tags


def test_a_run_that_evaluates_networks_of_another(tmp_path):
    make_run(tmp_path)
    judge = tmp_path / "judge"
    judge.mkdir()
    (judge / "params.yaml").write_text(yaml.safe_dump({"pretrained": "toy", "methods": ["cpr"], "dataset": "hmdb51"}))
    text = Page(report.write_report(judge)).text
    assert "evaluates the networks of toy on HMDB51" in text and "07_mining_quality" not in text


def test_without_classes_nothing_is_reported_as_missing_or_measured(tmp_path, toy_manifest):
    videos = Manifest.read(toy_manifest).table.assign(label=0, class_name=UNLABELLED)
    Manifest(videos).write(tmp_path / "plain.csv")
    run = tmp_path / "plain"
    for view in ("rgb", "flow"):
        make_network(run, f"infonce_{view}")
    settings = SETTINGS | {"manifest": str(tmp_path / "plain.csv"), "methods": ["infonce"]}
    (run / "params.yaml").write_text(yaml.safe_dump(settings))
    text = Page(report.write_report(run)).text
    assert "No class is known" in text and "Finished: all 2 networks" in text
    assert "yet" not in text and "points" not in text
    assert list(figures_of_run(run)[1].values()).count("no class is known") == 4
