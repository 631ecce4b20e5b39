"""Tests in a real browser: notebooks run in JupyterLab as by a user, and the HTML report.

Screenshots go to $CPR_SCREENSHOTS, or to pytest's temporary folder.
"""

import os
import shutil
from pathlib import Path

import nbformat
import pytest

from cprlib.store.files import project_root

pytest.importorskip("playwright", reason="the browser driver is not installed: pip install -e '.[dev]'")
from cprlib.report.html import report
from tests.lab import Lab, Page, find_browser, prepare, start_browser, start_lab

NOTEBOOKS = project_root() / "notebooks"
SMALL = {"toy_recordings": 4, "infonce_epochs": 2, "epochs": 2, "K": 40, "num_stages": 3}  # of the walkthrough


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory):
    """Folder for screenshots."""
    given = os.environ.get("CPR_SCREENSHOTS")
    return Path(given) if given else tmp_path_factory.mktemp("screenshots")


@pytest.fixture(scope="module")
def browser():
    if not find_browser():
        pytest.skip("no Chromium or Chrome: `make browser` installs one, or set CPR_BROWSER to its path")
    with start_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A folder, and the address of a JupyterLab that serves it."""
    folder = tmp_path_factory.mktemp("lab")
    with start_lab(folder) as address:
        yield folder, address


@pytest.fixture
def opened(browser, lab):
    """A function that opens a notebook with other parameters."""
    pages = []

    def open_notebook(name, **parameters):
        folder, address = lab
        pages.append(Lab(browser, address, prepare(NOTEBOOKS / f"{name}.ipynb", folder, **parameters)))
        return pages[-1]

    yield open_notebook
    for page in pages:
        page.close()


def test_a_failing_notebook_is_noticed(browser, lab):
    folder, address = lab
    notebook = nbformat.read(NOTEBOOKS / "07_mining_quality.ipynb", as_version=4)
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in ("1 + 1", "1 / 0", "2 + 2")]
    nbformat.write(notebook, folder / "fails.ipynb")
    opened = Lab(browser, address, "fails")
    opened.run_all(seconds=60)
    (error,) = opened.errors()
    assert "ZeroDivisionError" in error
    opened.close()


@pytest.fixture(scope="module")
def outputs(finished, tmp_path_factory):
    """A copy of the smoke run, into which notebooks and reports write."""
    return shutil.copytree(finished, tmp_path_factory.mktemp("browser") / "outputs")


@pytest.fixture
def smoke_parameters(outputs):
    manifest = str(outputs / "data/toy/manifest.csv")
    return {"outputs": str(outputs), "run": "smoke", "manifest": manifest, "cache": "", "short_side": 36, "cycles": 1}


def check(opened: Page, picture: Path):
    """Check for errors in the notebook and the browser, and take a screenshot."""
    opened.page.screenshot(path=picture)
    assert not opened.errors() and not opened.complaints


@pytest.fixture(scope="module")
def reports(outputs):
    """The report of the smoke run, and the index of all runs."""
    assert report.main([str(outputs / "smoke")]) == 0
    return outputs / "smoke/report.html", outputs / "index.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_is_readable(browser, reports, screenshots, width, scheme):
    for page in reports:
        opened = Page(browser, page.as_uri(), width, 900, scheme)
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
        lightness = opened.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (sum(lightness[:3]) < 384) == (scheme == "dark")
        assert opened.page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth)")
        assert all(url.startswith(("file:", "data:")) for url in opened.requested)
        check(opened, screenshots / f"{page.stem}_{width}_{scheme}.png")
        opened.close()


def test_the_walkthrough_runs_and_its_cascade_follows_the_sliders(opened, screenshots, tmp_path):
    notebook = opened("00_coclr_vs_cpr_walkthrough", outputs=str(tmp_path), **SMALL)
    notebook.run_all(seconds=400)
    explorer = notebook.explorer(0)
    notebook.press(explorer, "query")
    notebook.press(explorer, "stages", "ArrowLeft")
    assert "Flow 54 → RGB 5" in notebook.alt(explorer)  # of 108 rows
    notebook.choose(explorer, "order of views", "RGB → Flow → …")
    assert "RGB 54 → Flow 5" in notebook.alt(explorer)
    notebook.press(explorer, "stages", "End")  # nine stages are impossible with 108 rows: shows the error
    assert "use at most 5 stages" in notebook.picture(explorer)
    notebook.press(explorer, "stages", "Home")
    assert "alert" not in notebook.picture(explorer)
    check(notebook, screenshots / "walkthrough.png")


def test_retrieval_can_be_browsed(opened, screenshots, smoke_parameters):
    notebook = opened("05_retrieval", **smoke_parameters, examples=1)
    notebook.run_all(seconds=120)
    explorer = notebook.explorer(0)
    notebook.press(explorer, "query")
    notebook.press(explorer, "k", "ArrowLeft")
    notebook.choose(explorer, "method", "InfoNCE")
    check(notebook, screenshots / "retrieval.png")


def test_mining_quality_can_be_explored(opened, screenshots, smoke_parameters):
    notebook = opened("07_mining_quality", **smoke_parameters, examples=1, num_stages=3, top_k=2)
    notebook.run_all(seconds=120)
    cascade, embedding = notebook.explorer(0), notebook.explorer(1)
    for slider, key in (
        ("query", "ArrowRight"),
        ("epoch", "ArrowLeft"),
        ("top k", "ArrowRight"),
        ("ratio", "ArrowLeft"),
    ):
        notebook.press(cascade, slider, key)
    notebook.press(embedding, "epoch", "ArrowLeft")
    notebook.choose(embedding, "coloured by", "source")
    notebook.choose(embedding, "network", "coclr_flow_cycle1")
    point = embedding.locator(".at").first
    preview = point.locator(".more")
    assert not preview.is_visible()
    point.focus()  # like the tab key
    assert preview.is_visible()
    check(notebook, screenshots / "mining_quality.png")


def test_search_can_be_queried(opened, screenshots, smoke_parameters, outputs, tmp_path):
    parameters = {name: smoke_parameters[name] for name in ("outputs", "run", "manifest")}
    videos = str(outputs / "data/toy/videos/bounce_bar")
    notebook = opened("10_search", **parameters, videos=videos, index=str(tmp_path / "index"), top=3)
    notebook.run_all(seconds=120)
    explorer = notebook.explorer(0)
    notebook.press(explorer, "top", "ArrowLeft")
    notebook.choose(explorer, "video", max(path.name for path in Path(videos).iterdir()))
    assert explorer.locator("img").count() == 1 + 3 * 4  # the query, and four videos in each view and in both
    check(notebook, screenshots / "search.png")
