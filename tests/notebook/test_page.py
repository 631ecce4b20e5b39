import base64
import re

import nbformat
import pytest
from nbformat import v4

from cprlib.notebook.page import write_page
from tests.pipeline import FETCHES


@pytest.fixture
def page(tmp_path):
    def make(*cells) -> str:
        nbformat.write(v4.new_notebook(cells=list(cells)), tmp_path / "story.ipynb")
        assert write_page(tmp_path / "story.ipynb") == tmp_path / "story.html"
        return (tmp_path / "story.html").read_text()

    return make


def test_formulas_are_rendered_and_code_is_not_changed(page):
    loss = r"-\log\frac{\sum_{p\in P}\exp(q\cdot p/\tau)}{Z}"
    story = f"Loss $${loss}$$ with $K=2048$, for $5 and $6, from `$CPR_DATA/$a`.\n\n"
    text = page(v4.new_markdown_cell(story + "```bash\necho $HOME $HOME\n```\n"))
    drawn = re.findall(r'alt="([^"]*)" src="data:image/svg\+xml;base64,([^"]+)"', text)
    assert [alt for alt, _ in drawn] == [loss, "K=2048"]
    assert all(b"</svg>" in base64.b64decode(data) for _, data in drawn)
    assert "<code>$CPR_DATA/$a</code>" in text and "$5 and $6" in text
    assert "$HOME" in re.sub("<[^>]+>", "", text)
    assert "<p><code>q</code> is" in page(v4.new_markdown_cell(f"## Loss\n$${loss}$$\n`q` is the query."))


def test_formulas_that_cannot_be_rendered_stay_as_they_are(page):
    assert r"$\nosuchmacro{x}$" in page(v4.new_markdown_cell(r"so $\nosuchmacro{x}$ stays"))


def test_nothing_is_fetched_and_widgets_are_left_out(page):
    mime = "application/vnd.jupyter.widget-view+json"
    view = {mime: {"model_id": "m"}, "text/plain": "IntSlider()"}
    pixel = base64.b64encode(b"\x89PNG").decode()
    code = v4.new_code_cell(
        "slider",
        outputs=[
            v4.new_output("display_data", {"image/png": pixel, "text/plain": "<Figure>"}),
            v4.new_output("display_data", view),
        ],
    )
    text = page(v4.new_markdown_cell("# Story"), code)
    assert not FETCHES.search(text)
    assert f"data:image/png;base64,{pixel}" in text
    assert "IntSlider()" not in text and text.count("see the picture above instead") == 1
