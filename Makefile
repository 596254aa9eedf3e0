# make demo: install and see the whole way on generated recordings. make test: install what tests need and run them.
# make tensorflow: an environment with TensorFlow, against which tests and `bench` hold files and speed when it is there.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint tensorflow clean

demo: .venv/installed
	$(BIN)/samplecnn demo

test: .venv/installed-test lint
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "samplecnn needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/installed-test: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch .venv/installed $@

tensorflow: .venv-tensorflow/installed

.venv-tensorflow/installed:
	$(PYTHON) -m venv .venv-tensorflow
	.venv-tensorflow/bin/pip install --quiet --disable-pip-version-check tensorflow-cpu==2.21.0 h5py
	touch $@

clean:
	rm -rf .venv .venv-tensorflow data/demo log .pytest_cache .mypy_cache .ruff_cache .hypothesis
