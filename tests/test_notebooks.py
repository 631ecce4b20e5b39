"""The notebooks in git: short, more text than code, with a card in front."""

import ast
import re

import nbformat
import pytest

from cprlib.store.files import project_root

NOTEBOOKS = sorted((project_root() / "notebooks").glob("*.ipynb"))


def cells_of(path, kind):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_short_and_has_a_card(path):
    notebook = nbformat.read(path, as_version=4)
    code = "\n".join(cell.source for cell in cells_of(path, "code"))
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(notebook.cells) <= 25 and len(lines) <= 120
    for node in ast.walk(ast.parse(code)):
        assert not isinstance(node, ast.ClassDef), node.name
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 10, node.name
    card = notebook.cells[0].source
    assert all(f"| **{row}** |" in card for row in ("Purpose", "Needs", "Makes", "Time", "Paper"))
    assert notebook.cells[1].metadata.tags == ["parameters"]


def test_the_walkthrough_has_more_text_than_code():
    path = NOTEBOOKS[0]
    prose, code = (sum(len(cell.source) for cell in cells_of(path, kind)) for kind in ("markdown", "code"))
    assert path.stem.startswith("00_") and prose >= 0.4 * (prose + code)
    _, *parts = re.split(
        r"^## \d · ", "\n".join(cell.source for cell in cells_of(path, "markdown")), flags=re.MULTILINE
    )
    assert len(parts) == 7 and all("<details><summary><b>Question" in part for part in parts)
