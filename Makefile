# `make demo` and `make test` are all the set-up a fresh machine needs (Linux, Python 3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TENSORFLOW := tensorflow-cpu==2.20.0
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

# File by file, so that what the tests of a file share is made once.
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

.PHONY: demo test coverage test-tf lint clean

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
	$(TEST)

# What the tests do not reach; a sixth slower.
coverage: $(VENV)/test
	$(TEST) --cov --cov-report=term:skip-covered

# TensorFlow in an environment of its own: it pins other versions of what tagstrain needs.
$(VENV)-tf/installed:
	$(PYTHON) -m venv $(VENV)-tf
	$(VENV)-tf/bin/python -m pip --quiet --disable-pip-version-check install $(TENSORFLOW)
	touch $@

test-tf: $(VENV)/test $(VENV)-tf/installed
	TAGSTRAIN_TF_PYTHON=$(abspath $(VENV)-tf/bin/python) $(BIN)/python -m pytest -m tf tests/networks/test_tf1_tensorflow.py

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(VENV)-tf demo-output
