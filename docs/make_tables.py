"""Make the tables of README and docs from docs/results.csv, and the speed tables from bench/results/speed.csv.

    python -m docs.make_tables [--check]

A page names a table, and everything up to the end mark is generated:

    <!-- table: means ucf101-12 -->
    <!-- end -->

`results.csv` has one row per number: dataset, run, seed, method, stages, cycle, epoch, view, measure, value (in
percent), command, date. Runs that differ only in their seed are called `<run>-seed<n>`.
"""

import argparse
import itertools
import re
import sys
from pathlib import Path

import pandas as pd

from cprlib.methods import MEASURES
from cprlib.report.names import method_look, method_order, view_label, view_order
from docs import speed_tables

DOCS = Path(__file__).parent
PAGES = (DOCS.parent / "README.md", DOCS / "results.md", DOCS / "speed.md")
LEFT = ("Method", "View", "Setting", "Loss", "Positives", "What is other", "Speed", "Agreement")  # columns
COLUMNS = "dataset run seed method stages cycle epoch view measure value command date".split()
SHOWN = ("r1", "r5", "probe", "finetune", "pmr", "cmr")
LABELS = {name: MEASURES[name].label for name in ("r1", "r5", "r10", "probe", "finetune")}
LABELS |= {"pmr": "PMR", "cmr": "Median CMR", "r20": "R@20"}
BLOCK = re.compile(r"(<!-- table: (\w+) ([^\n]*?) -->\n).*?(<!-- end -->)", re.DOTALL)
KINDS = {  # of bench.oracles, best last
    "random": "any other video",
    "thing": "right thing, another motion",
    "motion": "right motion, another thing",
    "siblings": "none but the siblings",
    "right-50": "right class, every second one; the others random",
    "right-nearest": "right class, the nearest",
    "right-farthest": "right class, the farthest",
    "right": "right class",
}
POINTS = {  # of bench.when; "toy" is the demo, after its first cycle or its second
    "toy": "as in the demo, first cycle",
    "toy,cycles=2": "as in the demo, two cycles",
    "siblings=ignore": "siblings are no positives",
    "loss=supervised": "each positive is pulled on its own",
    "siblings=ignore,loss=supervised": "both of these",
    "CAMERA=0.6": "camera moves four times as much",
    "start=15": "InfoNCE for 15 epochs, not 60",
    "classes=9": "9 classes, not 18",
    "top_k=1": "1 positive, not 5",
    "top_k_phases=[1,3,5],epochs=13,lr_milestones=[10]": "1, 3 and 5 positives, 13 epochs each",
    "drop_self_positive=0": "the own key is always a positive",
    "drop_self_positive=0,cycles=2": "the same, two cycles",
    "num_stages=3": "3 stages, the last in the frozen view",
    "num_stages=4": "4 stages, the last in the trained view",
    "num_stages=7,ratio=0.6": "7 stages, keeping six in ten",
}
POINTS |= {f"K={n},cycles=2": f"a memory of {n} rows, not 256, two cycles" for n in (128, 192, 320)}
VARIANTS = {  # of bench.iic, by the suffix of a series
    "-phases": ", top-k 1, 3, 5",
    "-loss=nce": ", NCE",
    "-loss=nce-lr=0.0001": ", NCE, a tenth of the rate",
    "-intra=shuffle": ", segments shuffled",
    "-keeps=[100, 50]": ", keeps 100, then 50",
}
STEPS = {  # runs of the table of steps
    "before": "before: own older keys are negatives",
    "own": "own older keys ignored",
    "bn4": "and batch norm in 4 groups",
    "bn8": "and batch norm in 8 groups",
}


def read(path: Path = DOCS / "results.csv") -> pd.DataFrame:
    """The numbers, with a column `series`: the run without its seed."""
    table = pd.read_csv(path)
    return table[COLUMNS].assign(series=table["run"].str.replace(r"-seed\d+$", "", regex=True))


