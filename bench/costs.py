"""How costs scale: ``python -m bench.costs [cascade | step | flow | loading | card ...]``

The cascade over K and stages, a training step over batch and clip, flow extraction over videos, loading over worker
processes, and the batch that fits a GPU. CPU seconds of this process, the median of three calls (one call for flow);
loading is in wall-clock time and needs a quiet machine. Prints tables in Markdown.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import torch

from bench.cascade import DIM, example
from bench.pair import CPU, machine, peak, seconds
from bench.samples import LENGTH, SIZE, VIEWS, a_few_videos
from bench.step import clips_of_noise, one_step
from cprlib.cascade import cascade_retrieve, plan_stages
from cprlib.data.flow import extract_flow
from cprlib.data.frames import VideoFrames
from cprlib.data.manifest import Manifest
from cprlib.data.parallel import clip_loader
from cprlib.data.sampling import ClipPairs
from cprlib.encoders import build_encoder
from cprlib.training.config import TrainingConfig
from cprlib.training.fit import new_state

BATCH, SIZES = 16, (2048, 4096, 16384, 65536, 650_000)  # the last: one row per video of Kinetics-700
CARDS = (16, 24, 80)  # GB
SAMPLES = (500, 1000, 2000)  # numbers of samples after which memory is measured
CLIPS = ((16, 8, 40), (32, 8, 40), (64, 8, 40), (16, 16, 40), (16, 8, 80), (16, 16, 112))  # B, T, side


def cost(function: Callable) -> tuple[float, float]:
    """Median ms and peak MB of a call."""
    memory, _ = peak(function, CPU)
    return 1e3 * statistics.median(seconds(function, 1, CPU) for _ in range(3)), memory


def tell(*cells: object) -> None:
    """Print a line of a table, numbers that were measured with four digits."""
    texts = (f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells)
    print(f"| {' | '.join(texts)} |", flush=True)


def cascade_table() -> None:
    """Time and memory of mining; should be linear in K."""
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
        tell(size, 2 * size * DIM * 4 / 1e6, *times, 1e6 * times[1] / size / BATCH, memory)


def step_table() -> None:
    """InfoNCE with `tiny`; should be linear in the pixels of a batch."""
    print("\n| B | T | side | ms | clips a second | per million pixels, ms |\n|--:|--:|--:|--:|--:|--:|")
    for batch, frames, side in CLIPS:
        config = TrainingConfig("", "", backbone="tiny", dim=64, K=256, device="cpu")
        step = one_step(config, new_state(config), clips_of_noise("rgb", 3, (batch, frames, side)))
        step()  # gives the next step negatives
        ms, _ = cost(step)
        tell(batch, frames, side, ms, 2e3 * batch / ms, ms / (2 * batch * frames * side * side / 1e6))


def flow_table() -> None:
    """DIS flow of video files; should be linear in frames."""
    print("\n| videos | frames | DIS flow, s | ms a frame | KB a frame |\n|--:|--:|--:|--:|--:|")
    with TemporaryDirectory(prefix="cprlib-") as folder:
        table = a_few_videos(Path(folder)).table
        for count in (1, 2, 4):
            part, place = Manifest(table[:count].assign(flow_path="")), Path(folder) / str(count)
            time = seconds(lambda part=part, place=place: extract_flow(part, place, "dis", 20.0, workers=1), 1, CPU)
            frames = int(part.table.num_frames.sum())
            size = sum(file.stat().st_size for file in place.rglob("*.mp4"))
            tell(count, frames, time, 1e3 * time / frames, size / 1e3 / frames)


def loading_table() -> None:
    """Samples from video files by number of workers (0 = this process), and memory of all processes over time."""
    print(f"\n| workers | samples a second | {' | '.join(f'MB after {n}' for n in SAMPLES)} |\n|--:|--:|--:|--:|--:|")
    with TemporaryDirectory(prefix="cprlib-") as folder:
        manifest = a_few_videos(Path(folder))
        frames = VideoFrames(manifest, VIEWS)
        clips = ClipPairs(manifest.table, manifest.source_codes, frames, VIEWS, VIEWS, LENGTH, 1, SIZE)
        items = [(n % len(manifest.table), n) for n in range(SAMPLES[-1])]
        for workers in (0, 1, 2):
            held, start, own = [], time.perf_counter(), psutil.Process()
            for n, _ in enumerate(clip_loader(clips, workers, sampler=items, batch_size=None), 1):
                if n in SAMPLES:
                    processes = (own, *own.children(recursive=True))
                    held.append(sum(process.memory_full_info().uss for process in processes) / 1e6)
            tell(workers, SAMPLES[-1] / (time.perf_counter() - start), *held)


def card_table() -> None:
    """Computed, not measured: what autograd keeps per clip in fp32; a fifth of the GPU is left for temporaries."""
    print("\n| network | T | side | of a clip, MB | networks and optimiser, MB | B on 16, 24, 80 GB |")
    print("|:--|--:|--:|--:|--:|--:|")
    for backbone, frames, side in (("tiny", 8, 40), ("r3d_18", 16, 112), ("s3d", 32, 128)):
        encoder, kept = build_encoder(backbone), {}

        def keep(x: torch.Tensor, kept: dict = kept) -> torch.Tensor:
            kept[x.data_ptr()] = x.nbytes
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            result = encoder(torch.rand(2, 3, frames, side, side))  # keeps its graph alive until it is counted
        weights = {p.data_ptr(): p.nbytes for p in encoder.parameters()}
        clip = sum(size for place, size in kept.items() if place not in weights) / len(result) / 1e6
        fixed = 6 * sum(weights.values()) / 1e6  # network, key encoder, sampler, gradients, Adam's two moments
        fits = [int((0.8 * 1e3 * card - fixed) / clip) for card in CARDS]
        tell(backbone, frames, side, clip, fixed, ", ".join(map(str, fits)))


def main() -> None:
    torch.set_num_threads(1)
    tables = dict(cascade=cascade_table, step=step_table, flow=flow_table, loading=loading_table, card=card_table)
    parser = argparse.ArgumentParser(description="Print tables of costs.")
    parser.add_argument("table", nargs="*", help=f"{', '.join(tables)}; default: all")
    names = parser.parse_args().table or list(tables)
    if unknown := set(names) - set(tables):
        parser.error(f"no table {', '.join(sorted(unknown))}; there are {', '.join(tables)}")
    print(", ".join(f"{name} {value}" for name, value in machine(CPU).items()))
    for name in names:
        tables[name]()


if __name__ == "__main__":
    main()
