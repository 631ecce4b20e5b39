"""The mining log: kept on the training device during an epoch, and turned into a table after it."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor

from cprlib.cascade import Retrieval
from cprlib.memory import FeatureQueue, InstanceBank


def mining_log(mined: Retrieval, memory: FeatureQueue | InstanceBank, ids: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Query, rank, mined video, and whether they share a class: (B, k) each, on the device of the features."""
    shape, rows = mined.indices.shape, mined.indices
    columns = {
        "query": ids["video_id"][:, None].expand(shape),
        "rank": torch.arange(shape[1], device=rows.device).expand(shape),
        "mined": memory.video_id[rows],
        "query_label": ids["label"][:, None].expand(shape),
        "mined_label": memory.label[rows],
        "query_source": ids["source_id"][:, None].expand(shape),
        "mined_source": memory.source_id[rows],
    }
    return columns | {"correct": columns["query_label"] == columns["mined_label"], "valid": mined.valid}


def log_table(logs: Sequence[Mapping[str, Tensor]], epoch: int) -> pd.DataFrame:
    """Join the logs of an epoch's steps (None if nothing was mined) into one table with a row per mined row."""
    found = [(step, log) for step, log in enumerate(logs) if log is not None]
    if not found:
        return pd.DataFrame()
    columns = {name: torch.cat([log[name].flatten() for _, log in found]).cpu().numpy() for name in found[0][1]}
    steps = torch.cat([torch.full((log["valid"].numel(),), step) for step, log in found]).numpy()
    valid = columns.pop("valid")
    table = pd.DataFrame({name: values[valid] for name, values in columns.items()})
    return table.assign(epoch=epoch, step=steps[valid])
