"""A run in plain words: what CPR gained or lost against CoCLR, computed from the comparison table."""

import pandas as pd

from cprlib.report.figures.style import method_style, view_label, view_word

# column of `tables.run_table` -> heading, and a sentence where {ours} and {theirs} are shares
COMPARED = {
    "pmr_end": (
        "PMR at the end",
        "Of the clips that CPR took for positives at the end of training, {ours} show the action of the query, against "
        "{theirs} of CoCLR's.",
    ),
    "cmr_source": (
        "Median CMR",
        "In its median class it found {ours} of the recordings in one epoch, CoCLR {theirs}.",
    ),
    "r1": (
        "Retrieval R@1",
        "The nearest training video has the right class for {ours} of the test videos, against {theirs} with CoCLR.",
    ),
    "probe": (
        "Linear probe",
        "A linear classifier on the frozen features names the class of {ours} of the test videos, against {theirs}.",
    ),
}
MINING = ("pmr_end", "cmr_source")


def duel(table: pd.DataFrame) -> pd.DataFrame:
    """CoCLR and CPR side by side, a row for each measure and view that both have.

    Args:
        table: from `tables.run_table` or `tables.comparison_table`.

    Returns:
        measure, view, coclr, cpr and difference, in percent with one decimal, as they are shown: 0.04 is level.
    """
    rows, known = [], table.reindex(columns=["method", "view", *COMPARED])  # an old table may lack one
    for measure in COMPARED:
        values = known.pivot(index="view", columns="method", values=measure).reindex(columns=["coclr", "cpr"])
        both = (100 * values.astype(float)).round(1).dropna()
        both = both.loc[[view for view in dict.fromkeys(table["view"]) if view in both.index]]
        rows += [(measure, view, row.coclr, row.cpr) for view, row in both.iterrows()]
    frame = pd.DataFrame(rows, columns=["measure", "view", "coclr", "cpr"])
    return frame.assign(difference=(frame["cpr"] - frame["coclr"]).astype(float).round(1))


def duel_words(pairs: pd.DataFrame) -> pd.DataFrame:
    """`duel` as strings: Measure, View, CoCLR, CPR, Gain, "+1.2", "−3.4" or "0.0"."""
    signed = [f"{d:+.1f}".replace("-", "−") if d else "0.0" for d in pairs["difference"]]
    return pd.DataFrame(
        {
            "Measure": [COMPARED[name][0] for name in pairs["measure"]],
            "View": pairs["view"].map(view_label),
            "CoCLR": pairs["coclr"].map("{:.1f}".format),
            "CPR": pairs["cpr"].map("{:.1f}".format),
            "Gain": signed,
        }
    )


def sentences(pairs: pd.DataFrame, runs: int) -> list[str]:
    """The comparison told in two paragraphs: the numbers, then what follows, good or bad.

    Args:
        pairs: from `duel`.
        runs: number of runs (seeds) behind the numbers.
    """
    if pairs.empty:
        return []
    told = []
    for measure, rows in pairs.groupby("measure", sort=False):
        ours, theirs = _shares(rows["cpr"], rows["view"]), _shares(rows["coclr"])
        told.append(COMPARED[measure][1].format(ours=ours, theirs=theirs))
    return [" ".join(told), " ".join([*_verdict(pairs), _caution(runs)])]


def methods_in(table: pd.DataFrame) -> str:
    """The methods of a table by name, "InfoNCE, CoCLR and CPR"."""
    return _listed([method_style(method).label for method in dict.fromkeys(table["method"])])


def _verdict(pairs: pd.DataFrame) -> list[str]:
    """Who is ahead in mining, and whether better positives made better features."""
    mining = pairs["measure"].isin(MINING)
    told = []
    for name, rows in (("mining", pairs[mining]), ("retrieval and classification", pairs[~mining])):
        if len(rows):
            told.append(f"In {name} CPR is {_score(rows['difference'])}.")
    mined, learned = _balance(pairs[mining]), _balance(pairs[~mining])
    if mined > 0 > learned:
        told.append("Here better positives did not make better features.")
    elif mined < 0:
        told.append("Here the cascade mined worse than one view alone.")
    return told


def _caution(runs: int) -> str:
    if runs > 1:
        return f"All numbers are means over {runs} runs."
    return "This is one run with one seed: differences of a few points may be chance."


def _score(differences: pd.Series) -> str:
    """ "ahead in 3, level in 1 and behind in 2 of 6 numbers"."""
    counts = {"ahead": (differences > 0).sum(), "level": (differences == 0).sum(), "behind": (differences < 0).sum()}
    parts = [f"{word} in {count}" for word, count in counts.items() if count]
    if len(parts) == 1:
        word = parts[0].split()[0]
        return f"{word} in all {len(differences)} numbers" if len(differences) > 1 else f"{word} in the one number"
    return f"{_listed(parts)} of {len(differences)} numbers"


def _balance(rows: pd.DataFrame) -> int:
    return int((rows["difference"] > 0).sum() - (rows["difference"] < 0).sum())


def _shares(values: pd.Series, views: pd.Series | None = None) -> str:
    """ "56.4 % (RGB) and 49.3 % (flow)", without the views where they were just named."""
    words = [f"{value:.1f}\N{NO-BREAK SPACE}%" for value in values]
    if views is not None:
        words = [f"{word} ({view_word(view)})" for word, view in zip(words, views, strict=True)]
    return _listed(words)


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""
