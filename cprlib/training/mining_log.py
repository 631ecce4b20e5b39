"""What was mined: kept where it was found during an epoch, and made a table after it."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor

from cprlib.cascade import Retrieval
from cprlib.memory import FeatureQueue, InstanceBank


def mining_log(mined: Retrieval, memory: FeatureQueue | InstanceBank, ids: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Who asked, the rank, which video was found, and whether it is of the same class; (B, k) each, on their device."""
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
    """The logs of the steps of an epoch, None where nothing was mined, as one table: a row for each mined row."""
    found = [(step, log) for step, log in enumerate(logs) if log is not None]
    if not found:
        return pd.DataFrame()
    columns = {name: torch.cat([log[name].flatten() for _, log in found]).cpu().numpy() for name in found[0][1]}
    steps = torch.cat([torch.full((log["valid"].numel(),), step) for step, log in found]).numpy()
    valid = columns.pop("valid")
    table = pd.DataFrame({name: values[valid] for name, values in columns.items()})
    return table.assign(epoch=epoch, step=steps[valid])
