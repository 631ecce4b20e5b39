#!/bin/sh
# The GPU benchmarks: mining, a step of S3D with its settings, TV-L1. Besides torch, torchvision and this checkout they
# need what cprlib.training and cprlib.data import: pandas, pyarrow, OpenCV, PyAV, tensorboard and the like; neither
# decord nor the packages of the notebooks.  bench/gpu.sh [FILE]
cd "$(dirname "$0")/.." || exit 1
PYTHON=python3; [ -x .venv/bin/python ] && PYTHON=.venv/bin/python
exec "$PYTHON" -m bench.run cascade step flow --device cuda --out "${1:-bench/results/speed.csv}"
