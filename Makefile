# `make demo` and `make test` are all the set-up a fresh machine needs (Linux, Python 3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: demo test lint clean

$(VENV)/core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt -e .
	touch $@

$(VENV)/test: $(VENV)/core
	$(PIP) install -c constraints.txt -e '.[test]'
	touch $@

demo: $(VENV)/core
	$(BIN)/python examples/demo.py

test: $(VENV)/test
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) demo-output
