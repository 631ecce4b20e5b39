"""Make the pictures of README and docs: `make pictures`.

`python -m docs.make_pictures cotraining why classes` draws those that need no run, `screenshots` those of the run of
`make demo`. The others need three seeds of the built-in data, from `make tables` and the same with
`ARGS="--config run=toy-seed1 seed=1"` and `run=toy-seed2 seed=2`, and the run of notebook 00. Examples are the first of
a random draw, not hand-picked.
"""

import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from matplotlib import rc_context
from PIL import Image

from cprlib.data.flow import estimate
from cprlib.data.manifest import Manifest
from cprlib.report.figures.cascade_view import cascade_figure, typical_query
from cprlib.report.figures.catalogue import figures_of_run
from cprlib.report.figures.curves import ablation_curves, cotraining_curves
from cprlib.report.figures.flow_view import look, looping_bytes
from cprlib.report.figures.strips import thumbnails
from cprlib.report.figures.style import RC, WIDTH, new_figure, save_figure
from cprlib.report.html.report import write_report
from cprlib.report.names import view_label
from cprlib.report.run import Run
from cprlib.store.files import atomic_path, project_root, resolve
from data_prep.toy_actions import CLASSES, render
from docs import make_tables
from tests.lab import Lab, Page, prepare, start_browser, start_lab

RUN, LESSON = resolve("outputs/toy"), resolve("outputs/walkthrough")
SEEDS = (RUN, resolve("outputs/toy-seed1"), resolve("outputs/toy-seed2"))
PICTURES = project_root() / "docs/pictures"
COPIED = {  # figure of the paper -> name of the picture
    "fig1_cascade_rgb": "cascade",
    "fig2_mined_rgb_0": "mined",
    "fig3_mining_curves": "mining_curves",
}
VIEW_COLOURS = {"rgb": "#0072b2", "flow": "#d55e00", "both": "#222222"}
VIDEO = "slide_ball_g01_c01"


def figures() -> None:
    """Figures of the run, the funnel of the explorer, and the ablation over all seeds."""
    run = Run(RUN)
    drawn = {figure.name: figure.draw for figure in figures_of_run(run)[0]}
    for name, picture in COPIED.items():
        _keep(save_figure(drawn[name](), PICTURES, picture)[0])
    memory, stages = run.cascade("rgb")
    query, pictures = typical_query(memory, stages), thumbnails(run.manifest, run.frames("rgb"))
    funnel = cascade_figure(memory, stages, query, run.manifest.class_names, pictures)
    _keep(save_figure(funnel, PICTURES, "funnel")[0])
    points = pd.concat([pd.read_csv(run / "tables/ablation.csv") for run in SEEDS])
    _keep(save_figure(ablation_curves(points, "pmr_end"), PICTURES, "ablation_stages")[0])


def cotraining() -> None:
    """R@1 over co-training, from docs/cotraining.csv: mean and spread over the seeds, CPR with five stages."""
    table = pd.read_csv(project_root() / "docs/cotraining.csv")
    table = table[table["stages"].isin([1, 5])]
    names = {"built-in, own key kept": "Built-in, own key kept", "built-in": "Built-in data", "ucf101-12": "UCF101-12"}
    parts = {name: table[table["dataset"] == key] for key, name in names.items() if (table["dataset"] == key).any()}
    _keep(save_figure(cotraining_curves(*parts.values(), titles=list(parts)), PICTURES, "cotraining")[0])


