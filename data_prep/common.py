"""What all data sources share: find videos, inspect each, make the manifest and the list of problems."""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd

from cprlib.data.files import printable
from cprlib.data.manifest import Manifest, check_suffix
from cprlib.data.parallel import parallel_map
from cprlib.data.video import VideoInfo, fingerprint, probe
from cprlib.store.errors import one_line
from cprlib.store.files import atomic_path, check_place, resolve
from data_prep.remembered import Remembered, beside

MISSING = "listed but missing"
MISSING_CLASS = "listed but missing, like all videos of its class"
UNLISTED = "present but not in the split lists"
EXAMPLES = 3  # videos named per reason in the printed summary


@dataclass(frozen=True)
class Entry:
    """One video to be described: its file, class, recording and split."""

    path: Path
    class_name: str
    source_id: str
    split: str
    flow_path: str = ""  # if the source has flow, too
    group: str = ""  # stays on one side of a split; empty: the recording

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Listed:
    """One line of a split list."""

    name: str  # as written in the list
    class_name: str
    source_id: str
    split: str
    group: str = ""


def match(videos: Sequence[Path], listed: Sequence[Listed], source: Path) -> tuple[list[Entry], list[dict]]:
    """Match files and list by name, ignoring container and case.

    Args:
        videos: files.
        listed: what the split lists name.
        source: of the lists, for messages.

    Returns:
        Videos that are both listed and present, in the order of the list, and the problems.

    Raises:
        ValueError: no file is in the list.
    """
    files, problems = {}, []
    for path in videos:
        first = files.setdefault(path.stem.lower(), path)
        if first != path:
            problems.append({"path": str(path), "reason": f"same name as {first}"})
    names = {Path(item.name).stem.lower() for item in listed}
    if not names & files.keys():
        raise ValueError(
            f"none of the {len(videos)} videos (the first is {videos[0]}) is in the split lists of "
            f"{source}; do lists and videos belong to the same data set?"
        )
    listed = one_class_each(listed)
    found = [item for item in listed if Path(item.name).stem.lower() in files]
    classes = {item.class_name for item in found}
    for item in listed:
        if Path(item.name).stem.lower() not in files:
            reason = MISSING if item.class_name in classes else MISSING_CLASS
            problems.append({"path": item.name, "reason": reason})
    unlisted = (path for stem, path in files.items() if stem not in names)
    problems += [{"path": str(path), "reason": UNLISTED} for path in unlisted]
    return [
        Entry(files[Path(i.name).stem.lower()], i.class_name, i.source_id, i.split, group=i.group) for i in found
    ], problems


def one_class_each(listed: Sequence[Listed]) -> list[Listed]:
    """Split recordings by class: siblings are positives of each other, and two actions of one film are not.

    A film or YouTube video of several classes becomes one recording per class, and stays one group.
    """
    classes: dict[str, set[str]] = {}
    for item in listed:
        classes.setdefault(item.source_id, set()).add(item.class_name)
    return [
        item
        if len(classes[item.source_id]) == 1
        else replace(item, source_id=f"{item.source_id}/{item.class_name}", group=item.source_id)
        for item in listed
    ]


def look_into(entry: Entry, min_frames: int) -> tuple[VideoInfo, str]:
    """What the manifest says of a video file, and a hash of its content."""
    return probe(entry.path, min_frames), fingerprint(entry.path)


