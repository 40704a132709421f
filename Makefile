# `make quickstart` and `make test` build .venv if needed, then run; `make help` lists the rest.
# PYTHON=/path/to/python chooses the interpreter that .venv is made from.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON := $(shell for p in python3.11 python3; do $$p -c "" 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
REQUIREMENTS := setup.cfg pyproject.toml constraints.txt
WORKERS := 2
# What is run on the wheel, and with the lowest versions: minutes, where all tests take ten.
PACKAGE_TESTS := tests/test_imports.py tests/test_readme.py tests/graphs tests/estimators/test_save_load.py
LOWEST_TESTS := tests/test_imports.py tests/graphs tests/datasets tests/model_selection/search \
    tests/estimators/test_save_load.py tests/estimators/test_property_regressor.py

# Parallelism is over test processes; threads of torch or BLAS within them would fight for cores.
test lint docs fuzz kills sanitize package lowest: export OMP_NUM_THREADS := 1
# Examples draw into files here, never into a window.
quickstart test docs package lowest: export MPLBACKEND := Agg
# The gallery runs each example at its smallest scale; `make docs GNNPRE_SCALE=small` takes minutes.
docs: export GNNPRE_SCALE ?= smallest

.PHONY: help quickstart test lint docs fuzz kills sanitize package lowest pretrained clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

quickstart: $(VENV)/.examples-installed ## Run the first example: pre-train, fine-tune, predict
	$(BIN)/python examples/plot_quickstart.py

test: $(VENV)/.test-installed lint ## Run the linters, type checks, tests and doctests
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations 10

lint: $(VENV)/.test-installed ## Run the linters and type checks alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs-installed ## Build the documentation into docs/_build/html; warnings are errors
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -b html -d docs/_build/doctrees \
	    docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

package: $(VENV)/.test-installed ## Build sdist and wheel; test the wheel, outside this folder, by the sdist's tests
	rm -rf build/package && mkdir -p build/package/wheel
	cd build/package && $(CURDIR)/$(BIN)/python -m build --no-isolation --outdir . $(CURDIR) > log.txt \
	    || { cat log.txt; exit 1; }
	cd build/package && tar --extract --gzip --file gnnpre-*.tar.gz && mv gnnpre-*/ sdist && rm -r sdist/gnnpre
	$(PIP) install --no-deps --target build/package/wheel build/package/*.whl
	cd build/package/sdist && env -u GNNPRE_DATA PYTHONPATH=$(CURDIR)/build/package/wheel \
	    $(CURDIR)/$(BIN)/python -m pytest -q -n $(WORKERS) $(PACKAGE_TESTS)

lowest: build/lowest/.installed ## Test with the lowest versions that setup.cfg promises
	env -u GNNPRE_DATA PYTHONPATH=$(CURDIR) build/lowest/bin/python -m pytest -q -n $(WORKERS) $(LOWEST_TESTS)

build/lowest/.installed: setup.cfg
	rm -rf build/lowest && mkdir -p build && $(PYTHON) -m venv build/lowest
	$(PYTHON) .ci/lowest.py setup.cfg > build/lowest/requirements.txt
	build/lowest/bin/python -m pip install --quiet --disable-pip-version-check \
	    --requirement build/lowest/requirements.txt
	@touch $@

fuzz: $(VENV)/.test-installed ## Try INPUTS strange inputs (10000) drawn from SEED (0)
	$(BIN)/python -m tests.fuzz --inputs $(or $(INPUTS),10000) --seed $(or $(SEED),0) --workers $(WORKERS)

kills: $(VENV)/.test-installed ## Kill 500 saves of each kind and 100 trainings of each kind
	$(BIN)/python -m tests.fuzz.kills --saves 500 --trainings 100

sanitize: $(VENV)/.test-installed ## Run the kernels in C under gcc's sanitizers: memory, undefined behaviour, races
	$(BIN)/python -m tests.fuzz.sanitize

pretrained: $(VENV)/.test-installed ## Train the models in gnnpre/pretrained anew: three hours on one core, from GNNPRE_DATA
	$(BIN)/python -m benchmarks pretrained --folder build/pretrained

clean: ## Remove .venv, caches and build leftovers
	rm -rf $(VENV) build dist docs/_build docs/api docs/cards docs/auto_examples *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find gnnpre tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# One stamp for each extra: made again when a requirement changes. Both extras fit in one .venv.
$(VENV)/.%-installed: $(REQUIREMENTS) | $(VENV)/bin/python
	@echo "Installing gnnpre[$*] into $(VENV) (the first time takes minutes)"
	@$(PIP) install --editable ".[$*]" --constraint constraints.txt
	@touch $@

$(VENV)/bin/python:
	@if [ -z "$(PYTHON)" ]; then \
	    echo "gnnpre needs Python 3.11 or newer, and neither python3.11 nor python3 runs here." \
	        "Install one, or name one: make PYTHON=/path/to/python3.11" >&2; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("gnnpre needs Python 3.11 " \
	    "or newer; $(PYTHON) is %d.%d. Name another: make PYTHON=/path/to/python3.11" \
	    % sys.version_info[:2])'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
