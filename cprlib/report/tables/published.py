"""Tables 1, 2, 4, 6 and 7 of the CPR paper with our results beside the published numbers.

`docs/published.csv` has a row for each published number that we found, with its source, and a row without a value for
each cell that the paper has but no public text shows. Its columns: `table` of the CPR paper ("" if unknown),
`setting` (the point of an ablation, e.g. "num_stages=5 ratio=0.8"), `method` (a name of METHODS if it is implemented
here), `backbone`, `pretrained_on` ("none" for no pretraining), `views` (rgb, flow, both, "" if not stated),
`evaluated_on`, `protocol` (retrieval, probe, finetune, mining), `measure`, `value` (percent, or a count of classes),
`source`, `note`. Our results are tables with the same columns and `spread`.

We **infer** from the abstract which table is which: 1 and 2 are the ablations, 4 the quality of mining, 6 and 7 the
comparisons with other work. Most numbers of other methods come from papers that repeat them.
"""

from pathlib import Path

import pandas as pd

from cprlib.methods import MEASURES
from cprlib.report.names import measures, method_look, method_order, view_label, view_order
from cprlib.report.tables.text import percent, to_markdown, write_texts
from cprlib.store.files import resolve

PUBLISHED = Path(__file__).parents[3] / "docs" / "published.csv"
COLUMNS = ["table", "setting", "method", "backbone", "pretrained_on", "views"]
COLUMNS += ["evaluated_on", "protocol", "measure", "value", "source", "note"]
TITLES = {
    1: "Ablation: number of stages",
    2: "Ablation: selection ratio at 5 and 7 stages",
    4: "Quality of mining",
    6: "Action recognition, compared with others",
    7: "Video retrieval, compared with others",
}
# our measure -> protocol and measure as they are called in published.csv
_NAMES = {"pmr_start": "PMR start", "pmr_end": "PMR end", "mining_r1": "Mining R@1"}
_NAMES |= {"cmr_source": "median CMR", "cmr_video": "median CMR by video"}
OURS = {name: ("mining", title) for name, title in _NAMES.items()}
OURS |= {name: ("retrieval", MEASURES[name].label) for name in measures("retrieval")}
OURS |= {name: (name, "top-1") for name in ("probe", "finetune")}
_ABLATION = [OURS[name] for name in ("pmr_end", "mining_r1", "cmr_source", "r1", "probe", "finetune")]
_COUNTS = [("mining", "classes with the higher CMR"), ("mining", "classes at CMR 100")]
SHOWN = {1: _ABLATION, 2: _ABLATION, 4: [OURS[name] for name in _NAMES] + _COUNTS}
SHOWN |= {6: [OURS["probe"], OURS["finetune"]], 7: [("retrieval", f"R@{k}") for k in (1, 5, 10, 20)]}
_ROW = ["setting", "method", "views", "backbone", "pretrained_on"]  # what identifies a row of a table


def read_published() -> pd.DataFrame:
    """The published numbers: `COLUMNS`, all strings except `value`, which is NaN if no text shows the number."""
    frame = pd.read_csv(PUBLISHED, dtype=str, keep_default_na=False)
    return frame[COLUMNS].assign(value=pd.to_numeric(frame["value"]))


def our_results(table: pd.DataFrame, evaluated_on: str, pretrained_on: str, backbone: str) -> pd.DataFrame:
    """Our numbers as rows like those of `docs/published.csv`.

    Args:
        table: from `run_table` or `comparison_table`; may have a column `setting`, the point of an ablation.
        evaluated_on: data of retrieval and classification, e.g. "built-in", "UCF101", "HMDB51".
        pretrained_on: data of pretraining; mining is always measured on it.

    Returns:
        `COLUMNS` and `spread`, in percent; missing numbers have no row.
    """
    rows = []
    for row in table.to_dict("records"):
        same = {"table": "", "setting": row.get("setting", ""), "method": row["method"], "views": row["view"]}
        same |= {"backbone": backbone, "pretrained_on": pretrained_on, "source": "ours", "note": ""}
        for name, (protocol, measure) in OURS.items():
            if pd.notna(row.get(name)):
                numbers = {"value": 100 * row[name], "spread": 100 * row.get(f"{name}_std", float("nan"))}
                where = {"evaluated_on": pretrained_on if protocol == "mining" else evaluated_on}
                rows.append(same | where | {"protocol": protocol, "measure": measure} | numbers)
    return pd.DataFrame(rows, columns=[*COLUMNS, "spread"])


