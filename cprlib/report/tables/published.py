"""Tables 1, 2, 4, 6 and 7 of the CPR paper with our results beside the published numbers.

`docs/published.csv` has a row for each number that could be found, with who published it, and a row without a value
for each cell that the paper has but no public text shows. Its columns: `table` of the CPR paper ("" if unknown),
`setting` (the point of an ablation, e.g. "num_stages=5 ratio=0.8"), `method` (names of METHODS for what is
implemented here), `backbone`, `pretrained_on` ("none" for no pretraining), `views` (rgb, flow, both, "" if not
stated), `evaluated_on`, `protocol` (retrieval, probe, finetune, mining), `measure`, `value` (percent, or a count of
classes), `source`, `note`. Our results are frames with the same columns and `spread`.

The numbers of the tables are **inferred** from the abstract: 1 and 2 are the ablations, 4 the quality of mining, 6 and
7 the comparisons with other work. Most numbers of other methods come from papers that repeat them.
"""

from pathlib import Path

import pandas as pd

from cprlib.methods import MEASURES
from cprlib.report.names import measures, method_look, method_order, view_label, view_order
from cprlib.report.tables.text import percent, to_markdown
from cprlib.store.files import atomic_path, resolve

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
_RECALLS = [("retrieval", f"R@{k}") for k in (1, 5, 10, 20)]
_MINING = [pair for pair in OURS.values() if pair[0] == "mining"] + _COUNTS
SHOWN = {1: _ABLATION, 2: _ABLATION, 4: _MINING, 6: [OURS["probe"], OURS["finetune"]], 7: _RECALLS}
_ROW = ["setting", "method", "views", "backbone", "pretrained_on"]  # what makes a row of a table


def read_published() -> pd.DataFrame:
    """The published numbers: `COLUMNS`, strings but for `value`, which is NaN where no text shows the number."""
    frame = pd.read_csv(PUBLISHED, dtype=str, keep_default_na=False)
    return frame[COLUMNS].assign(value=pd.to_numeric(frame["value"]))


def our_results(table: pd.DataFrame, evaluated_on: str, pretrained_on: str, backbone: str) -> pd.DataFrame:
    """Our numbers as rows like those of `docs/published.csv`.

    Args:
        table: from `run_table` or `comparison_table`; perhaps with `setting`, the point of an ablation.
        evaluated_on: data of retrieval and classification, e.g. "built-in", "UCF101", "HMDB51".
        pretrained_on: data of pretraining; mining is always measured on it.
        backbone: e.g. "tiny", "s3d".

    Returns:
        `COLUMNS` and `spread`, both in percent; numbers that do not exist have no row.
    """
    table = table if "setting" in table else table.assign(setting="")
    keys, names = ["setting", "method", "view"], [name for name in OURS if name in table]
    long = table.melt(keys, names, "name").dropna(subset="value")
    stds = table[keys].join(table.reindex(columns=[f"{name}_std" for name in names]).set_axis(names, axis=1))
    long = long.merge(stds.melt(keys, names, "name", "spread"), on=[*keys, "name"])
    protocol, measure = zip(*long["name"].map(OURS), strict=True) if len(long) else ((), ())
    frame = long.rename(columns={"view": "views"}).assign(protocol=protocol, measure=measure)
    frame = frame.assign(value=100 * frame["value"].astype(float), spread=100 * frame["spread"].astype(float))
    frame = frame.assign(table="", source="ours", note="", backbone=backbone, pretrained_on=pretrained_on)
    mining = frame["protocol"] == "mining"
    frame["evaluated_on"] = mining.map({True: pretrained_on, False: evaluated_on})
    return frame[[*COLUMNS, "spread"]]


def paper_table(number: int, ours: pd.DataFrame | None = None) -> pd.DataFrame:
    """A table of the CPR paper, ours in columns beside the published ones.

    A row is a method (tables 1 and 2: a setting) and view with the backbone and pretraining it was published with. Ours
    are put into the row of their method and view: one of the same pretraining if there is one, else that of UCF101,
    else a row of their own. No column mixes published numbers and ours.

    Args:
        number: 1, 2, 4, 6 or 7; see `TITLES`.
        ours: from `our_results` or `ablation_results`, several of them joined by `pd.concat`; settings that the
            paper's table does not have are left out.

    Returns:
        strings, "" where there is no number; a column without any number is left out.

    Raises:
        ValueError: another number; two of our results for one cell.
    """
    if number not in TITLES:
        raise ValueError(f"table {number}: choose from {', '.join(map(str, TITLES))}")
    published = read_published().assign(spread=float("nan"))
    belongs = published["table"] == str(number) if number in (1, 2) else published["setting"] == ""
    published = _shown(published[belongs], number)
    ours = _shown(published.iloc[:0] if ours is None else ours, number)
    ours = ours[ours["setting"].isin(published["setting"])]
    cells = pd.concat([_titled(published, "published"), _titled(_in_published_rows(ours, published), "ours")])
    twice = cells[cells.duplicated([*_ROW, "title"])]
    if len(twice):
        method, view, title = twice.iloc[0][["method", "views", "title"]]
        raise ValueError(f"two results of ours for {method} {view}, '{title}': pass one of them")
    titles = cells.loc[cells["text"] != "", "title"].unique()
    wide = cells.set_index([*_ROW, "title"])["text"].unstack("title").reindex(columns=titles).fillna("")
    wide = wide.loc[sorted(wide.index, key=_row_order(list(published["setting"])))]
    sources = published.groupby(_ROW)["source"].unique().map("; ".join).to_dict()
    labels = pd.DataFrame([_labels(row, number, sources.get(row, "")) for row in wide.index])
    return labels.join(wide.reset_index(drop=True))


