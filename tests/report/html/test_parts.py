"""The parts of a report: pictures and tables."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cprlib.report.figures import catalogue
from cprlib.report.html import page as pages
from cprlib.report.html import report
from cprlib.report.html.page import Section, Table, encode, pictures_of
from cprlib.report.run import Run
from tests.report_runs import Page, make_figure, make_run


def test_a_picture_twice_is_shown_once(tmp_path):
    run = make_run(tmp_path)
    for name in ("cmr_rgb_by_source", "cmr_rgb_by_video"):
        make_figure(run, name, 255)
    page = Page(report.write_report(run))
    assert len(page.images) == 6


def figure_of(draw):
    figure = Figure(figsize=(4, 2))
    draw(figure.subplots())
    return figure


def test_figures_are_drawn_or_copied_from_the_notebooks(tmp_path, monkeypatch):
    def moved():
        raise FileNotFoundError("videos/a.mp4 is not there; put it back")

    noise = np.random.default_rng(0).uniform(size=(60, 80))
    drawn = {
        "fig3_mining_curves": ("mining", lambda: figure_of(lambda axes: axes.plot([1, 2]))),
        "fig2_mined_rgb_0": ("mining", lambda: figure_of(lambda axes: axes.imshow(noise))),
        "fig2_mined_flow_0": ("mining", moved),
        "fig5_classes_rgb": ("mining", moved),
        "confusion_probe_cpr_both": ("classification", moved),  # the notebook has drawn it
    }
    figures = [catalogue.Figure(n, section, f"Caption of {n}.", "Alt.", d) for n, (section, d) in drawn.items()]
    monkeypatch.setattr(pages, "figures_of_run", lambda run: (figures, {}))
    run = make_run(tmp_path)
    make_figure(run, "mined_flow_0", 77)
    make_figure(run, "mined_rgb_0", 78)
    pictures, missing = pictures_of(Run(run))
    kinds = [(picture.section, picture.uri[11:14], picture.caption) for picture in pictures[:2]]
    assert kinds == [
        ("mining", "svg", "Caption of fig3_mining_curves."),
        ("mining", "web", "Caption of fig2_mined_rgb_0."),  # photographs are bitmaps
    ]
    assert (pictures[0].width, pictures[0].height) == (440, 220)
    assert missing == {"mining": ["Figures are left out: videos/a.mp4 is not there; put it back."]}
    # drawn figures replace the notebooks' of the same name, the others are kept
    left = [picture.section for picture in pictures[2:]]
    assert left == ["mining", "classification", "classification", "retrieval", "other"]
    assert pictures[2].caption.startswith("Figure 2. ") and "flow network" in pictures[2].caption
    assert "videos/a.mp4 is not there" in Page(report.write_report(run)).text


def test_images_keep_their_pixels(tmp_path):
    rng = np.random.default_rng(0)
    flat = np.zeros((40, 60, 3), np.uint8)
    flat[:, 20:] = rng.integers(0, 255, 3)
    Image.fromarray(flat).save(tmp_path / "flat.png")
    uri, width, height = encode((tmp_path / "flat.png").read_bytes())
    assert (width, height) == (60, 40) and uri.startswith("data:image/webp;base64,")
    with pytest.raises(ValueError, match="^figures/x.png cannot be read; delete it"):
        encode(b"no image", "figures/x.png")


def test_number_columns_are_right_aligned():
    frame = pd.DataFrame({"Method": ["1"], "B": ["1.0 ± 0.2 → 3.0"], "C": ["epoch 3"], "D": ["–"]})
    assert Table("", frame).looks == ["name", "number", "text", "number"]
    assert not Section("id", "Title") and Section("id", "Title", missing=["it"])
