"""Tables 1, 2, 4, 6 and 7 of the CPR paper with our results beside the published numbers.

`docs/published.csv` has a row for each number that could be found, with who published it, and a row without a
value for each cell that the paper has but nobody could read. Its columns: `table` of the CPR paper ("" if unknown),
`setting` (the point of an ablation, e.g. "num_stages=5 ratio=0.8"), `method` (names of this project for what it
implements; "random" is no pretraining), `backbone`, `pretrained_on` ("none" for no pretraining), `views` (rgb, flow,
both, "" where not stated), `evaluated_on`, `protocol` (retrieval, probe, finetune, mining), `measure`, `value`
(percent; some are counts of classes and say so), `source`, `note`. Our results are frames with the same columns.

The numbers of the tables are **inferred**: no text of the paper that shows its tables was at hand. 1 and 2 are taken
for the ablations of its abstract, 4 for the quality of mining, 6 and 7 for the comparisons with other work in action
recognition and in retrieval (`TITLES`). Most numbers of other methods come from papers that repeat them.
"""

import csv
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cprlib.report.figures.style import METHODS, VIEWS, method_style, view_label
from cprlib.report.tables.comparison import UNKNOWN
from cprlib.store.files import resolve

PUBLISHED = Path(__file__).parents[3] / "docs" / "published.csv"
COLUMNS = ["table", "setting", "method", "backbone", "pretrained_on", "views"]
COLUMNS += ["evaluated_on", "protocol", "measure", "value", "source", "note"]
NOT_FOUND = "not found"
TITLES = {
    1: "Ablation: number of stages",
    2: "Ablation: selection ratio at 5 and 7 stages",
    4: "Quality of mining",
    6: "Action recognition, compared with others",
    7: "Video retrieval, compared with others",
}
# column of `tables.run_table` -> protocol and measure
OURS = {
    "pmr_start": ("mining", "PMR start"),
    "pmr_end": ("mining", "PMR end"),
    "mining_r1": ("mining", "Mining R@1"),
    "cmr_source": ("mining", "median CMR"),
    "cmr_video": ("mining", "median CMR by video"),
    "r1": ("retrieval", "R@1"),
    "r5": ("retrieval", "R@5"),
    "r10": ("retrieval", "R@10"),
    "probe": ("probe", "top-1"),
    "finetune": ("finetune", "top-1"),
}
_ABLATION = [OURS[name] for name in ("pmr_end", "mining_r1", "cmr_source", "r1", "probe", "finetune")]
_COUNTS = [("mining", "classes with the higher CMR"), ("mining", "classes at CMR 100")]
SHOWN = {
    1: _ABLATION,
    2: _ABLATION,
    4: [*(OURS[name] for name in ("pmr_start", "pmr_end", "mining_r1", "cmr_source", "cmr_video")), *_COUNTS],
    6: [OURS["probe"], OURS["finetune"]],
    7: [("retrieval", f"R@{k}") for k in (1, 5, 10, 20)],
}
_ALLOWED = {
    "table": ["", *"1234567"],
    "views": ["", *VIEWS],
    "evaluated_on": ["UCF101", "HMDB51"],
    "protocol": ["retrieval", "probe", "finetune", "mining"],
}


