# Everything a fresh machine with Python 3.11 or newer needs; make's only state is .venv.
PYTHON ?= python3
BIN := .venv/bin
# torch is named exactly: pip then takes a build without CUDA packages where one is offered
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
# bytes are compared only with threads pinned, and idle threads must not spin
export OMP_WAIT_POLICY := PASSIVE

# what a GPU machine's image usually lacks of what wsa and its tests need
GPU_PYTHON_VERSION ?= 3.12
GPU_WHEELS := annotated-types datasets dill multiprocess platformdirs py-cpuinfo2 pydantic \
	pydantic-core pytest-benchmark pytest-timeout typing-inspection

GPU_BENCH = PYTHONPATH=.gpu $(PYTHON) .gpu/bin/wsa bench --device cuda --check

.PHONY: demo test lint docs soak gpu-check wheels

# what has something to say of rank 1, less `ensemble`: all of them again, 193 s of 466
DEMO := simple_stats,stats,rank_based,spectral,matrix_norms,distribution,frequency,info_theoretic,profile

demo: .venv/demo
	$(BIN)/wsa run --dataset digits --plugins $(DEMO) --layer-sets all,visual --view factors,delta --quick --output-dir out/demo

test: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation, from docs/ and from the code itself; a warning is an error.
docs: .venv/dev
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html

# Two hundred runs killed at random moments and resumed, some in half precision, some compiled.
soak: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/python tests/soak.py 150
	OMP_NUM_THREADS=1 $(BIN)/python tests/soak.py 40 --amp --seed 1
	OMP_NUM_THREADS=1 $(BIN)/python tests/soak.py 10 --compile --seed 2

# On a machine with a GPU: native correctness, then every speed comparison, with the torch and
# Triton that PYTHON has. What else it lacks is taken from wheels/, which `make wheels` fills on a
# machine with a network; nothing is installed but into .gpu.
gpu-check:
	$(PYTHON) -c "import torch; torch.cuda.is_available() or exit('gpu-check needs a CUDA device; torch sees none')"
	$(PYTHON) -m pip install --quiet --no-deps --upgrade --target .gpu wheels/*.whl
	CUBLAS_WORKSPACE_CONFIG=:4096:8 PYTHONPATH=.gpu $(PYTHON) -m pytest -q -o filterwarnings=default tests/kernels/fused tests/train/cuda
	$(GPU_BENCH) train --backend packed,eager,compiled --json bench/results/train
	$(GPU_BENCH) train/wide --adapters 10000 --backend packed,eager --json bench/results/train-10000
	$(GPU_BENCH) --json bench/results

wheels: .venv/dev
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir wheels .
	$(BIN)/pip download --quiet --no-deps --only-binary=:all: --dest wheels \
		--python-version $(GPU_PYTHON_VERSION) --constraint constraints.txt $(GPU_WHEELS)

.venv/demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable .
	touch $@

.venv/dev: .venv/demo
	$(INSTALL) --editable '.[dev]'
	touch $@
