# What people and CI both call. Every target sets up .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: train test check format clean

train: $(STAMP)            ## train the default model on the built-in names and print generated names
	$(BIN)/motegpt train

test: $(STAMP)             ## run every test
	$(BIN)/pytest

check: $(STAMP)            ## lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)           ## put every file into the one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:                     ## forget what was built and installed
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