def means(numbers: pd.DataFrame, shown: tuple[str, ...] = SHOWN) -> pd.DataFrame:
    """A row for each method and view at its last cycle: mean ± standard deviation over the seeds."""
    last = numbers[numbers["cycle"] == numbers.groupby(["method", "stages"])["cycle"].transform("max")]
    groups = last.groupby(["method", "stages", "view", "measure"])["value"]
    cells = groups.agg(_mean_and_spread).unstack("measure")
    cells = cells[[name for name in shown if name in cells]].reset_index()
    order = {"method": method_order, "view": view_order, "stages": lambda stages: stages}
    cells = cells.sort_values(["method", "stages", "view"], key=lambda c: c.map(order[c.name]))
    seeds = last.groupby(["method", "stages"])["seed"].nunique()
    names = [_name(row.method, row.stages, numbers) for row in cells.itertuples()]
    words = {"Method": names, "View": [view_label(view) for view in cells["view"]]}
    words["Seeds"] = [str(seeds[row.method, row.stages]) for row in cells.itertuples()]
    return pd.DataFrame(words | {LABELS[n]: cells[n].fillna("").tolist() for n in shown if n in cells})


def beside(numbers: pd.DataFrame) -> pd.DataFrame:
    """CoCLR, CPR, IIC and IIC + CPR, in one phase and in several: the measures of the paper's tables 3 and 5."""
    shown, tables = ("r1", "r5", "r10", "r20", "probe", "pmr"), []
    for _, part in numbers.groupby("series"):
        table = means(part[part["method"].isin(["coclr", "cpr", "iic", "iic_cpr"])], shown)
        series = part["series"].iloc[0]
        variant = "".join(words for end, words in VARIANTS.items() if series.endswith(end))
        tables.append(table.assign(Method=table["Method"] + variant))
    return pd.concat(tables).fillna("")


def differences(numbers: pd.DataFrame) -> pd.DataFrame:
    """CPR − CoCLR within each seed: mean ± standard error; bold where it is larger than twice that."""
    both = numbers[numbers["method"].isin(["cpr", "coclr"])]
    pairs = both.pivot_table("value", ["cycle", "view", "measure", "seed"], "method").dropna()
    groups = (pairs["cpr"] - pairs["coclr"]).groupby(level=["cycle", "view", "measure"])
    cells = groups.agg(_difference).unstack("measure")
    cells = cells[[name for name in SHOWN if name in cells]].reset_index()
    cells = cells.sort_values(["cycle", "view"], key=lambda c: c.map(view_order) if c.name == "view" else c)
    words = {"After cycle": cells["cycle"].map(str), "View": [view_label(view) for view in cells["view"]]}
    return pd.DataFrame(words | {LABELS[n]: cells[n].fillna("").tolist() for n in SHOWN if n in cells})


def steps(numbers: pd.DataFrame) -> pd.DataFrame:
    """The effect of a step's settings: R@1, probe and PMR of each method, mean ± standard deviation."""
    numbers = numbers[numbers["measure"].isin(["r1", "probe", "pmr"])]
    rows = []
    for series, label in STEPS.items():
        part = numbers[numbers["series"] == f"steps-{series}"]
        for method in sorted(set(part["method"]) & {"infonce", "coclr", "cpr"}, key=method_order):
            groups = part[part["method"] == method].groupby(["measure", "view"])["value"].agg(_mean_and_spread)
            cells = {f"{LABELS[m]} {view_label(v)}": groups.get((m, v), "") for m in ("r1", "probe", "pmr")
                     for v in VIEWS if (m, v) != ("pmr", "both")}  # fmt: skip
            rows.append({"Setting": label, "Method": method_look(method).label, **cells})
    return pd.DataFrame(rows)


def labels(numbers: pd.DataFrame) -> pd.DataFrame:
    """The two losses of UberNCE."""
    names = {"steps-own": "mean of log-probabilities (released)", "steps-ubermi": "multi-instance (Eq. 2)"}
    part = numbers[(numbers["method"] == "ubernce") & numbers["measure"].isin(["r1", "probe"])]
    rows = []
    for series, label in names.items():
        groups = part[part["series"] == series].groupby(["measure", "view"])["value"].agg(_mean_and_spread)
        rows.append({"Loss": label} | {f"{LABELS[m]} {view_label(v)}": cell for (m, v), cell in groups.items()})
    return pd.DataFrame(rows).fillna("")


