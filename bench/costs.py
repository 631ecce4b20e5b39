"""What grows with what: the cascade over K and stages, a training step over batch and clip. ``python -m bench.costs``

CPU seconds of this process, the median of three calls; tables in Markdown.
"""

import statistics
from collections.abc import Callable

import torch

from bench.cascade import DIM, example
from bench.pair import CPU, machine, peak, seconds
from bench.step import clips_of_noise, one_step
from cprlib.cascade import cascade_retrieve, plan_stages
from cprlib.training.config import TrainingConfig
from cprlib.training.fit import new_state

BATCH, SIZES = 16, (2048, 4096, 16384, 65536, 540_000)  # the last one: a row for every video of Kinetics-700
CLIPS = ((16, 8, 40), (32, 8, 40), (64, 8, 40), (16, 16, 40), (16, 8, 80), (16, 16, 112))  # B, T, side


def cost(function: Callable) -> tuple[float, float]:
    """Median ms and peak MB of a call."""
    memory, _ = peak(function, CPU)
    return 1e3 * statistics.median(seconds(function, 1, CPU) for _ in range(3)), memory


def cascade_table() -> None:
    """Time and memory of mining; it is to be linear in K."""
    print(
        f"\n| K | memory of two views, MB | B {BATCH}, 3 stages, ms | 9 stages, ms | per row and query, ns | peak, MB |"
    )
    print("|--:|--:|--:|--:|--:|--:|")
    for size in SIZES:
        queries, bank, exclude = example(BATCH, size)
        times = []
        for count in (3, 9):
            stages = plan_stages(size, num_stages=count)
            ms, memory = cost(lambda q=queries, b=bank, s=stages, e=exclude: cascade_retrieve(q, b, s, e))
            times.append(ms)
        row = 2 * size * DIM * 4 / 1e6, times[0], times[1], 1e6 * times[1] / size / BATCH, memory
        print(f"| {size} | " + " | ".join(f"{value:.4g}" for value in row) + " |", flush=True)


def step_table() -> None:
    """InfoNCE with `tiny`; it is to be linear in the pixels of a batch."""
    print("\n| B | T | side | ms | clips a second | per million pixels, ms |\n|--:|--:|--:|--:|--:|--:|")
    for batch, frames, side in CLIPS:
        config = TrainingConfig("", "", backbone="tiny", dim=64, K=256, device="cpu")
        step = one_step(config, new_state(config), clips_of_noise("rgb", 3, (batch, frames, side)))
        step()  # afterwards there are negatives
        ms, _ = cost(step)
        row = ms, 2e3 * batch / ms, ms / (2 * batch * frames * side * side / 1e6)
        print(f"| {batch} | {frames} | {side} | " + " | ".join(f"{value:.4g}" for value in row) + " |", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    print(", ".join(f"{name} {value}" for name, value in machine(CPU).items()))
    cascade_table()
    step_table()


if __name__ == "__main__":
    main()
