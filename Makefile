# Two commands are all a newcomer needs: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
LOWEST := .venv-lowest
# Ray 2.55 leaves files and processes to the garbage collector, which warns.
LEFT_OPEN := ignore::pytest.PytestUnraisableExceptionWarning
# One worker for each core. The tests of a file stay together, because some share a Ray; files
# run in their order, because those that start Ray are long and come early.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-slow test-lowest lint format pictures clean help

help:
	@echo "make demo       search for a face detector on this machine, on generated faces"
	@echo "make test       the tests (minutes)"
	@echo "make test-slow  the long tests too"
	@echo "make test-lowest  the tests with the oldest packages that are admitted"
	@echo "make lint       ruff and mypy"
	@echo "make pictures   those of README.md, from the demo (needs Chromium)"

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "scrfd-nas needs Python 3.11 or newer: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --prefer-binary --editable ".[dev]"
	@touch $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/scrfd-nas demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL)

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest

test-lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --prefer-binary --constraint tests/lowest.txt \
	  --editable ".[postgres]" pytest
	$(LOWEST)/bin/python -m pytest -m "not slow" -W $(LEFT_OPEN)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

pictures: $(INSTALLED)
	$(BIN)/python docs/make_pictures.py

clean:
	rm -rf $(VENV) $(LOWEST) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
