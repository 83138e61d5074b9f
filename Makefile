# The commands of the README. Each sets up the virtual environment it needs.

PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do $$p -c "import sys; sys.exit(not (3,11) <= sys.version_info < (3,14))" 2>/dev/null && echo $$p && break; done)
PYTHON_LATEST ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python3.13) python3.13)
VENV ?= .venv
EXTRAS ?= demo,tune,test
BIN := $(VENV)/bin
MODEL_DIR ?= runs/digits
# Processes of `make test`; each takes about 2 GB.
TEST_WORKERS ?= 2
TESTS ?= tests

.PHONY: run test test-slow test-latest check format bench clean

# Trains the default detector on the embedded data, evaluates it and draws its detections.
run: $(VENV)/.installed-demo
	$(BIN)/python train.py --experiment=retinanet_custom --mode=train_and_eval --model_dir=$(MODEL_DIR)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "not slow" -n $(TEST_WORKERS) --dist loadfile $(TESTS)

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow tests

# The newest supported Python and TensorFlow, without tf-models-official. pyenv hides versions that are not selected.
test-latest:
	$(MAKE) test PYTHON="$(PYTHON_LATEST)" VENV=.venv-latest EXTRAS=demo,tune,test TENSORFLOW="tensorflow==2.21.*"

check: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Against tf-models-official in a virtual environment of its own; writes a dated file to benchmarks/results/.
bench: $(VENV)/.installed-demo
	$(BIN)/python benchmarks/run.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[demo]" $(if $(TENSORFLOW),"$(TENSORFLOW)")
	touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[$(EXTRAS)]" $(if $(TENSORFLOW),"$(TENSORFLOW)")
	touch $@

clean:
	rm -rf .venv .venv-latest runs build dist