def read_published(path: str | Path | None = None) -> pd.DataFrame:
    """Read and check the published numbers.

    Args:
        path: a CSV file; `docs/published.csv` if not given.

    Returns:
        `COLUMNS`, strings but for `value`, a float that is NaN where nobody could read the number.

    Raises:
        FileNotFoundError: no such file.
        ValueError: other columns; a line with an impossible cell, a value without a source, no value and no note
            "not found", or the same number as another; names the line.
    """
    path = PUBLISHED if path is None else resolve(path)
    if not path.exists():
        raise FileNotFoundError(f"no published numbers at {path}: give the path of docs/published.csv of the project")
    with open(path, newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    if wrong := sorted(set(header) ^ set(COLUMNS)):
        raise ValueError(f"{path}: unknown or missing columns {wrong}; the columns must be {', '.join(COLUMNS)}")
    for number, cells in enumerate(lines, start=2):
        if problem := _problem(header, cells):
            raise ValueError(f"{path}, line {number}: {problem}")
    frame = pd.DataFrame(lines, columns=header)
    repeated = frame.duplicated(COLUMNS[:-3])
    if repeated.any():
        raise ValueError(f"{path}, line {repeated.idxmax() + 2}: a line above is about the same number; keep one")
    return frame[COLUMNS].assign(value=pd.to_numeric(frame["value"]))


def our_results(
    run_table: pd.DataFrame, evaluated_on: str, pretrained_on: str, backbone: str, spread: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Turn our table of methods into rows like those of `docs/published.csv`.

    Args:
        run_table: from `tables.run_table` or `tables.comparison_table`: method, view, measures in [0, 1] or NaN, and
            perhaps `setting`, the point of an ablation.
        evaluated_on: data set of retrieval and classification, e.g. "built-in", "UCF101-12", "UCF101", "HMDB51".
        pretrained_on: data set of pretraining, which mining is always measured on.
        backbone: e.g. "tiny", "s3d".
        spread: from `tables.spread_table`, rows in any order.

    Returns:
        the columns of `read_published` and `spread`, both in percent; numbers that do not exist have no row.
    """
    keys = ["setting", "method", "view"]
    values = _long(run_table, keys, "value")
    spreads = _long(run_table.iloc[:0] if spread is None else spread, keys, "spread")
    frame = values.merge(spreads, on=[*keys, "name"], how="left").rename(columns={"view": "views"})
    frame = frame.assign(table="", backbone=backbone, pretrained_on=pretrained_on, evaluated_on=evaluated_on)
    frame = frame.assign(source="ours", note="", protocol=[OURS[name][0] for name in frame["name"]])
    frame = frame.assign(measure=[OURS[name][1] for name in frame["name"]])
    frame.loc[frame["protocol"] == "mining", "evaluated_on"] = pretrained_on
    return frame[[*COLUMNS, "spread"]]


def paper_table(number: int, ours: pd.DataFrame | None = None, published: pd.DataFrame | None = None) -> pd.DataFrame:
    """A table of the CPR paper, ours in columns beside the published ones.

    A row is a method (tables 1 and 2: a setting) and view with the backbone and pretraining it was published with. Ours
    stand in the row of their method and view, rather in one of their own pretraining than in that of UCF101, or in a
    new one. No column has published numbers and ours; each data set, backbone and pretraining of ours has its own.

    Args:
        number: 1, 2, 4, 6 or 7; see `TITLES`.
        ours: from `our_results` or `ablation.ablation_results`, several of them joined by `pd.concat`; settings that
            the paper's table does not have are left out.
        published: from `read_published`; read by default.

    Returns:
        strings, as `tables.to_markdown` takes them: percent with one decimal, ours with "± spread"; "not found" where
        no published number is known, "–" where we have none.

    Raises:
        ValueError: another number; two of our results for one cell.
    """
    if number not in TITLES:
        raise ValueError(f"table {number}: choose from {', '.join(map(str, TITLES))}")
    published = read_published() if published is None else published
    # what the comparisons say of other methods is shown whether or not it is known to stand in the paper's own table
    belongs = published["table"] == str(number) if number in (1, 2) else published["setting"] == ""
    published = _shown(published[belongs], number)
    ours = _shown(published.iloc[:0] if ours is None else ours.dropna(subset="value"), number)
    ours = ours[ours["setting"].isin(published["setting"])]

    sources = published.groupby(_KEYS, sort=False)["source"].agg("; ".join).to_dict()
    cells = [(_row(cell), _title(cell), _text(cell)) for cell in published.to_dict("records")]
    cells += [(_row_of_ours(cell, sources), _title_of_ours(cell), _text(cell)) for cell in ours.to_dict("records")]
    rows: dict[tuple, dict[str, str]] = {}
    for row, title, text in cells:
        if title in rows.setdefault(row, {}):
            raise ValueError(f"two results of ours for {row[1]} {row[2]}, '{title}': hand over one of them")
        rows[row][title] = text
    empty = {title: NOT_FOUND if title.endswith(_PUBLISHED) else UNKNOWN for _, title, _ in cells}
    return pd.DataFrame([_labels(row, number, sources) | empty | rows[row] for row in _in_order(rows)])


_KEYS = ["setting", "method", "views", "backbone", "pretrained_on"]
_PUBLISHED = "(published)"


def _problem(header: list[str], cells: list[str]) -> str | None:
    if len(cells) != len(header):
        return f"{len(cells)} cells for {len(header)} columns; put a text with commas in quotes"
    row = dict(zip(header, cells, strict=True))
    for name, allowed in _ALLOWED.items():
        if row[name] not in allowed:
            return f"{name} '{row[name]}' must be one of {allowed}"
    if row["value"]:
        if not 0 <= pd.to_numeric(row["value"], errors="coerce") <= 100:
            return f"value '{row['value']}' must be a number from 0 to 100, or empty"
        return None if row["source"] else f"value {row['value']} has no source; say who published it"
    return None if NOT_FOUND in row["note"] else f"no value; fill it in, or say '{NOT_FOUND}' in its note"


def _long(table: pd.DataFrame, keys: list[str], name: str) -> pd.DataFrame:
    """A row for each number: keys, name of the measure, the number in percent."""
    table = table if "setting" in table else table.assign(setting="")
    long = table.melt(keys, [m for m in OURS if m in table], var_name="name", value_name=name).dropna(subset=name)
    return long.assign(**{name: 100 * long[name].astype(float)})


def _shown(frame: pd.DataFrame, number: int) -> pd.DataFrame:
    """What a table shows, in the order of its columns."""
    datasets = list(dict.fromkeys(frame["evaluated_on"]))
    place = {measure: i for i, measure in enumerate(SHOWN[number])}
    places = [place.get(measure) for measure in zip(frame["protocol"], frame["measure"], strict=True)]
    frame = frame.assign(dataset=frame["evaluated_on"].map(datasets.index), place=places)
    return frame.dropna(subset="place").sort_values(["dataset", "place"])  # by two columns: stable


def _row(cell: dict) -> tuple[str, ...]:
    return tuple(cell[key] for key in _KEYS)


def _row_of_ours(cell: dict, published: Iterable[tuple]) -> tuple[str, ...]:
    """The published row that ours stand in, or one without a backbone and pretraining that were published."""
    key = _row(cell)[:3]
    same = [row for row in published if row[:3] == key]
    return min(same, key=lambda row: (row[4] != cell["pretrained_on"], row[4] != "UCF101"), default=(*key, "", ""))


def _title(cell: dict, whose: str = _PUBLISHED) -> str:
    name = {"probe": "linear probe", "finetune": "fine-tuned"}.get(cell["protocol"], cell["measure"])
    return f"{name}, {cell['evaluated_on']} {whose}"


def _title_of_ours(cell: dict) -> str:
    transfer = "" if cell["pretrained_on"] == cell["evaluated_on"] else f" on {cell['pretrained_on']}"
    return _title(cell, f"(ours, {cell['backbone']}{transfer})")


def _text(cell: dict) -> str:
    if pd.isna(cell["value"]):
        return NOT_FOUND
    digits = 0 if cell["measure"].startswith("classes") else 1  # a count, or percent
    spread = cell.get("spread", float("nan"))
    return f"{cell['value']:.{digits}f}" + ("" if pd.isna(spread) else f" ± {spread:.1f}")


def _labels(row: tuple, number: int, sources: dict[tuple, str]) -> dict[str, str]:
    setting, method, view, *training = row
    settings = dict(part.split("=") for part in setting.split())
    ablation = {"Stages": settings.get("num_stages", ""), "Ratio": settings.get("ratio", UNKNOWN)}
    names = ablation if number in (1, 2) else {"Method": method_style(method).label}
    training = ", ".join(filter(None, training)).replace("none", "no pretraining")
    source = "; ".join(dict.fromkeys(sources.get(row, "").split("; ")))  # each once
    published = f"{training} ({source})" if source else UNKNOWN
    return names | {"View": view_label(view) or "not stated", "Published with": published}


def _in_order(rows: Iterable[tuple]) -> list[tuple]:
    """By setting, by method as in the paper, without transfer first, by view; otherwise as they came."""
    rows = list(rows)
    settings = list(dict.fromkeys(row[0] for row in rows))
    methods = list(dict.fromkeys([*METHODS, *(row[1] for row in rows)]))
    views = ["", *VIEWS]

    def rank(row: tuple) -> tuple:
        transfer = row[4] not in ("", "none", "UCF101")
        return settings.index(row[0]), methods.index(row[1]), transfer, views.index(row[2])

    return sorted(rows, key=rank)
