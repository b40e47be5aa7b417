# Every target creates .venv when it is missing and installs the package with its tested lock into it.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed_docs
# Test processes side by side. Whole files go to a process, in the order of the names: the slow ones are first.
WORKERS ?= 3
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
# One thread per process: Ray starts several processes, and they must not fight for the cores.
export OMP_NUM_THREADS := 1
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: train test test-fast test-long wheel-test image-test docs bench lint clean
.DEFAULT_GOAL := help

help:
	@echo "make train      set up, train QMIX on predator_prey/small with live progress, write a report"
	@echo "make test       set up and run the tests, as CI does (make test-fast: without the slow ones; WORKERS=1: one after another)"
	@echo "make test-long  the tests marked 'long': whole products, series of faults, soaks; never in CI"
	@echo "make wheel-test build the wheel, install it into an empty virtual environment and use it there"
	@echo "make image-test build the image of docker/ without a container engine and use it there (root, buildah, mmdebstrap)"
	@echo "make docs       build the documentation site into build/docs/html; any warning is an error"
	@echo "make bench      print the benchmarks as JSON lines"
	@echo "make lint       ruff and mypy"

$(STAMP): setup.py setup.cfg pyproject.toml constraints/py311.txt
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "make: $(PYTHON) is not installed; install Python 3.11 or say make PYTHON=..." >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# torch on its own first: with a CPU file of the locked release at hand pip takes that one, and keeps it.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints/py311.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints/py311.txt --editable ".[dev]"
	# Without what it asks for: enum34 and messages for protobuf 3. The tests drive the mock server with it.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps pysc2==4.0.0
	touch $@

# What the site needs beside what the tests do.
$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints/py311.txt --editable ".[docs]"
	touch $@

train: $(STAMP)
	$(BIN)/python -m rllib_reborn train predator_prey/small/qmix_quick

test: $(STAMP)
	$(PYTEST) -m "not long"

test-fast: $(STAMP)
	$(PYTEST) -m "not slow and not long"

test-long: $(DOCS_STAMP)
	$(PYTEST) -m long --timeout 0

wheel-test: $(STAMP)
	$(BIN)/python tests/wheel/run.py

image-test: $(STAMP)
	$(BIN)/python -m tests.docker.build_image

docs: $(DOCS_STAMP)
	$(BIN)/python -m docs.site

bench: $(STAMP)
	$(BIN)/python -m benchmarks.sampling --json
	$(BIN)/python -m benchmarks.learner --json
	$(BIN)/python -m benchmarks.plasticity --json
	$(BIN)/python -m benchmarks.end_to_end --json
	$(BIN)/python -m benchmarks.feeding --json
	$(BIN)/python -m benchmarks.battle --json
	$(BIN)/python -m benchmarks.starcraft_threads --json

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build *.egg-info
