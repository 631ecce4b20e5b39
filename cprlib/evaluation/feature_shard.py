"""Extract features in one of several jobs, each with a part of the videos of every split.

    python -m cprlib.evaluation.feature_shard TRAINING ... --manifest FILE --shard 0/4

They are kept beside the networks; :func:`cprlib.evaluation.features.network_features` for all videos joins them.
"""

import argparse

from cprlib.data.frames import open_frames
from cprlib.data.manifest import Manifest
from cprlib.data.parallel import read_shard
from cprlib.evaluation.features import network_features
from cprlib.store.errors import one_line
from cprlib.store.files import resolve
from cprlib.store.folders import read_config


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trainings", nargs="+", help="folders of networks")
    parser.add_argument("--manifest", required=True, help="all videos")
    parser.add_argument("--cache", default="", help="frame cache; empty: decode")
    parser.add_argument("--short-side", type=int, default=0, help="pixels that videos are read at; 0: as they are")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=0, help="loader processes")
    parser.add_argument("--shard", required=True, help="i/n: every n-th video, from the i-th on")
    args = parser.parse_args()
    with one_line():
        manifest, shard = Manifest.read(resolve(args.manifest)), read_shard(args.shard)
        for training in args.trainings:
            config = read_config(training)
            views = [config["view"], *([config["other_view"]] if "other_view" in config else [])]
            frames = open_frames(manifest, views, args.short_side, args.cache)
            for view in views:
                for split in ("test", "train"):
                    sizes = args.batch_size, args.workers
                    network_features(training, manifest, frames, split, *sizes, view, shard=shard)


if __name__ == "__main__":
    main()
