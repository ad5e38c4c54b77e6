# Every target sets up what it needs: on a fresh machine `make run` opens the dashboard and `make test` tests it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
REQUIREMENTS := requirements.txt requirements-dev.txt requirements-lm.txt constraints.txt

.DEFAULT_GOAL := run
.PHONY: setup run test test-all bench support lint zoo findings

setup: $(INSTALLED)

# Renewed whenever a requirement changes; touched last, so that an interrupted installation is taken up again.
$(INSTALLED): $(REQUIREMENTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "ProjLens needs Python 3.11 or newer; name one with: make PYTHON=python3.11 setup" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -r requirements.txt -r requirements-dev.txt
	$(BIN)/python -m pip install --no-deps -r requirements-lm.txt
	touch $@

run: setup
	$(BIN)/streamlit run dashboard/app.py

test: setup
	$(BIN)/python -m pytest -q -m "not slow"

test-all: setup
	$(BIN)/python -m pytest -q

bench: setup
	$(BIN)/python -m benchmarks

# The table of families in the docs, from the results of the tests that prove it.
support: setup
	SUPPORT_TABLE=docs/support.md $(BIN)/python -m pytest -q -m support tests/core

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

zoo: setup
	$(BIN)/python -m projlens_core zoo build

# Hours on a CPU at first; what was measured is kept in docs/findings.json, so that it can be stopped at any time.
findings: setup
	$(BIN)/python -m projlens_core findings
