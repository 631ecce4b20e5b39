"""Settings: flat names and plain values, checked against the types that their readers declare."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Literal, get_type_hints

from cprlib.methods import METHODS, VIEWS
from cprlib.store.settings import coerce, unknown

# What the Snakefile itself reads from a parameter file; every other name belongs to a notebook.
DATA_PARAMETERS = {
    "run": str,  # name of the run folder
    "outputs": str,  # folder of the run folders and the data
    "dataset": Literal["toy", "ucf101", "hmdb51", "kinetics", "coclr_lmdb", "folder"],
    "videos": str,  # folder of videos; for "folder" also a CSV; for "coclr_lmdb" the LMDB of RGB frames
    "flow_lmdb": str,  # for "coclr_lmdb"
    "splits": str,  # folder of the official split files; for "kinetics" the CSV file, or a folder of them
    "split": Literal[1, 2, 3],
    "manifest": str,  # table of all videos and their flow
    "views": list[Literal[tuple(VIEWS)]],
    "cycles": int,  # co-training cycles
    "methods": list[Literal[tuple(METHODS)]],  # whose networks are evaluated
    "pretrained": str,  # run whose networks are evaluated instead
    "released_rgb": str,  # .pth.tar that takes the place of InfoNCE
    "released_flow": str,
    "ablation": list[str],  # points such as "num_stages=7 ratio=0.8", each a CPR training
    "toy_recordings": int,  # per class of the built-in data, three of eight for testing
    "toy_takes": int,  # videos per recording
    "shards": int,  # jobs that divide the videos among them, in flow, frame cache and features
}

# Ranges of numbers, as in `setting`: checked here, before hours of other work, and not only where they are read.
RANGES = {
    "seed": {"least": 0, "most": 2**63 - 1},
    **dict.fromkeys(("flow_bound", "lr", "iic_lr", "finetune_lr", "probe_lr", "tau"), {"above": 0}),
    **dict.fromkeys(("dim", "clip_len", "clip_stride", "clip_size", "batch_size", "K", "num_stages"), {"least": 1}),
    **dict.fromkeys(("epochs", "iic_epochs", "probe_epochs", "finetune_epochs", "cycles", "negatives"), {"least": 1}),
    **dict.fromkeys(("top_k", "top_k_phases", "bn_groups", "devices", "shards", "toy_takes", "top"), {"least": 1}),
    **dict.fromkeys(("flow_short_side", "short_side", "infonce_epochs", "workers", "examples"), {"least": 0}),
    **dict.fromkeys(("weight_decay", "finetune_decay", "keeps"), {"least": 0}),
    **dict.fromkeys(("infonce_milestones", "lr_milestones", "iic_milestones", "probe_milestones"), {"least": 0}),
    "finetune_milestones": {"least": 0},
    "toy_recordings": {"least": 4},  # fewer leave none for testing
    **dict.fromkeys(("momentum", "drop_self_positive", "backbone_lr"), {"least": 0, "most": 1}),
    **dict.fromkeys(("dropout", "held_out", "bank_momentum"), {"least": 0, "below": 1}),
    "ratio": {"above": 0},
}
# Valid names, as their readers declare them (a test compares): importing the readers would slow down every plan.
CHOICES = {
    "flow_method": ("tvl1", "dis", "raft_small", "raft_large"),
    "backbone": ("tiny", "s3d", "r3d_18", "r2plus1d_18"),
    "anchor": ("paper", "released"),
    "siblings": ("auto", "positive", "ignore", "negative"),
    "own_rows": ("ignore", "negative"),
    "loss": ("auto", "multi_instance", "supervised"),
    "precision": ("fp32", "bf16"),
    "intra": ("repeat", "shuffle", "none"),
    "optimizer": ("sgd", "adam"),
    "augmentation": ("jitter", "contrastive"),
    "crops": ("centre", "five", "ten"),
    "iic_loss": ("softmax", "nce"),
    "device": ("auto", "cpu", "mps", "cuda", "cuda:0"),
}
ALLOWED = RANGES | {name: {"choices": choices} for name, choices in CHOICES.items()}

# Names that do not affect results: paths and how things are computed. The pipeline redoes no step if they change.
RECORDED = {"outputs", "run", "manifest", "videos_csv", "cache", "device", "devices", "workers"}
RECORDED |= {"redo", "continue_with"}
PICTURES = {"examples", "video"}  # what notebooks draw


def from_notebook(cls: type, namespace: Mapping[str, Any], **overrides: Any) -> Any:
    """Build a dataclass from the variables of a notebook that are named like its fields.

    Args:
        cls: the dataclass.
        namespace: a notebook's ``globals()``, or a plain dict in which every name must be a field.
        overrides: values that take the place of the notebook's.

    Raises:
        ValueError: a wrong type, or an unknown name, even one set by plain papermill.
    """
    hints, notebook = get_type_hints(cls), "__name__" in namespace
    names = {field.name for field in fields(cls) if field.init}
    for name in {*overrides, *(() if notebook else namespace)} - names:
        raise ValueError(unknown(name, names))
    _refuse_injected(namespace.get("In", ()) if notebook else ())
    given = {k: v for k, v in namespace.items() if k in names} | overrides
    return cls(**{name: coerce(name, value, hints[name]) for name, value in given.items()})


def _refuse_injected(cells: Iterable[str]) -> None:
    """Refuse a name in the cell that papermill adds, "# Parameters", if no cell before has it."""
    declared: set[str] = set()
    for source in cells:
        names = set(re.findall(r"^(\w+)\s*(?::[^=\n]+)?=(?!=)", source, re.MULTILINE))
        if declared and source.startswith("# Parameters\n") and names - declared:
            raise ValueError(unknown(min(names - declared), declared))
        declared |= names
