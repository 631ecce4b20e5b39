"""Exact search of an index against FAISS: CPU seconds of the first and of a further query, alternately.

python -m bench.faiss_search 100000      vectors of 256 numbers; needs `pip install -e '.[faiss]' -c constraints.txt`
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from cprlib.search.flat import Flat
from cprlib.search.shards import KINDS, best_of_each, shard_file

DIM, TOP, ROUNDS, QUERIES = 256, 10, 3, 5


def best(found: np.ndarray) -> np.ndarray:
    near = np.flatnonzero(found > -np.inf)
    near = near[found[near] >= np.partition(found[near], -TOP)[-TOP]]
    return near[np.argsort(-found[near], kind="stable")]


def ours(folder: Path, videos: pd.DataFrame, kind: str) -> Callable[[np.ndarray], np.ndarray]:
    return lambda query: best(best_of_each(folder, videos, query, kind, slice(None)))


def flat(folder: Path, videos: pd.DataFrame, kind: str) -> Callable[[np.ndarray], np.ndarray]:
    index = Flat(folder, videos, kind)
    return lambda query: best(index.best_of_each(query, slice(None), TOP))


def compare(folder: Path, vectors: np.ndarray, queries: np.ndarray, kind: str) -> None:
    videos = pd.DataFrame({"shard": "s", "row": range(len(vectors)), "first": range(len(vectors)), "count": 1})
    shard_file(folder, "s", kind).parent.mkdir(exist_ok=True)
    np.save(shard_file(folder, "s", kind), vectors.astype(KINDS[kind]))
    for _ in range(ROUNDS):
        found = {}
        for way in (ours, flat):
            start = time.process_time()
            ask = way(folder, videos, kind)
            found[way] = [ask(queries[0])]
            first = time.process_time() - start
            found[way] += [ask(query) for query in queries[1:]]
            more = (time.process_time() - start - first) / (QUERIES - 1)
            print(f"{way.__name__:5} {len(vectors)} {kind}: first query {first:.3f} s, each further one {more:.3f} s")
        print(f"the same {TOP}: {np.array_equal(found[ours], found[flat])}")


def main(count: int) -> None:
    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((count, DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = vectors[:QUERIES] + 0.05 * draw.standard_normal((QUERIES, DIM), dtype=np.float32)
    with TemporaryDirectory() as name:
        for kind in ("whole", "windows"):  # one window per video
            compare(Path(name), vectors, queries, kind)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("count", type=int, nargs="?", default=100_000, help="vectors")
    if (count := parser.parse_args().count) < QUERIES:
        parser.error(f"count: {count} must be at least {QUERIES}")
    main(count)