@rc_context(RC)
def why() -> None:
    """R@1 on the built-in data: above, the value of each kind of positive; below, where the cascade helps."""
    numbers, views = make_tables.read(), make_tables.VIEWS
    figure = new_figure(WIDTH, 6.6)
    worth, helps = figure.subplots(2, 1)
    found = pd.read_csv(make_tables.DOCS / "oracles.csv").query("measure == 'r1'")
    values = found.pivot_table("value", "kind", "view")
    kinds = [kind for kind in reversed(make_tables.KINDS) if kind in values.index]
    pairs = make_tables.paired(numbers).xs("r1", level="measure")
    gain = (pairs["cpr"] - pairs["coclr"]).rename("gain").reset_index()
    points = [point for point in reversed(make_tables.POINTS) if point in set(gain["point"])]
    start = numbers[
        (numbers["method"] == "infonce")
        & (numbers["series"] == "toy")
        & numbers["seed"].isin(found["seed"])
        & (numbers["measure"] == "r1")
    ]
    for number, view in enumerate(views):
        look = {"color": VIEW_COLOURS[view], "marker": "os^"[number], "linestyle": ""}
        shift = 0.22 * (1 - number)
        worth.plot(values.loc[kinds, view], [n + shift for n in range(len(kinds))], label=view_label(view), **look)
        worth.axvline(start[start["view"] == view]["value"].mean(), color=look["color"], linewidth=1, linestyle=":")
        part = gain[gain["view"] == view]
        rows = [points.index(point) + shift for point in part["point"]]
        helps.plot(part["gain"], rows, alpha=0.35, markersize=4, **look)
        means = part.groupby("point")["gain"].mean()
        helps.plot(means[points], [n + shift for n in range(len(points))], markersize=8, **look)
    helps.axvline(0, color="#555555", linewidth=1)
    worth.set_yticks(range(len(kinds)), [make_tables.KINDS[kind] for kind in kinds])
    helps.set_yticks(range(len(points)), [make_tables.POINTS[point] for point in points])
    worth.set(title="What a positive is worth", xlabel="R@1 after a cycle; dotted: before")
    helps.set(title="When the cascade helps", xlabel="R@1, CPR − CoCLR; small: each seed")
    figure.legend(*worth.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    _keep(save_figure(figure, PICTURES, "why")[0])


def flow() -> None:
    """A clip beside its flow, moving."""
    seen = look(Manifest.read(resolve("outputs/data/toy/manifest.csv")), VIDEO)
    with atomic_path(PICTURES / "flow.webp") as tmp:
        tmp.write_bytes(looping_bytes({"rgb": seen.frames, "flow": seen.flow}))


def classes() -> None:
    """A frame of every class of the built-in data beside its flow, from its first recording."""
    sheet = Image.new("RGB", (6 * 166, 3 * 64), "white")
    for number in range(len(CLASSES)):
        frames = render(number, 0, 0)[:24]
        clip = {"rgb": frames[:-1], "flow": estimate(frames, "dis")}
        picture = Image.open(io.BytesIO(looping_bytes(clip, height=60, quality=95, still=True)))
        sheet.paste(picture.crop((0, 0, 162, 60)), (number // 3 * 166, number % 3 * 64))
    with atomic_path(PICTURES / "classes.png") as tmp:
        sheet.save(tmp)
    _keep(PICTURES / "classes.png")


def screenshots() -> None:
    """The explorers of walkthrough and search in JupyterLab, and the report on a desktop and on a phone."""
    report = write_report(RUN).as_uri()
    with TemporaryDirectory(prefix="cprlib-") as folder, start_browser() as browser, start_lab(Path(folder)) as address:
        notebook = prepare(project_root() / "notebooks/00_coclr_vs_cpr_walkthrough.ipynb", Path(folder))
        lab = Lab(browser, address, notebook)
        lab.run_all(seconds=900)  # trains what is missing
        if lab.errors():
            sys.exit(f"error: the walkthrough failed: {lab.errors()[0]}")
        explorer = lab.explorer(0)
        lab.press(explorer, "query", seconds=120)
        lab.page.get_by_role("menuitem", name="View", exact=True).click()
        lab.page.keyboard.press("Escape")
        explorer.evaluate("element => element.scrollIntoView()")
        lab.page.screenshot(path=PICTURES / "explorer.png")
        search = Lab(browser, address, prepare(project_root() / "notebooks/10_search.ipynb", Path(folder)))
        search.run_all(seconds=240)
        search.explorer(0).evaluate("element => element.scrollIntoView()")
        search.page.screenshot(path=PICTURES / "search.png")
        desk, phone = Page(browser, report, 1100, 800), Page(browser, report, 390, 800, "dark")
        both = [Image.open(io.BytesIO(page.page.screenshot())) for page in (desk, phone)]
    side_by_side = Image.new("RGB", (1100 + 20 + 390, 800), "white")
    side_by_side.paste(both[0], (0, 0))
    side_by_side.paste(both[1], (1120, 0))
    side_by_side.save(PICTURES / "report.png")
    for name in ("explorer", "search", "report"):
        _keep(PICTURES / f"{name}.png")


def _keep(path: Path) -> None:
    """Convert a picture to a palette, which makes it a third as large."""
    image = Image.open(path).convert("RGB").quantize(256)
    with atomic_path(path) as tmp:
        image.save(tmp, optimize=True)


def main() -> None:
    if sys.argv[1:]:
        known = {"cotraining": cotraining, "why": why, "classes": classes, "screenshots": screenshots}
        if other := {*sys.argv[1:]} - {*known}:
            sys.exit(f"error: no picture {min(other)!r}; there are {', '.join(known)}")
        for name in sys.argv[1:]:
            known[name]()
        return
    needed = {run / "tables/ablation.csv": "make tables, for each seed" for run in SEEDS}
    needed[LESSON / "cpr_rgb_cycle1/metrics.json"] = "notebook 00"
    for path, command in needed.items():
        if not path.exists():
            sys.exit(f"error: no {path}: run {command} first (see docs/make_pictures.py)")
    figures()
    cotraining()
    why()
    flow()
    classes()
    screenshots()
    for path in sorted(PICTURES.iterdir()):
        print(f"{path.stat().st_size / 1000:7.0f} kB  {path.relative_to(project_root())}")


if __name__ == "__main__":
    main()
