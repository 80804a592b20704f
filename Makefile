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
.PHONY: help train test test-slow test-all test-arviz newer resolve numbers bits torture hashes licences audit
.PHONY: lint format types docs pages bench wheel release clean

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

N     ?= 10000
TABLE ?= docs/programs-tried.md

numbers: .venv/.dev ## Judge N=10000 random programs against exact numbers
	$(SINGLE) $(PY) -m tests.generated $(N) --workers $(WORKERS) --table $(TABLE) $(ARGS)

BASE ?= HEAD

bits: .venv/.dev ## Compare training by the working tree and by the commit BASE, to the bit
	$(SINGLE) $(PY) -m tests.bits $(BASE) $(ARGS)

torture: .venv/.dev ## Kill, damage, deceive: attack what is promised, and keep docs/reliability.md
	$(SINGLE) $(PY) -m tests.torture --workers $(WORKERS) $(ARGS)

# Python 3.12 and later have another generation of ArviZ; what hands data to it needs no torch, which is costly there.
find_python = $(shell for p in python$(1) "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$(1).*/bin/python; do \
  "$$p" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(1)")' 2>/dev/null && { echo "$$p"; break; }; done)
NEWER ?= $(or $(call find_python,3.12),$(call find_python,3.13))

test-arviz: .venv-arviz/.ready ## Test what is handed to ArviZ 1.x, on Python 3.12 or later, without torch
	.venv-arviz/bin/python -m pytest -q -p no:cacheprovider tests/inference_data/test_groups.py

newer: ## Name the Python that test-arviz takes
	@echo "$(NEWER)"

resolve: .resolve-3.12 .resolve-3.13 ## Check that the pins resolve on newer Pythons, without downloading packages

# What pip would take for each pin, without fetching it; packages for newer Pythons alone are not asked for.
hashes: .venv/.dev ## Write the checksums of the pinned files into constraints-hashes.txt
	@sed -n 's/^\([A-Za-z0-9].*==[^#]*\)$$/\1/p' constraints.txt > .venv/pins.txt
	$(PIP) install -qq --dry-run --ignore-installed --no-deps --use-feature=fast-deps --no-build-isolation $(WHEELS) \
	  --report .venv/hashes.json -r .venv/pins.txt
	$(PY) .ci/hashes.py .venv/hashes.json

licences: .venv/.docs ## Write docs/licences.md from the metadata of the installed packages
	$(PY) .ci/licences.py

# Apart, and of no fixed version: it looks for what has become known since. It asks the package index for advisories.
audit: ## Look the pinned packages up in a database of known vulnerabilities
	rm -rf .venv-audit
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip --disable-pip-version-check install -q --only-binary=:all: pip-audit
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt  # strict: what cannot be looked up fails

lint: .venv/.dev ## Check style and formatting
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: .venv/.dev ## Rewrite files in the project's style
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

types: .venv/.dev ## Check types
	$(PY) -m mypy

# Tests of what builds the pages need the packages that do; without them they are skipped.
OF_DOCS := tests/test_hover.py tests/test_reference.py tests/test_trick.py

docs: .venv/.docs ## Build the documentation, running its code, into site/
	$(SINGLE) $(PY) -m pytest -q $(OF_DOCS)
	$(SINGLE) $(PY) -m sphinx -W --keep-going -q -b html docs site
	@echo "open site/index.html"

pages: .venv/.dev ## Look at every page of site/ in a browser, at the widths of five screens
	$(PY) -m tests.reports.site site

bench: .venv/.dev .venv-bench/.ready ## Time the project against its peers
	$(SINGLE) $(PY) -m benchmarks $(ARGS)

wheel: .venv/.dev ## Build the wheel into dist/
	$(PY) -m build --wheel --no-isolation --outdir dist .

