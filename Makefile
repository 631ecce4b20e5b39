# The commands of the project. Each makes .venv and installs what it needs if that is missing or old.
PARAMS ?= params/toy.yaml
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
ARGS ?=
# Another package index for torch and torchvision, for example one with CPU-only builds.
TORCH_INDEX ?=

PYTHON = .venv/bin/python
# What profiles/default says, without the line that tells of it.
PIPELINE = --configfile $(PARAMS) --cores $(CORES) --workflow-profile none --nolock --rerun-incomplete $(ARGS)

.PHONY: help lab demo tables report figures pictures test lint browser bench
help:
	@echo 'make lab    JupyterLab with the walkthrough open'
	@echo 'make demo   the whole pipeline on the built-in data, then the comparison'
	@echo '            PARAMS=params/ucf101_12.yaml  ARGS="--config run=toy-seed1 seed=1"  CORES=2'
	@echo 'make tables the same, then fine-tuning, the ablation and the tables of the paper'
	@echo 'make report RUN=toy   one page of a run, and an index of all; make figures RUN=toy: those of the paper, PNG and PDF'
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

# The pictures of README and docs; docs/make_pictures.py says from which runs.
pictures: .venv/.installed browser
	@$(PYTHON) -m docs.make_pictures

# In four processes, as many tests wait more than they compute, file by file, in the order of tests/conftest.py. (Under pytest 9.2 pytest-xdist 3.8 sees no groups.)
test: lint browser .venv/.examples
	$(PYTHON) -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

# A browser for the tests that look at notebooks and reports: one that is there, the system's, or Playwright's own. Where
# none can be had these tests are skipped, but not in CI.
browser: .venv/.installed
	@$(PYTHON) -m tests.lab >/dev/null || { apt-get install --quiet --yes --no-install-recommends chromium \
		|| { apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends chromium; } \
		|| $(PYTHON) -m playwright install chromium; } >/dev/null 2>&1; $(PYTHON) -m tests.lab || test -z "$$CI"

lint: .venv/.installed
	$(PYTHON) -m ruff check
	$(PYTHON) -m nbstripout --verify --keep-id $(wildcard notebooks/*.ipynb)

# The libraries that examples/ add the cascade to, and FAISS.
.venv/.examples: .venv/.installed
	$(PYTHON) -m pip install -qq -e '.[dev,examples,faiss]' -c constraints.txt
	@touch $@

# On one core, as all that is compared takes the time of the processor.
bench: .venv/.installed
	OMP_NUM_THREADS=1 $(PYTHON) -m bench.run --out bench/results/speed.csv $(ARGS)

# torch and torchvision in one step, as each build of one fits one build of the other.
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
