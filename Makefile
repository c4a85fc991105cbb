# Everything a fresh machine needs: Python 3.11 or newer, make, and a package index.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: quickstart test check bench fuzz format wheel clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable ".[cluster]"
	touch $@

quickstart: $(STAMP)  ## the main job, from the base model to a model card and a GGUF file
	$(BIN)/moyai run quickstart

test: $(STAMP)  ## all tests
	$(BIN)/python -m pytest

check: $(STAMP)  ## style, types, import directions, links in the documents
	$(BIN)/ruff check src tests tools benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_links.py

bench: $(STAMP)  ## measure against other programs and write docs/benchmarks.md; ONLY="NAME ..." and AGAIN=1
	$(BIN)/python -m benchmarks $(if $(AGAIN),--again) $(ONLY)

format: $(STAMP)
	$(BIN)/ruff check --fix src tests tools

fuzz: $(STAMP)  ## 10,000 damaged files of each kind for the readers
	$(BIN)/python tools/fuzz_readers.py --files 10000

wheel: $(STAMP)
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) dist build *.egg-info .mypy_cache .ruff_cache .pytest_cache
