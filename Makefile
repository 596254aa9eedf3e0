# make demo: install, and run everything end to end on generated recordings. make test: install what tests need and run
# them, and on every Python that is on the machine those that need no PyTorch.
# make tensorflow: an environment with TensorFlow, with which tests and `bench` compare files and speed.
PYTHON ?= python3
BIN := .venv/bin

# Python may keep what it compiles, which some images forbid: else each of the tests' many processes compiles all it imports.
export PYTHONDONTWRITEBYTECODE :=

# Versions whose tests without PyTorch are part of `make test`; those that are not on the machine are skipped.
PYTHONS ?= 3.11 3.12 3.13 3.14
HALF_OF_CPUS = $$(( ($$(getconf _NPROCESSORS_ONLN) + 1) / 2 ))

.PHONY: demo test fuzz test-pythons test-without-torch lint test-avx2 test-avx512 test-avx512-bf16 docs \
	docs-tables tensorflow clean

demo: .venv/installed
	$(BIN)/samplecnn demo

# mypy uses one CPU, for about as long as the other Pythons need.
test: .venv/installed-test
	$(MAKE) --jobs=2 lint test-pythons
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

# Two versions at a time.
test-pythons: .venv/bin/python
	.ci/pythons $(BIN)/python $(PYTHONS) | PROCESSES=$(HALF_OF_CPUS) xargs -L 1 -P 2 .ci/test-without-torch

test-without-torch:
	.ci/test-without-torch $(PYTHON)

# Mutated files for every parser, and killed work: `make fuzz COUNT=1000000 MINUTES=600 KILLS=1000 SEED=7`.
COUNT ?= 100000
MINUTES ?= 60
KILLS ?= 200
SEED ?= $(shell date +%s)

fuzz: .venv/installed-test
	$(BIN)/python tests/mutated_files/test_mutated_files.py --count $(COUNT) --minutes $(MINUTES) --seed $(SEED)
	$(BIN)/python tests/test_kills.py --kills $(KILLS) --seed $(SEED)

# The same tests as on a CPU with an older instruction set: each library reads its own variable.
AVX2 := ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 NUMBA_CPU_NAME=haswell
AVX512 := ONEDNN_MAX_CPU_ISA=AVX512_CORE ATEN_CPU_CAPABILITY=avx512 MKL_ENABLE_INSTRUCTIONS=AVX512 \
	NUMBA_CPU_NAME=skylake-avx512 NUMBA_CPU_FEATURES=+avx512f
AVX512_BF16 := ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 ATEN_CPU_CAPABILITY=avx512 MKL_ENABLE_INSTRUCTIONS=AVX512 \
	NUMBA_CPU_NAME=cooperlake NUMBA_CPU_FEATURES=+avx512f,+avx512bf16

test-avx2: .venv/installed-test
	$(AVX2) $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

test-avx512: .venv/installed-test
	$(AVX512) $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

test-avx512-bf16: .venv/installed-test
	$(AVX512_BF16) $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

docs: .venv/installed-docs
	$(BIN)/zensical build --clean --strict

docs-tables: .venv/installed
	$(BIN)/python benchmarks/tables.py
	$(BIN)/python benchmarks/scale.py

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "samplecnn needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train]'
	touch $@

.venv/installed-test: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt torch uv
	.ci/install $(BIN)/python '.[test,docs]'
	touch .venv/installed .venv/installed-docs $@

.venv/installed-docs: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

tensorflow: .venv-tensorflow/installed

.venv-tensorflow/installed:
	$(PYTHON) -m venv .venv-tensorflow
	.venv-tensorflow/bin/pip install --quiet --disable-pip-version-check tensorflow-cpu==2.21.0 h5py
	touch $@

clean:
	rm -rf .venv .venv-* data/demo log site .pytest_cache .mypy_cache .ruff_cache .hypothesis