def oracles(numbers: pd.DataFrame) -> pd.DataFrame:
    """The value of each kind of positive: R@1 and probe after one cycle, mean over the seeds."""
    found = pd.read_csv(DOCS / "oracles.csv")
    start = numbers[(numbers["method"] == "infonce") & numbers["seed"].isin(found["seed"])].assign(kind="start")
    table = pd.concat([start, found])
    cells = table.pivot_table("value", "kind", ["measure", "view"])
    rows = []
    for kind, label in {"start": "InfoNCE, before", **KINDS}.items():
        if kind in cells.index:
            values = {f"{LABELS[m]} {view_label(v)}": f"{cells.loc[kind, (m, v)]:.1f}" for m in ("r1", "probe")
                      for v in VIEWS}  # fmt: skip
            rows.append({"Positives": label, "Seeds": table[table["kind"] == kind]["seed"].nunique(), **values})
    return pd.DataFrame(rows)


def when(numbers: pd.DataFrame) -> pd.DataFrame:
    """CoCLR → CPR and their paired difference, one row per change from the demo."""
    pairs = paired(numbers)
    rows = []
    for point, label in POINTS.items():
        if point not in pairs.index.get_level_values("point"):
            continue
        cells = {"Seeds": len(pairs.loc[(point, "r1", "rgb")])}
        for measure, view in [*itertools.product(("r1",), VIEWS), ("probe", "both"), ("pmr", "rgb"), ("pmr", "flow")]:
            two = pairs.loc[(point, measure, view)]
            both = f"{two['coclr'].mean():.1f} → {two['cpr'].mean():.1f}"
            cells[f"{LABELS[measure]} {view_label(view)}"] = f"{both} ({_difference(two['cpr'] - two['coclr'])})"
        rows.append({"What is other": label, **cells})
    return pd.DataFrame(rows)


def paired(numbers: pd.DataFrame) -> pd.DataFrame:
    """Columns coclr and cpr over (point, measure, view, seed).

    Points that change only the cascade use the demo's CoCLR.
    """
    point = numbers["series"].str.removeprefix("when-")
    numbers = numbers.assign(point=point.mask((point == "toy") & (numbers["cycle"] == 2), "toy,cycles=2"))
    numbers = numbers[numbers["point"].isin(POINTS)]
    table = numbers.pivot_table("value", ["point", "measure", "view", "seed"], "method")[["coclr", "cpr"]]
    demo = table["coclr"].xs("toy").reindex(table.index.droplevel("point"))
    return table.assign(coclr=table["coclr"].fillna(pd.Series(demo.to_numpy(), table.index))).dropna()


def _mean_and_spread(values: pd.Series) -> str:
    return f"{values.mean():.1f}" + (f" ± {values.std():.1f}" if len(values) > 1 else "")


def _difference(values: pd.Series) -> str:
    if len(values) < 2:
        return f"{values.mean():+.1f}".replace("-", "−")
    text = f"{values.mean():+.1f} ± {values.sem():.1f}".replace("-", "−")
    return f"**{text}**" if abs(values.mean()) > 2 * values.sem() else text


def _name(method: str, stages: int, numbers: pd.DataFrame) -> str:
    several = numbers.loc[numbers["method"] == method, "stages"].nunique() > 1 or method == "cpr"
    return method_look(method).label + (f", {stages:.0f} stages" if several else "")


VIEWS = ("rgb", "flow", "both")
TABLES = {
    "oracles": oracles,
    "when": when,
    "means": means,
    "beside": beside,
    "differences": differences,
    "steps": steps,
    "labels": labels,
    "ratios": speed_tables.ratios,
    "speed": speed_tables.speed,
}


def filled(text: str, numbers: pd.DataFrame) -> str:
    """A page with regenerated tables; a mark names the table, then the series of runs."""

    def fill(match: re.Match) -> str:
        start, kind, series, end = match.groups()
        part = numbers[numbers["series"].str.fullmatch(series)]
        if part.empty:
            raise ValueError(f"docs/results.csv has no run {series!r}, which a table asks for")
        words = TABLES[kind](part)
        align = ["left" if name in LEFT else "right" for name in words]
        return f"{start}{words.to_markdown(index=False, disable_numparse=True, colalign=align)}\n{end}"

    return BLOCK.sub(fill, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only name the pages that are out of date")
    check, numbers, stale = parser.parse_args().check, read(), []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        made = filled(text, numbers)
        stale += [page.name] if made != text else []
        if not check:
            page.write_text(made, encoding="utf-8")
    if check and stale:
        sys.exit(f"out of date with docs/results.csv: {', '.join(stale)}; run python -m docs.make_tables")


if __name__ == "__main__":
    main()
