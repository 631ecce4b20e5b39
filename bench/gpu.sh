#!/bin/sh
# The benchmarks on a GPU; needs torch, torchvision, pandas, OpenCV and PyAV beside this checkout.  bench/gpu.sh [FILE]
cd "$(dirname "$0")/.." || exit 1
PYTHON=python3; [ -x .venv/bin/python ] && PYTHON=.venv/bin/python
exec "$PYTHON" -m bench.run cascade step --device cuda --out "${1:-bench/results/speed.csv}"
