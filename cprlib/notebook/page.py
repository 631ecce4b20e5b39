"""An executed notebook as one HTML file that can be read anywhere, without a network."""

import base64
import html
import io
import re
from pathlib import Path

import nbformat

from cprlib.store.files import atomic_path

# nbconvert's page without the blocks that fetch scripts from elsewhere.
FETCHED = ("html_head_js", "jupyter_widgets", "html_head_js_mathjax", "html_head_js_mermaidjs")
TEMPLATE = "{% extends 'lab/index.html.j2' %}" + "".join(f"{{% block {name} %}}{{% endblock %}}" for name in FETCHED)
WIDGET = "application/vnd.jupyter.widget-view+json"
NOTE = nbformat.v4.new_output(
    "display_data", {"text/html": "<p><em>JupyterLab shows controls here; see the picture above instead.</em></p>"}
)
# Code, which may hold a dollar sign; then display formulas; then inline formulas.
FORMULA = re.compile(r"(?P<code>(`+).+?\2)|\$\$(?P<block>.+?)\$\$|\$(?P<line>\S|\S[^$\n]*\S)\$", re.DOTALL)


def write_page(path: Path) -> Path:
    """Write an executed notebook as an HTML page beside it that needs nothing from the network.

    Formulas become images, widgets a note (a figure precedes each), and images are embedded.
    """
    from nbconvert import HTMLExporter  # here, as the pipeline imports this module at every start

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = FORMULA.sub(_draw_formula, cell.source)
        elif cell.cell_type == "code":
            cell.outputs = [NOTE if WIDGET in output.get("data", ()) else output for output in cell.outputs]
    exporter = HTMLExporter(raw_template=TEMPLATE, embed_images=True)
    resources = {"metadata": {"name": path.stem, "path": str(path.parent)}}
    page, _ = exporter.from_notebook_node(notebook, resources)
    with atomic_path(path.with_suffix(".html")) as tmp:
        tmp.write_text(page)
    return path.with_suffix(".html")


def _draw_formula(match: re.Match) -> str:
    """An image in place of a LaTeX formula; what matplotlib cannot set stays as it is."""
    tex = match["block"] or match["line"]
    if match["code"]:
        return match[0]
    drawn = tex.replace(r"\frac", r"\dfrac") if match["block"] else tex  # as large as LaTeX sets it there
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import math_to_image

    image = io.BytesIO()
    try:
        depth = math_to_image(f"${' '.join(drawn.split())}$", image, prop=FontProperties(size=10.5), format="svg")
    except ValueError:
        return match[0]
    data = base64.b64encode(image.getvalue()).decode()
    style = "display:block; margin:1ex auto" if match["block"] else f"vertical-align:-{depth:.1f}pt"
    alt = html.escape(tex).replace("|", "&#124;")  # a bar would end a cell of a Markdown table
    gap = "\n\n" if match["block"] else ""  # otherwise a line of text below it would be taken for HTML
    return f'{gap}<img style="{style}" alt="{alt}" src="data:image/svg+xml;base64,{data}">{gap}'