def describe(
    entries: Sequence[Entry],
    class_order: Sequence[str],
    workers: int | None = None,
    problems: Sequence[dict] = (),
    min_frames: int = 2,
    look: Callable[[Entry, int], tuple[VideoInfo, str]] = look_into,
    memory: str | Path | None = None,
    files: Callable[[Entry], Sequence[str | Path]] = lambda entry: [entry.path],
) -> tuple[Manifest, pd.DataFrame]:
    """Inspect every video that is new or changed and make the manifest; unusable files are left out and listed.

    Args:
        entries: the videos.
        class_order: all class names; labels number those that have a video, in this order.
        workers: processes; None = one per core.
        problems: found so far.
        min_frames: a shorter video is unusable.
        look: called with an entry and `min_frames`; needed for videos that are not files.
        memory: file that keeps what was found, see `data_prep.remembered`.
        files: gives the files that a video is read from.

    Returns:
        The manifest and the problems (columns path, reason).

    Raises:
        ValueError: a class without a usable video, or without one for training.
    """
    entries = [replace(entry, path=Path(os.path.abspath(entry.path))) for entry in entries]
    looked = _looked(entries, workers, partial(look, min_frames=min_frames), Remembered(memory), files)
    problems, rows, seen = [*problems], [], {}
    for entry in entries:
        path, found = str(entry.path), looked[entry]
        if isinstance(found, Exception):
            problems.append({"path": path, "reason": getattr(found, "reason", str(found))})
            continue
        info, content = found
        if seen.setdefault(content, path) != path:
            problems.append({"path": path, "reason": f"identical to {seen[content]}"})
        rows.append({**asdict(entry), "path": path, **info._asdict()})
    table = pd.DataFrame(problems, columns=["path", "reason"])
    if not rows:
        raise ValueError(f"no usable video among {len(entries)}: {'; '.join(summary(table))}")
    present = {row["class_name"] for row in rows}
    for entry in entries:
        if entry.class_name not in present:
            raise ValueError(
                f"class {entry.class_name!r} has no usable video: "
                f"{'; '.join(summary(table))}; repair its videos or take the class out"
            )
    labels = {name: i for i, name in enumerate(name for name in class_order if name in present)}
    videos = pd.DataFrame(rows)
    videos["label"], videos["video_id"] = videos.class_name.map(labels), range(len(videos))
    return Manifest(videos).validate(), table


def _looked(entries: Sequence[Entry], workers, look: Callable, memory: Remembered, files: Callable) -> dict:
    """What was found in each video: remembered, or by inspecting it now."""
    known = {entry: memory.get(str(entry), files(entry)) for entry in entries}
    new = {entry: memory.state(files(entry)) for entry in entries if known[entry] is None}
    for entry, found in parallel_map(look, list(new), workers, "videos"):
        known[entry] = found
        memory.put(str(entry), new[entry], found)
    memory.save()
    return known


def summary(problems: pd.DataFrame) -> list[str]:
    """One line per kind of problem: how many, and the first names."""
    kinds = problems.reason.str.replace(r"\s*\(.*\)$| to /.*| as /.*", "", regex=True)
    lines = []
    for kind, group in problems.groupby(kinds, sort=False):
        if kind == MISSING_CLASS:
            classes = group.path.map(lambda name: Path(name).parent.name).nunique()
            lines.append(f"{MISSING}: {len(group)} videos of {classes} classes without any video")
            continue
        more = ", …" if len(group) > EXAMPLES else ""
        names = ", ".join(printable(Path(path).name) for path in group.path[:EXAMPLES])
        lines.append(f"{kind}: {len(group)} ({names}{more})")
    return lines


def save(manifest: Manifest, problems: pd.DataFrame, out: str | Path) -> None:
    """Write the manifest and, beside it, ``<name>_problems.csv``, if they changed; print a summary."""
    out = resolve(out)
    manifest.write(out)
    listed, text = out.with_name(f"{out.stem}_problems.csv"), problems.to_csv(index=False)
    if not listed.is_file() or listed.read_bytes() != text.encode():
        with atomic_path(listed) as tmp:
            tmp.write_bytes(text.encode())
    splits = manifest.table.split.value_counts().to_dict()
    counts = ", ".join(f"{count} {split}" for split, count in splits.items())
    classes = f"of {len(manifest.class_names)} classes" if manifest.is_labelled else "without classes"
    print(f"{out}: {len(manifest)} videos {classes} ({counts})")
    for line in summary(problems):
        print(f"  {line}")
    if len(problems):
        print(f"{len(problems)} remark{'s' * (len(problems) > 1)}, listed in {listed}")


def run(parser: argparse.ArgumentParser, build: Callable[[argparse.Namespace], tuple]) -> None:
    """Run a command: build and save, and end on a foreseeable error in one line; `args.memory` is for `describe`."""
    parser.add_argument("out", help="manifest to write, .csv or .parquet")
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    args = parser.parse_args()
    with one_line():
        check_suffix(out := resolve(args.out))
        check_place(out)  # before all videos are inspected
        args.memory = beside(out)
        save(*build(args), args.out)