def paper_table(number: int, ours: pd.DataFrame | None = None) -> pd.DataFrame:
    """A table of the CPR paper as text, with our numbers in columns beside the published ones.

    A row is a method (tables 1 and 2: a setting) and view with the backbone and pretraining it was published with. Our
    numbers go into the row of their method and view with the same pretraining, else into that with UCF101, else into a
    row of their own. No column mixes published numbers and ours; a column without any number is left out.

    Args:
        number: 1, 2, 4, 6 or 7; see `TITLES`.
        ours: from `our_results` and `ablation_results`; settings that the paper's table lacks are left out.
    """
    published = read_published()
    belongs = published["table"] == str(number) if number in (1, 2) else published["setting"] == ""
    published = _shown(published[belongs].assign(owner="published", spread=float("nan")), number)
    cells = published
    if ours is not None:
        ours = ours[ours["setting"].isin(published["setting"])]
        cells = pd.concat([published, _shown(_in_published_rows(ours, published), number)])
    titles = cells.loc[cells["text"] != "", "title"].unique()
    wide = cells.pivot(index=_ROW, columns="title", values="text").reindex(columns=titles).fillna("")
    settings = list(published["setting"])
    wide = wide.loc[sorted(wide.index, key=lambda row: (settings.index(row[0]), *_row_order(row)))]
    sources = published.groupby(_ROW)["source"].unique().map("; ".join).to_dict()
    labels = pd.DataFrame([_labels(row, number, sources.get(row, "")) for row in wide.index])
    return labels.join(wide.reset_index(drop=True))


def write_paper_tables(ours: pd.DataFrame, folder: str | Path) -> str:
    """Write all tables as `paper.md` and, a file each, as `paper_<number>.csv`; returns the markdown."""
    tables = {number: paper_table(number, ours) for number in TITLES}
    text = "\n".join(f"### Table {n}. {TITLES[n]}\n\n{to_markdown(table)}" for n, table in tables.items())
    files = {f"paper_{n}.csv": table.to_csv(index=False) for n, table in tables.items()}
    write_texts(resolve(folder), files | {"paper.md": text})
    return text


def _shown(frame: pd.DataFrame, number: int) -> pd.DataFrame:
    """The cells of a table, in the order of its columns (by data set, then by measure), with their titles and texts."""
    columns = pd.DataFrame(SHOWN[number], columns=["protocol", "measure"]).reset_index(names="place")
    frame = frame.assign(dataset=pd.factorize(frame["evaluated_on"])[0]).merge(columns)
    frame = frame.sort_values(["dataset", "place"], kind="stable", ignore_index=True)
    names = frame["protocol"].map({"probe": "linear probe", "finetune": "fine-tuned"}).fillna(frame["measure"])
    texts = [percent(row.value / 100, row.spread / 100, "") for row in frame.itertuples()]
    counts = frame["measure"].str.startswith("classes")  # of classes: no decimal
    texts = pd.Series(texts, dtype=str).where(~counts, lambda text: text.str.removesuffix(".0"))
    return frame.assign(title=names + ", " + frame["evaluated_on"] + " (" + frame["owner"] + ")", text=texts)


def _in_published_rows(ours: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Our numbers with backbone and pretraining of the published row they go into, and an owner for their columns."""
    rows, placed = published[_ROW].drop_duplicates().to_dict("records"), []
    for cell in ours.to_dict("records"):
        trained = cell["pretrained_on"]
        same = [row for row in rows if all(row[name] == cell[name] for name in _ROW[:3])]
        best = min(same, key=lambda r, t=trained: (r["pretrained_on"] != t, r["pretrained_on"] != "UCF101"), default={})
        owner = f"ours, {cell['backbone']}" + ("" if trained == cell["evaluated_on"] else f" on {trained}")
        placed.append(cell | {name: best.get(name, "") for name in _ROW[3:]} | {"owner": owner})
    return pd.DataFrame(placed, columns=[*ours, "owner"])


def _row_order(row: tuple[str, ...]) -> tuple:
    """Sort key of the rows of a setting: by method, without transfer first, by view ("not stated" first), the rest."""
    _, method, view, *training = row
    return method_order(method), training[1] not in ("", "none", "UCF101"), bool(view), view_order(view), training


def _labels(row: tuple[str, ...], number: int, source: str) -> dict[str, str]:
    setting, method, view, *training = row
    settings = dict(part.split("=") for part in setting.split())
    names = {"Method": method_look(method).label}
    if number in (1, 2):
        names = {"Stages": settings.get("num_stages", ""), "Ratio": settings.get("ratio", "")}
    training = ", ".join(filter(None, training)).replace("none", "no pretraining")
    with_ = f"{training} ({source})" if source else ""
    return names | {"View": view_label(view) or "not stated", "Published with": with_}
