# make demo    a new machine: the light core, then `lowdose demo`
# make test    everything the suite needs, then the suite; what was skipped is printed with its reason
# make check   style, types, imports and reference pages, then the suite: what CI runs
# make bench   speed, memory and quality, written to benchmarks/results/

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet

.PHONY: help demo test check lint bench reference

help:
	@sed -n 's/^# make/make/p' Makefile

demo: $(VENV)/core-installed
	$(BIN)/lowdose demo

test: $(VENV)/test-installed
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

check: lint
	$(MAKE) test

lint: $(VENV)/test-installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/make_reference.py --check

bench: $(VENV)/test-installed
	$(BIN)/python benchmarks/run.py $(if $(DATA),--data $(DATA))

reference: $(VENV)/test-installed
	$(BIN)/python docs/make_reference.py

# A stamp older than pyproject.toml means: install again.

$(VENV)/core-installed: pyproject.toml | $(BIN)/pip
	@echo 'Installing the light core into $(VENV): about a minute.'
	@$(PIP) --no-compile --editable .  # Python compiles what is used, when it is: 100 MB less
	@touch $@

$(VENV)/test-installed: pyproject.toml constraints.txt | $(BIN)/pip
	@echo 'Installing the core, torch and the development tools into $(VENV): some minutes.'
	@$(PIP) --constraint constraints.txt --editable '.[test]'
	@touch $@ $(VENV)/core-installed

$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || \
	  { echo "There is no $(PYTHON) here: install Python 3.11 or newer, or name one: make demo PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "lowdose needs Python 3.11 or newer and $(PYTHON) is older: name a newer one, as in make demo PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments: install its venv package (Debian: apt install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
