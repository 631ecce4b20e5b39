"""The tables of ratios in README and docs/speed.md, from bench/results/speed.csv."""

from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parent.parent / "bench" / "results" / "speed.csv"


def newest(path: Path = RESULTS) -> pd.DataFrame:
    """The newest row of every benchmark in the file."""
    return pd.read_csv(path).drop_duplicates("benchmark", keep="last")


def ratios(_: pd.DataFrame) -> pd.DataFrame:
    """The short table: how many times as fast as the reference, and how far from the floor."""
    rows = newest()
    faster = [f"{r.ratio:.1f} ({r.ratio_25:.1f} to {r.ratio_75:.1f})" for r in rows.itertuples()]
    return pd.DataFrame(
        {"Speed": rows["benchmark"], "Times as fast": faster, "Over the floor": _shown(rows.over_floor)}
    )


def speed(_: pd.DataFrame) -> pd.DataFrame:
    """The long table: times, items a second, peak memory, and how the results agree."""
    rows = newest()
    peak = [f"{r.reference_mb:.0f}, {r.ours_mb:.0f}" for r in rows.itertuples()]
    return ratios(_).assign(
        **{
            "Reference, ms": _shown(rows.reference_ms),
            "Here, ms": _shown(rows.ours_ms),
            "Here, a second": rows.per_second.fillna("").to_list(),
            "Peak MB: reference, here": peak,
            "Load": _shown(rows.load),
            "Date": rows.date.to_list(),
            "Agreement": rows.agreement.to_list(),
        }
    )


def _shown(values: pd.Series) -> list[str]:
    return ["" if pd.isna(value) else f"{value:.4g}" for value in values]
