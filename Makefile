# Needs GNU make and Python 3.11 or newer; everything else is installed into .venv.
#   make demo [IMAGES=folder]   segment the sample images (or those of a folder)
#   make test                   lint, tests and doctests
PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
SCRIPTS := Scripts
else
SCRIPTS := bin
endif
BIN := $(VENV)/$(SCRIPTS)
PY := $(BIN)/python
READY := $(VENV)/.ready
READY_DOCS := $(VENV)/.ready-docs
READY_BENCH := $(VENV)/.ready-bench
OLDEST := .venv-oldest
READY_OLDEST := $(OLDEST)/.ready

IMAGES ?=
OUTPUT ?= demo
DEMO_OPTIONS ?=
# A short training: the sample is to take a minute or two on two cores.
SAMPLE := --sample --quick
# Nothing is done again where the results of the same run are there.
ONCE := --resume --overwrite --report
PYTEST_OPTIONS ?=
# How many tests run at a time; 0 runs them in this process, as a debugger wants it.
JOBS ?= auto
PARALLEL = -n $(JOBS) --maxprocesses 8 --dist worksteal
# The Python that has wheels of all the oldest versions.
PYTHON_OLDEST ?= $(PYTHON)
# What `make dist` runs from the unpacked sdist; DIST_TESTS= runs all plain tests.
DIST_TESTS ?= tests/test_packaging.py tests/test_imports.py tests/metrics/test_averaging.py tests/cluster
ACCURACY_OPTIONS ?=
BENCH_OPTIONS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test lint tests slow doctest oldest dist docs accuracy bench oracles clean

help:
	@echo "make demo      segment the sample images, or IMAGES=folder, into $(OUTPUT)/"
	@echo "make test      lint, tests and doctests (the plain suite)"
	@echo "make lint      ruff and mypy"
	@echo "make slow      the tests marked slow"
	@echo "make oldest    the plain suite on the oldest versions, in $(OLDEST)"
	@echo "make dist      wheel and sdist, into dist/, installed and tested"
	@echo "make docs      the documentation, into docs/_build/html"
	@echo "make accuracy  the accuracy benchmark (needs PSMLEARN_DATA=folder)"
	@echo "make bench     the speed and memory benchmarks (asv)"
	@echo "make oracles   install the peers that tests and benchmarks compare with"
	@echo "make clean     remove what these targets wrote, but the environments"

# The stamp makes sure that the environment is installed once, and again when the
# requirements change. A half-made environment has no stamp and is mended next time.
$(READY): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'psmlearn needs Python 3.11 or newer: make PYTHON=python3.11')"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	@touch $@

$(READY_DOCS): $(READY)
	$(PY) -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	@touch $@

$(READY_BENCH): $(READY)
	$(PY) -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	@touch $@

$(READY_OLDEST): setup.cfg pyproject.toml constraints-oldest.txt
	@test -x $(OLDEST)/$(SCRIPTS)/python || $(PYTHON_OLDEST) -m venv $(OLDEST)
	$(OLDEST)/$(SCRIPTS)/python -m pip install --quiet --constraint constraints-oldest.txt --editable ".[test]"
	@touch $@

install: $(READY)

demo: $(READY)
	$(PY) -m psmlearn segment $(if $(IMAGES),"$(IMAGES)",$(SAMPLE)) --output "$(OUTPUT)" --model "$(OUTPUT)/model.psm" $(ONCE) $(DEMO_OPTIONS)

test: lint tests

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m mypy

tests: $(READY)
	$(PY) -m pytest $(PARALLEL) -m "not slow" $(PYTEST_OPTIONS)

slow: $(READY)
	$(PY) -m pytest -m slow $(PYTEST_OPTIONS)

doctest: $(READY)
	$(PY) -m pytest psmlearn $(PYTEST_OPTIONS)

oldest: $(READY_OLDEST)
	$(OLDEST)/$(SCRIPTS)/python -m pytest $(PARALLEL) -m "not slow" $(PYTEST_OPTIONS)

# The tests are those of the sdist, psmlearn is the wheel in an environment of its own.
dist: $(READY)
	rm -rf build dist
	$(PY) -m pip install --quiet --constraint constraints.txt build
	$(PY) -m build
	mkdir -p build/check && tar -xzf dist/psmlearn-*.tar.gz -C build/check --strip-components 1
	rm -r build/check/psmlearn
	$(PYTHON) -m venv build/check/.venv
	build/check/.venv/$(SCRIPTS)/python -m pip install --quiet --constraint constraints.txt "$$(ls dist/psmlearn-*.whl)[test]"
	cd build/check && .venv/$(SCRIPTS)/python -m pytest -m "not slow" -p no:cacheprovider $(or $(DIST_TESTS),tests) $(PYTEST_OPTIONS)

docs: $(READY_DOCS)
	$(PY) -m sphinx -W --keep-going -b html docs docs/_build/html

accuracy: $(READY)
	$(PY) -m benchmarks.accuracy $(ACCURACY_OPTIONS)

bench: $(READY_BENCH)
	$(BIN)/asv machine --yes --config benchmarks/asv.conf.json
	cd benchmarks && ../$(BIN)/asv run --config asv.conf.json --python=same --quick --show-stderr $(BENCH_OPTIONS)

# --no-deps: these peers ask for torchvision, TensorFlow or older releases, which
# the functions that are compared with do not need.
oracles: $(READY)
	$(PY) -m pip install --quiet --constraint constraints.txt --requirement benchmarks/oracles.txt
	$(PY) -m pip install --quiet --no-deps --requirement benchmarks/oracles-no-deps.txt

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis demo
	rm -rf docs/_build docs/auto_examples docs/generated docs/commands benchmarks/.asv
	find psmlearn tests examples benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +
