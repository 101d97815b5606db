# The whole workflow. A machine with Python 3.11-3.13 and make needs nothing else.
PYTHON ?= python3
VENV ?= .venv
# another package index, for a CPU build of torch say: make PIP_ARGS="--extra-index-url URL"
PIP_ARGS ?=
# more for pytest, two processes on two cores say: make test TEST_ARGS="--numprocesses 2 --dist loadfile"
TEST_ARGS ?=
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: all env demo test test-fast coverage coverage-report mutants check format docs bundles bench bench-quick clean
all: check test docs

env: $(READY)
$(READY): pyproject.toml constraints.txt
	@echo "installing into $(VENV), which takes some minutes the first time"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt pip
	# torch first and alone: what follows then finds its version installed and takes no other build
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt --editable ".[test,dev,docs,peers,dicom-codecs,signing]"
	touch $@

# phantom hearts, training, segmentation, figures and a report: what a newcomer opens first
demo: $(READY)
	$(BIN)/volseg demo -o demo

test: $(READY)
	$(BIN)/python -m pytest $(TEST_ARGS)

test-fast: $(READY)
	$(BIN)/python -m pytest -m "not slow"

# branches too: nine tenths of everything, more of each part that a wrong mask would come from
STRICT := volseg/io/* volseg/geometry.py volseg/inference/tiling.py volseg/engine/checkpoint.py volseg/bundle/*
coverage: $(READY)
	$(BIN)/python -m pytest --cov --cov-report= $(TEST_ARGS)
	$(MAKE) coverage-report
coverage-report: $(READY)
	$(BIN)/coverage report --skip-covered --fail-under=90
	set -f; for part in $(STRICT); do $(BIN)/coverage report --skip-covered --fail-under=95 --include="$$part" || exit 1; done

# small changes to those parts, four fifths of which a test must notice; hours: see python -m benchmarks mutants --help
mutants: $(READY)
	$(BIN)/python -m benchmarks mutants --work runs/mutants

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell volseg tests benchmarks docs configs changelog.d *.md

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "the pages begin at docs/_build/html/index.html"

# every shipped bundle rendered anew from its recipe; weights and results already in a folder stay
bundles: $(READY)
	for bundle in bundles/*/; do name=$$(basename $$bundle); $(BIN)/volseg bundle build configs/$$name.yaml -o bundles/$$name || exit 1; done

# every benchmark, hours; bench-quick is a few minutes of smaller work and leaves the record as it is
bench: $(READY)
	$(BIN)/python -m benchmarks suite

bench-quick: $(READY)
	$(BIN)/python -m benchmarks suite --quick

clean:
	rm -rf $(VENV) docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
