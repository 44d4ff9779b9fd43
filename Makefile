# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
SHELL := /bin/sh
VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$p; break; }; done)

# One more than there are cores: many tests wait.
WORKERS ?= $$($(BIN)/python -c 'import os; print((os.cpu_count() or 1) + 1)')

# Tests and the service start many processes: without bytecode each would compile everything again.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test browser check lint types imports up clean lock help

help:
	@echo 'make demo   clip a synthetic live channel on embedded defaults and show the result'
	@echo 'make test   set up and run the whole test suite'
	@echo 'make browser play delivered clips in Chromium and Firefox, where they are installed'
	@echo 'make check  lint, types and import rules'
	@echo 'make up     run the whole stack in the foreground (data in ./data)'
	@echo 'make lock   pin the dependencies again'

demo: $(VENV)/.run
	@$(BIN)/cuttingroom demo

up: $(VENV)/.run
	@$(BIN)/cuttingroom up --data data

test: $(VENV)/.dev
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadscope --no-loadscope-reorder $(TESTS)

browser: $(VENV)/.dev
	@$(BIN)/python -m pytest -q -m browser tests/browser

check: lint types imports

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev
	$(BIN)/lint-imports

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo 'cuttingroom needs Python 3.11 or newer with its venv module (Debian: apt install python3-venv).' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo 'Python has no working venv module (Debian: apt install python3-venv).' >&2; exit 1; }

$(VENV)/.run: $(VENV)/bin/python pyproject.toml requirements/run.lock
	@echo 'Setting up (once)…'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/run.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.lock
	@touch $@

lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --extra embedded --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet -o requirements/run.lock
	uv pip compile pyproject.toml --universal --python-version 3.11 --extra embedded --extra dev --extra postgres --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet -o requirements/dev.lock

clean:
	rm -rf $(VENV) data .mypy_cache .ruff_cache .pytest_cache
