# Every target sets up what it needs: a clone and Python 3.11 or newer are enough.
#
#   make demo                train on a made-up corpus, translate its test set (5 minutes)
#   make demo-no-attention   the same with a decoder that has no attention
#   make demo-generate       train on Python's own library, write some Python (3 minutes)
#   make demo-caption        draw pictures, learn to say what they show (4 minutes)
#   make test                lint, and all tests that need no GPU
#   make gpu [OUT=folder]    on an NVIDIA machine, with its own torch: GPU tests, then benchmarks
#   make lint | make format  ruff
#   make wheel               build the wheel, install it in a clean environment, import it
#   make clean               remove what these targets made, trained models excepted

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

SHELL := /bin/bash

.PHONY: gpu demo demo-no-attention demo-generate demo-caption test lint format wheel clean help

help:
	@sed -n 's/^#   //p' Makefile

# One installation, repeated only when the requirements change.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,plots]'
	@touch $@

demo: $(READY)
	$(BIN)/seq2seq demo translation

demo-no-attention: $(READY)
	$(BIN)/seq2seq demo translation --no-attention

demo-generate: $(READY)
	$(BIN)/seq2seq demo generation

demo-caption: $(READY)
	$(BIN)/seq2seq demo captioning

# One thread for each of two processes: the tests' tensors are too small to share out, and waiting
# threads cost more than they bring.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow and not gpu"

# Uses the Python of the machine, whose torch has CUDA; needs torch, triton, numpy and pytest.
GPU_PYTHON ?= python3
OUT ?= benchmarks/gpu
gpu:
	mkdir -p $(OUT)
	set -o pipefail; $(GPU_PYTHON) -m pytest -q -m gpu tests/kernels/test_gpu.py \
		tests/kernels/test_gpu_step.py 2>&1 \
		| tee $(OUT)/tests.txt
	set -o pipefail; $(GPU_PYTHON) -m kernels.bench recurrent --device cuda --output $(OUT)/recurrent.json \
		--plots $(OUT) | tee $(OUT)/recurrent.txt
	set -o pipefail; $(GPU_PYTHON) -m kernels.bench attention --device cuda --output $(OUT)/attention.json \
		--plots $(OUT) | tee $(OUT)/attention.txt
	set -o pipefail; $(GPU_PYTHON) -m kernels.bench decoder step loss --device cuda \
		--output $(OUT)/decoder.json --plots $(OUT) | tee $(OUT)/decoder.txt

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The clean environment holds what a user of the wheel gets and nothing else. The imports are
# made outside the working tree, so that they come from the wheel.
wheel: $(READY)
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --constraint constraints.txt --no-deps --wheel-dir dist .
	$(PYTHON) -m venv --clear build/wheel
	build/wheel/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	cd build/wheel && bin/python -c "import kernels, seq2seq; print('imported', kernels.__file__)"
	build/wheel/bin/seq2seq --help > /dev/null
	cd build/wheel && for task in translation generation captioning; do \
		bin/seq2seq demo $$task --help > /dev/null && bin/seq2seq init $$task --output try || exit 1; \
		done
	@ls dist

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
