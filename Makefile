# One verb per habit. `make train` and `make test` need Python 3.11-3.13 and make, nothing else.
#
# Paths are relative, so the checkout may lie anywhere. Each stamp in .venv depends on pyproject.toml and
# constraints.txt alone; once it is there, no target but `clean` and a change to those two needs the network.

PYTHON  ?= python3
WORKERS ?= 2
ARGS    ?=

# Two threads on two busy cores spin instead of working: one thread per process, for tests and benchmarks.
SINGLE := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

PY  := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
TXT := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help numbers train test test-slow test-all test-arviz newer lint format types docs bench wheel clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@printf '\n  make train ARGS="model.latent_dim=2 trainer.epochs=5"   passes keys on to ppl-vae train\n'

train: .venv/.run ## Train the default VAE on the embedded digits
	$(PY) -m ppl_vae train $(or $(ARGS),trainer.epochs=200)

test: .venv/.dev ## Run the test suite (a few minutes)
	$(SINGLE) $(PY) -m pytest -n $(WORKERS) -m "not slow" $(ARGS)

test-slow: .venv/.dev ## Run only the slow tests
	$(SINGLE) $(PY) -m pytest -n $(WORKERS) -m slow $(ARGS) || [ $$? -eq 5 ]  # 5: there was none

test-all: .venv/.dev ## Run every test, slow ones too
	$(SINGLE) $(PY) -m pytest -n $(WORKERS) $(ARGS)

N ?= 10000

numbers: .venv/.dev ## Judge N=10000 random programs against exact numbers
	$(SINGLE) $(PY) -m tests.generated $(N) --workers $(WORKERS) --table docs/programs-tried.md $(ARGS)

# Python 3.12 and later have another generation of ArviZ; what hands data to it needs no torch, which is costly there.
NEWER ?= $(shell for p in python3.12 python3.13 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.1[23]*/bin/python; do \
  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && { echo "$$p"; break; }; done)

test-arviz: ## Test what is handed to ArviZ 1.x, on Python 3.12 or later, without torch
	@test -n "$(NEWER)" || { echo "no Python 3.12 or later found: make test-arviz NEWER=python3.12"; exit 1; }
	test -x .venv-arviz/bin/pytest || { $(NEWER) -m venv .venv-arviz && .venv-arviz/bin/python -m pip install -q \
	  -c constraints.txt 'arviz[h5netcdf,matplotlib]' h5netcdf h5py filelock pytest; }
	.venv-arviz/bin/python -m pytest -q -p no:cacheprovider tests/inference_data/test_groups.py

newer: ## Name the Python that test-arviz takes
	@echo "$(NEWER)"

lint: .venv/.dev ## Check style and formatting
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: .venv/.dev ## Rewrite files in the project's style
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

types: .venv/.dev ## Check types
	$(PY) -m mypy

docs: .venv/.docs ## Build the documentation, running its code, into site/
	$(SINGLE) $(PY) -m sphinx -W --keep-going -q -b html docs site
	@echo "open site/index.html"

bench: .venv/.dev .venv-bench/.ready ## Time the project against its peers
	$(SINGLE) $(PY) -m benchmarks $(ARGS)

wheel: .venv/.dev ## Build the wheel into dist/
	$(PY) -m build --wheel --no-isolation --outdir dist .

clean: ## Remove what the other verbs made; outputs/ stays
	rm -rf .venv .venv-bench build dist site docs/_run .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# --- set-up ---------------------------------------------------------------------------------------------------

# --no-build-isolation: the build backend, too, comes from constraints.txt, whatever the age of pip.
define install
	$(PIP) install -q --no-build-isolation -c constraints.txt -e '.$(1)'
	@touch $@
endef

.venv/.base: $(TXT)
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit( \
	  "ppl_vae needs Python 3.11 to 3.13, and %s is %d.%d: try make PYTHON=python3.11" % (sys.executable, *v))'
	@$(PY) -m pip --version >/dev/null 2>&1 || { rm -rf .venv; $(PYTHON) -m venv .venv; } || { rm -rf .venv; \
	  echo "No virtual environment could be made; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing the pinned packages into .venv (once; a few minutes) ..."
	$(PIP) install -q -c constraints.txt hatchling
	@touch $@

.venv/.run: .venv/.base
	$(call install)

.venv/.dev: .venv/.base
	$(call install,[dev])

.venv/.docs: .venv/.dev
	$(call install,[dev$(comma)docs])

# The peers, apart: what they need must not decide what the project runs with. torch as in constraints.txt, for the CPU.
.venv-bench/.ready: benchmarks/requirements.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip --disable-pip-version-check install -q -r $<
	@touch $@

comma := ,