release: lint types test-all docs pages wheel ## Check all that a release needs: the wheel in an environment of its own last
	rm -rf .venv-release && $(PYTHON) -m venv .venv-release
	.venv-release/bin/python -m pip --disable-pip-version-check install -q $(WHEELS) -c constraints.txt $(BACKENDS)
	.venv-release/bin/python -m pip --disable-pip-version-check install -q --no-build-isolation $(WHEELS) -c constraints.txt dist/*.whl
	cd .venv-release && rm -rf new_project && bin/ppl-vae new new_project && cd new_project && \
	  ../bin/ppl-vae train --config-dir conf experiment=new_project trainer.epochs=5

clean: ## Remove what the other verbs made; outputs/ stays
	rm -rf .venv .venv-* build dist site docs/_run docs/api .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# --- set-up ---------------------------------------------------------------------------------------------------

# What builds comes from constraints.txt, too: an isolated build would fetch the newest backend instead, since -c does
# not reach into it, nor PIP_CONSTRAINT from pip 25.3 on. So .base holds the backends of all that is built here: hatchling
# for this project, setuptools for the one package that comes as a source archive alone. (A new venv of Python 3.11
# has a setuptools that cannot make wheels, one of 3.12 has none.) All else must be a wheel: another source
# archive stops the set-up with its name, even where pip's cache holds a wheel of it from before.
BACKENDS := hatchling setuptools
WHEELS   := --only-binary=:all: --no-binary=antlr4-python3-runtime

define install
	$(PIP) install -q --no-build-isolation $(WHEELS) -c constraints.txt -e '.$(1)'
	@touch $@
endef

.venv/.base: $(TXT)
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit( \
	  "ppl_vae needs Python 3.11 to 3.13, and %s is %d.%d: try make PYTHON=python3.11" % (sys.executable, *v))'
	@$(PY) -m pip --version >/dev/null 2>&1 || { rm -rf .venv; $(PYTHON) -m venv .venv; } || { rm -rf .venv; \
	  echo "No virtual environment could be made; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing the pinned packages into .venv (once; a few minutes) ..."
	$(PIP) install -q $(WHEELS) -c constraints.txt $(BACKENDS)
	@touch $@

.venv/.run: .venv/.base
	$(call install)

.venv/.dev: .venv/.base
	$(call install,[dev])

.venv/.docs: .venv/.dev
	$(call install,[dev$(comma)docs])

# The peers, apart: what they need must not decide what the project runs with. What both need is the same.
.venv-bench/.ready: benchmarks/requirements.txt constraints.txt
	rm -rf .venv-bench
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip --disable-pip-version-check install -q $(WHEELS) -c constraints.txt -r $<
	@touch $@

.venv-arviz/.ready: constraints.txt
	@test -n "$(NEWER)" || { echo "no Python 3.12 or later found: make test-arviz NEWER=python3.12"; exit 1; }
	rm -rf .venv-arviz
	$(NEWER) -m venv .venv-arviz
	.venv-arviz/bin/python -m pip --disable-pip-version-check install -q $(WHEELS) -c constraints.txt \
	  'arviz[h5netcdf,matplotlib]' h5netcdf h5py filelock pytest
	@touch $@

# The set-up's own command as a dry run, by that Python itself: pip judges `python_version` by the one it runs on. Before
# version 23.3 pip fetches whole wheels even so. fast-deps reads the metadata inside a wheel where the package source
# does not offer them apart: some 30 MB of lists and metadata, not torch's gigabytes.
.PHONY: .resolve-3.12 .resolve-3.13
.resolve-3.12 .resolve-3.13: .resolve-%:
	@$(if $(call find_python,$*),,echo "no Python $* found: whether the pins resolve there is not checked"; exit 0;) set -e; \
	  rm -rf .venv-resolve/$*; $(call find_python,$*) -m venv .venv-resolve/$*; \
	  pip=".venv-resolve/$*/bin/python -m pip --disable-pip-version-check"; \
	  $$pip install -q $(WHEELS) -c constraints.txt pip $(BACKENDS); \
	  $$pip install -qq --dry-run --use-feature=fast-deps --report .venv-resolve/$*/report.json --no-build-isolation \
	    $(WHEELS) -c constraints.txt -e ".[$$($(PYTHON) .ci/pinned.py --extras)]"; \
	  $(PYTHON) .ci/pinned.py .venv-resolve/$*/report.json

comma := ,
