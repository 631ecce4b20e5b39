"""What a report is made of: the state of a run, its words, its pictures."""

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure
from PIL import Image

from cprlib.report.figures.paper import PaperFigure
from cprlib.report.html import drawings, report
from cprlib.report.html.page import Section, Table
from cprlib.report.html.pictures import describe, encode
from cprlib.report.html.results import read_markdown
from cprlib.report.html.words import duel, duel_words, sentences
from cprlib.report.run_state import networks_of, state_of
from cprlib.report.tables import comparison as tables
from tests.report_runs import NETWORKS, SETTINGS, Page, make_figure, make_half, make_network, make_run, make_tables


def test_words_follow_the_numbers(tmp_path):
    make_tables(tmp_path / "worse", gain=-0.2)
    pairs = duel(tables.run_table(tmp_path / "worse"))
    assert duel_words(pairs).iloc[0].tolist() == ["PMR at the end", "RGB", "30.0", "10.0", "−20.0"]
    numbers, verdict = sentences(pairs, runs=3)
    assert "behind in all 4 numbers" in verdict and "mined worse than one view alone" in verdict
    assert "means over 3 runs" in verdict and "seed" not in verdict
    # a difference that is not shown is none
    table = pd.DataFrame({"method": ["coclr", "cpr"], "view": "both", "r1": [0.50012, 0.50031]})
    assert duel(table).difference.tolist() == [0.0]
    assert "level in the one number" in sentences(duel(table), 1)[1]
    assert sentences(duel(table[:1]), 1) == []


def test_a_picture_twice_is_shown_once(tmp_path):
    run = make_run(tmp_path)
    for name in ("cmr_rgb", "cmr_rgb_by_video"):
        make_figure(run, name, 255)
    page = Page(report.write_report(run))
    assert len(page.images) == 6


def plot(points):
    figure = Figure(figsize=(4, 2))
    figure.subplots().plot(points)
    return figure


def test_figures_of_the_paper_are_drawn(tmp_path, monkeypatch):
    def moved():
        raise FileNotFoundError("videos/a.mp4 is not there; put it back")

    noise = np.random.default_rng(0).normal(size=20_000)
    found = {
        "fig3_pmr": lambda: plot([1, 2]),
        "fig2_mined_rgb_0": lambda: plot(noise),
        "fig2_mined_rgb_1": moved,
        "fig2_mined_rgb_2": moved,
        "fig4_found_rgb": moved,
        "confusion_probe_cpr": moved,  # notebooks have them
        "fig9_new": lambda: plot([1, 2]),
    }
    found = {name: PaperFigure(name, f"Caption of {name}.", drawing) for name, drawing in found.items()}
    monkeypatch.setattr(drawings, "figures_of_run", lambda run: found)
    run = make_run(tmp_path)
    make_figure(run, "mined_flow_0", 77)
    pictures, missing = drawings.all_pictures(run)
    kinds = [(picture.section, picture.uri[11:14], picture.caption) for picture in pictures[:3]]
    assert kinds == [
        ("mining", "svg", "Caption of fig3_pmr."),
        ("mining", "web", "Caption of fig2_mined_rgb_0."),  # too many points for a vector graphic
        ("other", "svg", "Caption of fig9_new."),
    ]
    assert (pictures[0].width, pictures[0].height) == (440, 220)
    assert missing == {"mining": ["Figures are left out: videos/a.mp4 is not there; put it back."]}
    # the notebooks' curves and mined clips are replaced, the rest is kept
    assert [picture.section for picture in pictures[3:]] == ["retrieval", "classification", "classification", "other"]
    assert "videos/a.mp4 is not there" in Page(report.write_report(run)).text


def test_names_of_figures_in_words():
    assert describe("mined_flow_0")[1:3] == ("mining", "What both methods mine for one query, flow network, example 1.")
    assert describe("cmr_rgb_by_source")[2].endswith("share of each class's recordings that were found in one epoch.")
    assert describe("ablation_stages_cmr_source")[2] == "Ablation of the cascade: Median CMR over the number of stages."
    assert describe("confusion_finetune_ubernce_rgb")[2].startswith("Fine-tuned, UberNCE, RGB:")


