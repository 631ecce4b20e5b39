"""Exact search of an index against FAISS: processor seconds of the first and of a further query, alternately.

python -m bench.faiss_search 100000      vectors of 256 numbers; wants `pip install faiss-cpu`
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from cprlib.search.shards import best_of_each, shard_file

DIM, TOP, ROUNDS, QUERIES = 256, 10, 3, 5


def ours(folder: Path, count: int) -> Callable[[np.ndarray], np.ndarray]:
    videos = pd.DataFrame({"shard": "s", "row": range(count), "first": 0, "count": 1})
    return lambda q: np.argsort(-best_of_each(folder, videos, q, "whole", slice(None)), kind="stable")[:TOP]


def flat(folder: Path, count: int) -> Callable[[np.ndarray], np.ndarray]:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(DIM)
    index.add(np.load(shard_file(folder, "s", "whole")))
    return lambda q: index.search(q[None], TOP)[1][0]


def main(count: int) -> None:
    draw = np.random.default_rng(0)
    with TemporaryDirectory() as name:
        vectors = draw.standard_normal((count, DIM), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        shard_file(Path(name), "s", "whole").parent.mkdir()
        np.save(shard_file(Path(name), "s", "whole"), vectors)
        queries = vectors[:QUERIES] + 0.05 * draw.standard_normal((QUERIES, DIM), dtype=np.float32)
        del vectors
        for _ in range(ROUNDS):
            found = {}
            for way in (ours, flat):
                start = time.process_time()
                ask = way(Path(name), count)
                found[way] = [ask(queries[0])]
                first = time.process_time() - start
                found[way] += [ask(query) for query in queries[1:]]
                more = (time.process_time() - start - first) / (QUERIES - 1)
                print(f"{way.__name__:5} {count} vectors: first query {first:.3f} s, each further one {more:.3f} s")
            print(f"the same {TOP}: {np.array_equal(found[ours], found[flat])}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