def write_paper_tables(ours: pd.DataFrame, folder: str | Path) -> str:
    """Write all tables as `paper.md` and, a file each, as `paper_<number>.csv`; returns the markdown."""
    texts = []
    for number, title in TITLES.items():
        table = paper_table(number, ours)
        texts.append(f"### Table {number}. {title}\n\n{to_markdown(table)}")
        with atomic_path(resolve(folder) / f"paper_{number}.csv") as tmp:
            table.to_csv(tmp, index=False)
    with atomic_path(resolve(folder) / "paper.md") as tmp:
        tmp.write_text("\n".join(texts), encoding="utf-8")
    return "\n".join(texts)


def _shown(frame: pd.DataFrame, number: int) -> pd.DataFrame:
    """What a table shows, in the order of its columns: by data set, then by measure."""
    places = {pair: place for place, pair in enumerate(SHOWN[number])}
    datasets = list(dict.fromkeys(frame["evaluated_on"]))
    frame = frame.assign(place=[places.get(pair) for pair in zip(frame["protocol"], frame["measure"], strict=True)])
    frame = frame.dropna(subset="place").assign(dataset=lambda f: f["evaluated_on"].map(datasets.index))
    return frame.sort_values(["dataset", "place"], kind="stable", ignore_index=True)


def _titled(frame: pd.DataFrame, whose: str) -> pd.DataFrame:
    """With the title of each number's column, and the number as text."""
    names = frame["protocol"].map({"probe": "linear probe", "finetune": "fine-tuned"}).fillna(frame["measure"])
    counts = frame["measure"].str.startswith("classes")
    texts = [
        percent(value / 100, spread / 100, "") for value, spread in zip(frame["value"], frame["spread"], strict=True)
    ]
    texts = pd.Series(texts, frame.index, str).mask(
        counts & frame["value"].notna(), frame["value"].map("{:.0f}".format)
    )
    owner = frame["owner"] if "owner" in frame else whose
    return frame.assign(title=names + ", " + frame["evaluated_on"] + " (" + owner + ")", text=texts)


def _in_published_rows(ours: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Ours with backbone and pretraining of the published row they are put into, and an owner for their columns."""
    rows = published[_ROW].drop_duplicates()

    def place(cell: pd.Series) -> list[str]:
        same = rows[(rows[_ROW[:3]] == cell[_ROW[:3]]).all(axis=1)]["pretrained_on"]
        best = min(same.index, key=lambda i: (same[i] != cell["pretrained_on"], same[i] != "UCF101"), default=None)
        transfer = "" if cell["pretrained_on"] == cell["evaluated_on"] else f" on {cell['pretrained_on']}"
        training = ["", ""] if best is None else rows.loc[best, ["backbone", "pretrained_on"]].tolist()
        return [*training, f"ours, {cell['backbone']}{transfer}"]

    columns = ["backbone", "pretrained_on", "owner"]
    placed = pd.DataFrame([place(cell) for _, cell in ours.iterrows()], ours.index, columns)
    return ours.drop(columns=columns[:2]).join(placed)


def _row_order(settings: list[str]):
    """Sort key of rows: by setting, by method, without transfer first, by view, then by the rest."""
    return lambda row: (
        settings.index(row[0]),
        method_order(row[1]),
        row[4] not in ("", "none", "UCF101"),
        (bool(row[2]), view_order(row[2])),
        row[3:],
    )


def _labels(row: tuple[str, ...], number: int, source: str) -> dict[str, str]:
    setting, method, view, *training = row
    settings = dict(part.split("=") for part in setting.split())
    names = {"Method": method_look(method).label}
    if number in (1, 2):
        names = {"Stages": settings.get("num_stages", ""), "Ratio": settings.get("ratio", "")}
    training = ", ".join(filter(None, training)).replace("none", "no pretraining")
    return names | {
        "View": view_label(view) or "not stated",
        "Published with": f"{training} ({source})" if source else "",
    }