def test_images_keep_their_pixels(tmp_path):
    rng = np.random.default_rng(0)
    flat = np.zeros((40, 60, 3), np.uint8)
    flat[:, 20:] = rng.integers(0, 255, 3)
    Image.fromarray(flat).save(tmp_path / "flat.png")
    uri, width, height = encode((tmp_path / "flat.png").read_bytes())
    assert (width, height) == (60, 40) and uri.startswith("data:image/webp;base64,")
    with pytest.raises(ValueError, match="cannot be read.*delete it"):
        encode(b"no image")


def test_state_of_runs(tmp_path):
    run = make_half(tmp_path)
    assert state_of(run) == ("unfinished", "cpr_rgb_cycle1, epoch 2 of 4")
    (run / "cpr_rgb_cycle1/metrics.json").write_text('{"epochs": 2}')
    assert state_of(run) == ("unfinished", "5 of 6 networks; next: cpr_flow_cycle1")
    make_network(run, "cpr_flow_cycle1")
    assert state_of(run) == ("unfinished", "all 6 networks; results still to come")
    make_tables(run)
    assert state_of(run) == ("finished", "all 6 networks and the comparison")
    make_network(run, "finetune_cpr_rgb", done=0)  # asked for after all was done
    assert state_of(run) == ("unfinished", "finetune_cpr_rgb, epoch 0 of 4")
    (tmp_path / "planned").mkdir()
    (tmp_path / "planned/params.yaml").write_text(yaml.safe_dump(SETTINGS))
    (run / "comparison.csv").unlink()
    (run / "params.yaml").unlink()
    for path in run.glob("finetune_*"):
        path.rename(tmp_path / path.name)
    assert state_of(run) == ("finished", "all 6 networks")  # nothing asks for a comparison
    assert state_of(tmp_path / "planned") == ("not started", "0 of 6 networks; next: infonce_rgb")


def test_other_kinds_of_networks(tmp_path):
    make_run(tmp_path, networks=NETWORKS[:2], methods=["infonce"])
    (tmp_path / "toy/infonce_rgb/metrics.json").write_text('{"epochs": 0, "released": "/models/CoCLR.pth.tar"}')
    (tmp_path / "toy/infonce_flow/metrics.json").write_text('{"epochs": 0}')
    rgb, flow, point = networks_of(tmp_path / "toy")
    assert (rgb.progress, flow.progress) == ("released weights, CoCLR.pth.tar", "untrained weights")
    assert point.name == "ablation/num_stages=1,K=320/cpr_rgb_cycle1"
    judge = tmp_path / "judge"
    judge.mkdir()
    (judge / "params.yaml").write_text(
        yaml.safe_dump({"pretrained": "toy", "methods": ["infonce"], "dataset": "hmdb51"})
    )
    assert [network.name for network in networks_of(judge)] == ["toy/infonce_rgb", "toy/infonce_flow"]
    text = Page(report.write_report(judge)).text
    assert "judges the networks of toy on HMDB51" in text and "07_mining_quality" not in text


def test_markdown_comes_back(tmp_path):
    words = pd.DataFrame({"Method": ["CPR", "CoCLR"], "R@1": ["1.0", "–"]})
    (tmp_path / "x.md").write_text(f"# One\n\n{tables.to_markdown(words)}\ntext\n{tables.to_markdown(words)}")
    (title, first), (_, second) = read_markdown(tmp_path / "x.md")
    assert title == "One" and first.equals(words) and second.equals(words)


def test_columns_of_numbers_stand_right():
    frame = pd.DataFrame({"A": ["1"], "B": ["1.0 ± 0.2 → 3.0"], "C": ["epoch 3"], "D": ["–"]})
    assert Table("", frame, heads=1).looks == ["name", "number", "text", "number"]
    assert not Section("id", "Title") and Section("id", "Title", missing=["it"])
