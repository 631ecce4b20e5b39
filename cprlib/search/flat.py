"""The search in blocks by FAISS, where that is installed: all vectors in memory, for many queries of one process."""

from pathlib import Path

import numpy as np
import pandas as pd

from cprlib.search.shards import blocks

BYTES = 2**30  # of vectors that may be held in memory
TOLERANCE = 1e-5  # that dot products of vectors of length 1 differ by, however they are added up


class Flat:
    """All vectors of one kind in FAISS, and the video that each is of.

    Args:
        folder, videos, kind: see :func:`cprlib.search.shards.best_of_each`.

    Raises:
        ImportError: FAISS is not installed.
        MemoryError: the vectors take more than `BYTES`.
    """

    def __init__(self, folder: Path, videos: pd.DataFrame, kind: str):
        import faiss  # takes as long as a query, which is why the first one goes without

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
        """As of the blocks for the `top` videos and all that may be level with the last of these, else -inf.

        Returns:
            float32 (V,), or None where so many are asked for that the blocks are as quick.
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
