# The commands of the project. Each makes .venv and installs what it needs if it is missing or outdated.
PARAMS ?= params/toy.yaml
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
ARGS ?=
# Another package index for torch and torchvision, for example one with CPU-only builds.
TORCH_INDEX ?=

PYTHON = .venv/bin/python
# The settings of profiles/default, given here so that Snakemake does not print that it uses a profile.
PIPELINE = --configfile $(PARAMS) --cores $(CORES) --workflow-profile none --nolock --rerun-incomplete $(ARGS)

.PHONY: help lab demo tables report figures pictures test lint browser bench
help:
	@echo 'make lab    JupyterLab with the walkthrough open'
	@echo 'make demo   the whole pipeline on the built-in data, then the comparison'
	@echo '            PARAMS=params/ucf101_12.yaml  ARGS="--config run=toy-seed1 seed=1"  CORES=2'
	@echo 'make tables the same, then fine-tuning, the ablation and the tables of the paper'
	@echo 'make report RUN=toy   one page of a run, and an index of all; make figures RUN=toy: the figures of the paper, PNG and PDF'
	@echo 'make test   style and tests     make lint   style only     make bench   benchmarks'

lab: .venv/.installed
	@$(PYTHON) -m jupyterlab --LabApp.default_url=/lab/tree/notebooks/00_coclr_vs_cpr_walkthrough.ipynb $(ARGS)

demo: .venv/.installed $(PARAMS)
	@$(PYTHON) -m snakemake --quiet host progress rules reason $(PIPELINE)
	@$(PYTHON) -m snakemake show --quiet all $(PIPELINE)

tables: demo
	@$(PYTHON) -m snakemake tables --quiet host progress rules reason $(PIPELINE)

report: .venv/.installed
	@$(PYTHON) -m cprlib.report.html $(RUN)

figures: .venv/.installed
	@$(PYTHON) -m cprlib.report.figures $(RUN)

# The pictures of README and docs; docs/make_pictures.py lists the runs they come from.
pictures: .venv/.installed browser
	@$(PYTHON) -m docs.make_pictures

# Four processes, because many tests wait more than they compute; a whole file per process, in the order of tests/conftest.py. (pytest-xdist 3.8 ignores groups under pytest 9.2.)
test: lint browser .venv/.examples
	$(PYTHON) -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

# A browser for the tests of notebooks and reports: an installed one, else the system's package, else Playwright's own.
# Without a browser these tests are skipped, except in CI, where this fails.
browser: .venv/.installed
	@$(PYTHON) -m tests.lab >/dev/null || { apt-get install --quiet --yes --no-install-recommends chromium \
		|| { apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends chromium; } \
		|| $(PYTHON) -m playwright install chromium; } >/dev/null 2>&1; $(PYTHON) -m tests.lab || test -z "$$CI"

lint: .venv/.installed
	$(PYTHON) -m ruff check
	$(PYTHON) -m nbstripout --verify --keep-id $(wildcard notebooks/*.ipynb)

# The libraries that examples/ extend with the cascade, and FAISS.
.venv/.examples: .venv/.installed
	$(PYTHON) -m pip install -qq -e '.[dev,examples,faiss]' -c constraints.txt
	@touch $@

# One thread, because the benchmarks compare CPU time.
bench: .venv/.installed
	OMP_NUM_THREADS=1 $(PYTHON) -m bench.run --out bench/results/speed.csv $(ARGS)

# torch and torchvision in one step, because each torchvision build fits only one torch build.
.venv/.installed: pyproject.toml constraints.txt
	@python=; for p in python3 python3.13 python3.12 python3.11; do \
		$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && python=$$p && break; \
	done; \
	if [ -z "$$python" ]; then echo 'error: Python 3.11 or newer is needed; none found' >&2; exit 1; fi; \
	$(PYTHON) -m pip --version >/dev/null 2>&1 || $$python -m venv --clear .venv || { \
		echo "error: $$python cannot make .venv; install its venv module (python3-venv)" >&2; exit 1; }
	$(PYTHON) -m pip install --quiet torch torchvision -c constraints.txt \
		$(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(PYTHON) -m pip install -qq -e '.[dev]' -c constraints.txt
	@touch $@
