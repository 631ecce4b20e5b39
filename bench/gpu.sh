#!/bin/sh
# The benchmarks that a GPU is for: mining, a step of S3D with its settings, TV-L1. Beside torch, torchvision and this
# checkout it needs what cprlib.training and cprlib.data import: pandas, pyarrow, OpenCV, PyAV, tensorboard and the like;
# not decord, nor what notebooks need.  bench/gpu.sh [FILE]
cd "$(dirname "$0")/.." || exit 1
PYTHON=python3; [ -x .venv/bin/python ] && PYTHON=.venv/bin/python
exec "$PYTHON" -m bench.run cascade step flow --device cuda --out "${1:-bench/results/speed.csv}"
