"""Do copies of a video find it? Index a folder, and query it with re-encoded, mirrored and cut copies of some videos.

    python -m bench.copies FOLDER RUN [--every 6] [--workers 1]

R@1, in percent: how often the original is the most similar video, by whole videos and by windows, in each view.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cprlib.data.container import decode
from cprlib.data.video import write_video
from cprlib.search import Index, update_index
from cprlib.store.errors import one_line

COPIES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {  # change of the frames (T, H, W, 3), x264's crf
    "re-encoded": (lambda frames: frames, 34),
    "mirrored": (lambda frames: frames[:, :, ::-1].copy(), 18),
    "middle half": (lambda frames: frames[len(frames) // 4 : len(frames) * 3 // 4], 18),
}


def recall_of_copies(index: Index, videos: list[str], copy: str) -> dict[str, float]:
    """R@1 of copies of these videos, keyed by "<whole or windows> <view>"."""
    change, crf = COPIES[copy]
    hits = pd.DataFrame(index=videos)
    with tempfile.TemporaryDirectory() as folder:
        for video in videos:
            path = Path(folder) / "copy.mp4"
            write_video(path, torch.from_numpy(change(np.stack(list(decode(video))))), crf=crf)
            query = index.vectors(path).whole
            for by in ("whole", "windows"):
                for view in (*index.parts, None):
                    best = index.similarities(query, by, view).argmax()
                    hits.loc[video, f"{by} {view or 'both'}"] = index.videos.path[best] == video
    return hits.astype(float).mean().to_dict()


@one_line()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of videos")
    parser.add_argument("run", help="networks, e.g. outputs/toy/cpr")
    parser.add_argument("--every", type=int, default=6, help="copy every n-th video")
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    index, _ = update_index(args.folder, args.run, workers=args.workers)
    videos = index.videos.path.tolist()[:: args.every]
    table = pd.DataFrame({copy: recall_of_copies(index, videos, copy) for copy in COPIES}).T
    print(f"{len(videos)} of {len(index)} videos, R@1 (%)\n{(100 * table).round(1).to_string()}")


if __name__ == "__main__":
    main()
