"""Search by FAISS, if it is installed: all vectors in memory, for many queries in one process."""

from pathlib import Path

import numpy as np
import pandas as pd

from cprlib.search.shards import blocks

BYTES = 2**30  # of vectors held in memory, at most
TOLERANCE = 1e-5  # bound on the rounding of dot products of unit vectors, whatever the order of summation


class Flat:
    """All vectors of one kind in FAISS, and the video of each.

    Args:
        folder, videos, kind: see :func:`cprlib.search.shards.best_of_each`.

    Raises:
        ImportError: FAISS is not installed.
        MemoryError: the vectors take more than `BYTES`.
    """

    def __init__(self, folder: Path, videos: pd.DataFrame, kind: str):
        import faiss  # takes as long as a query, so the first query does without it

        self.count, self.index, owners = len(videos), None, []
        total = len(videos) if kind == "whole" else int(videos["count"].sum())
        for vectors, of in blocks(folder, videos, kind):
            if self.index is None:
                if 4 * total * vectors.shape[1] > BYTES:
                    raise MemoryError
                self.index = faiss.IndexFlatIP(vectors.shape[1])
            self.index.add(vectors.astype(np.float32))
            owners.append(of)
        self.owners = np.concatenate(owners)

    def best_of_each(self, query: np.ndarray, columns: slice, top: int) -> np.ndarray | None:
        """As :func:`best_of_each` for the `top` videos and possible ties with the last of them, else -inf.

        Returns:
            float32 (V,), or None if `top` is so large that a search in blocks is as quick.
        """
        asked = np.zeros((1, len(query)), np.float32)
        asked[0, columns] = query[columns]
        rows = 4 * top
        while top < self.count and rows < len(self.owners) / 4:
            (dots,), (found,) = self.index.search(asked, rows)
            videos, where = np.unique(self.owners[found], return_inverse=True)
            if len(videos) >= top:
                nearest = np.full(len(videos), -np.inf, np.float32)
                np.maximum.at(nearest, where, dots)
                if dots[-1] < np.partition(nearest, -top)[-top] - TOLERANCE:
                    best = np.full(self.count, -np.inf, np.float32)
                    best[videos] = nearest
                    return best
            rows *= 4  # many windows of one video, or many copies
        return None
