# `make demo` and `make test` do everything on a machine that has Python 3.11 or newer and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# `make FAISS=gpu ...` on a machine with a GPU.
FAISS ?= cpu
EXTRAS = .[$(FAISS),offline,serve,postgres,dev]

.DEFAULT_GOAL := help
.PHONY: help demo serve test test-long check format bench gpu-check package docs clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:[^#]*## /\t/' | expand -t 10

# uv takes a third of pip's time. It does not read pip's configuration: where only that leads to an index, pip installs.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "recsys needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --no-compile -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt uv
	$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '$(EXTRAS)' \
		|| $(BIN)/pip install -q --no-compile -c constraints.txt -e '$(EXTRAS)'
	@touch $(READY)

demo: $(READY)  ## set up, then make a shop, train on it, compare and recommend (about 5 minutes)
	$(BIN)/recsys demo

serve: $(READY)  ## set up, make the demo if there is none, and serve it with a page at http://127.0.0.1:8000/
	@test -f runs/demo/bundle/manifest.json || $(BIN)/recsys demo
	$(BIN)/recsys serve runs/demo/bundle --open --db sqlite:///runs/demo/server.db

test: $(READY)  ## set up, then run the tests
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-long: $(READY)  ## the tests with ten times the examples, and those that take several processes tens of seconds
	RECSYS_LONG=1 OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(READY)  ## format, lint, types, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell

format: $(READY)  ## mend format and what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)  ## quality against the baselines, cell by cell: make bench DATA=path/to/ml-1m (finished cells are kept)
	@test -n "$(DATA)" || { echo "say where the data are: make bench DATA=path/to/ml-1m"; exit 2; }
	$(BIN)/python training/benchmarks/quality.py $(DATA) --out training/results --seeds 1 \
		--cells default "two towers" popularity item-kNN EASE ALS BPR transitions "zero-shot text"

gpu-check: $(READY)  ## all that needs a GPU, in at most ten minutes: make FAISS=gpu gpu-check (ARGS=--cpu: a dry run without one)
	$(BIN)/python training/benchmarks/gpu_check.py --out gpu-check.json $(ARGS)

package: $(READY)  ## wheel and sdist into dist/, then the wheel used from a fresh environment, far from this folder (about 10 minutes)
	$(BIN)/pip install -q build
	rm -rf dist build/package
	$(BIN)/python -m build -q
	$(PYTHON) -m venv build/package/venv
	build/package/venv/bin/pip install -q -c constraints.txt torch
	build/package/venv/bin/pip install -q -c constraints.txt "$$(echo dist/*.whl)[$(FAISS),offline,serve]" mypy
	cd build/package && venv/bin/recsys --version && venv/bin/recsys prepare --list && venv/bin/recsys demo --out demo
	cd build/package && printf 'import recsys\nlog: recsys.Interactions = recsys.read_interactions("log.csv")\n' > user.py \
		&& venv/bin/mypy --strict user.py && printf 'recsys.load(1)\n' >> user.py && ! venv/bin/mypy --strict user.py

docs: $(READY)  ## the site into build/site, which needs no network
	$(BIN)/pip install -q -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --clean
	@echo open build/site/index.html

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
