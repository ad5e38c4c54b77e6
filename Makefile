# Every target sets up what it needs: on a fresh machine `make run` opens the dashboard and `make test` tests it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOCKS := requirements.lock requirements-dev.lock requirements-lm.txt requirements-cpu.lock requirements-cuda.lock
LOCKED := $(BIN)/python -m pip install --no-deps --require-hashes

.DEFAULT_GOAL := run
.PHONY: setup run test test-fast test-all bench images support lint lock zoo findings

setup: $(INSTALLED)

# Renewed whenever a lock changes; touched last, so that an interrupted installation is taken up again. PyTorch without
# CUDA where an index has it (on Linux, PyTorch's own), else as the package index has it.
$(INSTALLED): $(LOCKS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "ProjLens needs Python 3.11 or newer; name one with: make PYTHON=python3.11 setup" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(LOCKED) -r requirements.lock -r requirements-dev.lock -r requirements-lm.txt
	$(LOCKED) -r requirements-cpu.lock || $(LOCKED) -r requirements-cuda.lock
	touch $@

run: setup
	$(BIN)/streamlit run dashboard/app.py

# A process a core, up to four (some 2 GB each), with one thread each; the tests of a file share what they set up.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n logical --maxprocesses 4 --dist loadfile

# Where PROJLENS_TEST_UNTIL (s since 1970) says how long there is time, as many of the slow tests as end before.
test: setup
	$(PYTEST) -m "not slow"
	$(if $(PROJLENS_TEST_UNTIL),$(BIN)/python -m pytest -q -m slow)

# What needs no model and no page: under a minute.
test-fast: setup
	$(PYTEST) --fast -m "not slow" tests/core

test-all: setup
	$(PYTEST) -m "not slow"
	$(BIN)/python -m pytest -q -m slow

bench: setup
	$(BIN)/python -m benchmarks

# The README's images and its animation, from the running dashboard.
images: setup
	$(BIN)/python -m benchmarks.images

# The table of families in the docs, from the results of the tests that prove it.
support: setup
	SUPPORT_TABLE=docs/support.md $(BIN)/python -m pytest -q -m support tests/core

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The locks, from requirements.txt and requirements-dev.txt; what is locked already stays unless that asks for other.
# requirements-dev.lock leaves out what requirements.lock and the locks of PyTorch have: peft, against which the tests
# compare, needs both. Needs uv. The other two are kept by hand: requirements-cpu.lock (PyTorch's own index) and requirements-lm.txt.
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make lock"
lock:
	cat requirements.lock requirements-cuda.lock > requirements.all
	$(COMPILE) requirements.txt -o requirements.all > /dev/null
	awk '/^#/ { print > "requirements.lock"; print > "requirements-cuda.lock"; next } \
		/^[a-z]/ { cuda = /^(cuda|nvidia|torch|triton)/ } \
		{ print > (cuda ? "requirements-cuda.lock" : "requirements.lock") }' requirements.all
	rm requirements.all
	cp requirements-dev.lock requirements-dev.all
	$(COMPILE) requirements-dev.txt -c requirements.lock -c requirements-cuda.lock -o requirements-dev.all > /dev/null
	awk 'FILENAME != "requirements-dev.all" { if (/^[a-z]/) { split($$0, name, "=="); there[name[1]] = 1 }; next } \
		/^[a-z]/ { split($$0, name, "=="); kept = !(name[1] in there) } /^#/ || kept' \
		requirements.lock requirements-cuda.lock requirements-dev.all > requirements-dev.lock
	rm requirements-dev.all

zoo: setup
	$(BIN)/python -m projlens_core zoo build

# Hours on a CPU at first; what was measured is kept in docs/findings.json, so that it can be stopped at any time.
findings: setup
	$(BIN)/python -m projlens_core findings
