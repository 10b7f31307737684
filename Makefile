# Everything a fresh machine with Python 3.11 or newer needs; make's only state is .venv.
PYTHON ?= python3
BIN := .venv/bin
# torch is named exactly: pip then takes a build without CUDA packages where one is offered
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
# bytes are compared only with threads pinned, and idle threads must not spin
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test lint

demo: .venv/demo
	$(BIN)/wsa run --dataset digits --plugins all --layer-sets all,visual --view factors,delta --quick --output-dir out/demo

test: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable .
	touch $@

.venv/dev: .venv/demo
	$(INSTALL) --editable '.[dev]'
	touch $@
