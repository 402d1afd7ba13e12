# `make demo` and `make test` do everything on a machine that has Python 3.11 or newer and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# `make FAISS=gpu ...` on a machine with a GPU.
FAISS ?= cpu

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench clean

help:  ## what can be made
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:[^#]*## /\t/' | expand -t 10

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "recsys needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e '.[$(FAISS),offline,dev]'
	@touch $(READY)

demo: $(READY)  ## set up, then make a shop, train on it, compare and recommend (about 5 minutes)
	$(BIN)/recsys demo

test: $(READY)  ## set up, then run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

check: $(READY)  ## format, lint, types, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell

format: $(READY)  ## mend format and what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)  ## quality on MovieLens-1M against the baselines: make bench DATA=path/to/ml-1m (under an hour)
	@test -n "$(DATA)" || { echo "say where the data are: make bench DATA=path/to/ml-1m"; exit 2; }
	$(BIN)/python training/benchmarks/quality.py $(DATA) --text title genres description --recipe training/recipes/ml-1m.toml --out training/results

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
