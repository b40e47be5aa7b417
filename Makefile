# Every target creates .venv when it is missing and installs the package with its tested lock into it.
# Pythons with a lock in constraints/, the preferred one first.
PYTHONS := 3.11 3.12 3.13
# The first of them that runs (one of pyenv's may be there and not run), unless PYTHON=... says which.
PYTHON ?= $(firstword $(foreach version,$(PYTHONS),$(shell python$(version) -c "" >/dev/null 2>&1 && echo python$(version))))
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

# Of an interpreter: its version, such as 3.12 (empty: it does not run), and its lock.
version_of = $(shell $(1) -c "import sys; print('%d.%d' % sys.version_info[:2])" 2>/dev/null)
lock_of = constraints/py$(subst .,,$(call version_of,$(1))).txt

# PYTHON=... has no effect on a .venv that is there, so that another one is refused.
ifneq (,$(filter command environment,$(firstword $(origin PYTHON))))
ifneq (,$(wildcard $(BIN)/python))
ifeq (,$(filter clean help,$(MAKECMDGOALS)))
ifneq ($(call version_of,$(PYTHON)),$(call version_of,$(BIN)/python))
$(error .venv is of Python $(call version_of,$(BIN)/python) and PYTHON=$(PYTHON) is \
another one (version '$(call version_of,$(PYTHON))'); leave PYTHON out, or say make clean first)
endif
endif
endif
endif

.PHONY: train test test-fast test-long wheel-test image-test canary dist docs bench lint clean
.DEFAULT_GOAL := help

help:
	@echo "make train      set up, train QMIX on predator_prey/small with live progress, write a report"
	@echo "make test       set up and run the tests, as CI does (make test-fast: without the slow ones; WORKERS=1: one after another)"
	@echo "make test-long  the tests marked 'long': whole products, series of faults, soaks; never in CI"
	@echo "make wheel-test build the wheel, install it into an empty virtual environment and use it there"
	@echo "make image-test build the image of docker/ without a container engine and use it there (root, buildah, mmdebstrap)"
	@echo "make canary RAY=2.58.1  run a named subset of the tests on another Ray, in an environment of its own"
	@echo "make dist       build and check the wheel and the sdist of a release: build/dist"
	@echo "make docs       build the documentation site into build/docs/html; any warning is an error"
	@echo "make bench      print the benchmarks as JSON lines"
	@echo "make lint       ruff and mypy"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: none of Python $(PYTHONS) runs here; install one, or say make PYTHON=..." >&2; exit 2; }
	@test -n "$(call version_of,$(PYTHON))" || { echo "make: PYTHON=$(PYTHON) does not run; install it or say another" >&2; exit 2; }
	@$(call need_lock,$(PYTHON))
	$(PYTHON) -m venv $(VENV)

# Without a lock nobody knows which packages would come.
need_lock = test -f $(call lock_of,$(1)) || { echo "make: $(1) is Python $(call version_of,$(1)), which has no lock in" \
	"constraints/ ($(PYTHONS) have); say make clean, then make PYTHON=python3.11 or another of these;" \
	"a new lock: CONTRIBUTING.md, Locks" >&2; exit 2; }

$(STAMP): setup.py setup.cfg pyproject.toml $(wildcard constraints/py*.txt) | $(BIN)/python
	@$(call need_lock,$(BIN)/python)
	# torch on its own first: with a CPU file of the locked release at hand pip takes that one, and keeps it.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(call lock_of,$(BIN)/python) torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(call lock_of,$(BIN)/python) --editable ".[dev]"
	# Without what it asks for: enum34 and messages for protobuf 3. The tests drive the mock server with it.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps pysc2==4.0.0
	touch $@

# What the site needs beside what the tests do.
$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(call lock_of,$(BIN)/python) --editable ".[docs]"
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

canary: $(STAMP)
	@test -n "$(RAY)" || { echo "make: say which Ray, such as make canary RAY=2.58.1" >&2; exit 2; }
	$(BIN)/python -m tests.canary $(RAY)

dist: $(STAMP)
	$(BIN)/python -m tests.wheel.dist

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
