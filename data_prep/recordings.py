"""Remarks on recordings, groups and counts, which decide every result: see docs/recordings.md."""

import pandas as pd

from cprlib.data.files import printable
from cprlib.data.manifest import Manifest
from data_prep.near_copies import near_copies

SHOWN = 20  # classes whose counts are printed
SEVERAL = "recording of several classes"
TORN = "group in several splits"


def remarks(table: pd.DataFrame) -> list[dict]:
    """Recordings of several classes, whose clips would be positives of each other, and groups in several splits."""
    found = []
    for column, other, what in (("source_id", "class_name", SEVERAL), ("group", "split", TORN)):
        if other not in table:
            continue
        for name, values in table.groupby(column)[other].unique().items():
            if len(values) > 1:
                found.append({"path": name, "reason": f"{what} ({', '.join(sorted(values))})"})
    return found


def with_near_copies(
    manifest: Manifest, problems: pd.DataFrame, workers: int | None = None
) -> tuple[Manifest, pd.DataFrame]:
    """Add a remark for each test video that shows nearly the same pictures as a training video."""
    found = near_copies(manifest, workers)
    if found:
        print(
            f"test videos that look like a training video: {len(found)}; measures will be too good, so give both the "
            "same recording or group (docs/recordings.md)"
        )
    return manifest, pd.concat([problems, pd.DataFrame(found, columns=["path", "reason"])], ignore_index=True)


def tell_recordings(manifest: Manifest, problems: pd.DataFrame) -> tuple[Manifest, pd.DataFrame]:
    """Warn if no two videos share a recording (unnoticed siblings make any network look good), or if too many do."""
    if manifest.table.source_id.is_unique and manifest.table.group.is_unique:
        folder = "belong in a folder of their own, <class>/<recording>/<clip>, or " if manifest.is_labelled else ""
        print(
            f"every video counts as a recording of its own; clips cut from one recording {folder}get the same "
            "source_id in a CSV"
        )
    if problems.reason.str.startswith(SEVERAL).any():
        print(
            "some recordings span several classes: their clips count as positives of each other; a person or a camera "
            "belongs in the column group, which keeps videos on one side of the split and no more"
        )
    return manifest, problems


def tell_counts(manifest: Manifest, problems: pd.DataFrame) -> tuple[Manifest, pd.DataFrame]:
    """Print videos and recordings of each class on each side; with few groups, a fifth may become more."""
    for name, rows in list(manifest.table.groupby("class_name"))[:SHOWN]:
        sides = [(side, part) for side, part in rows.groupby("split", sort=False)]
        told = (f"{side} {len(part)} of {part.source_id.nunique()} recordings" for side, part in sides)
        print(f"  {printable(name)}: {', '.join(told)}")
    if len(manifest.class_names) > SHOWN:
        print(f"  … and {len(manifest.class_names) - SHOWN} other classes")
    untested = manifest.table.groupby("class_name")["split"].agg(lambda sides: "test" not in set(sides))
    if untested.any() and manifest.is_labelled:
        names = ", ".join(map(printable, untested[untested].index[:SHOWN]))
        print(
            f"  no video for testing: {names}; add recordings, or draw anew: python -m data_prep.own_videos … --seed 1"
        )
    return manifest, problems
