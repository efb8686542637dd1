# Every target sets up what it needs: a clone and a Python from 3.11 to 3.14 are enough.
#
#   make demo                train on a made-up corpus, translate its test set (5 minutes)
#   make demo-no-attention   the same with a decoder that has no attention
#   make demo-generate       train on Python's own library, write some Python (3 minutes)
#   make demo-caption        draw pictures, learn to say what they show (4 minutes)
#   make demo-classify       make up reviews, learn to judge them, show which words decide (1 minute)
#   make demo-tag            make up messages, learn to find the names in them (half a minute)
#   make demo-forecast       throw balls, learn where they go next (1 minute)
#   make test                lint, and all tests that need no GPU
#   make gpu [OUT=folder]    on an NVIDIA machine, with its own torch: GPU tests, benchmarks, training
#   make gpu-first | gpu-bench | gpu-train    the same in three short runs, one at a time
#   make gpu-cache | gpu-dry without a GPU: prepare those runs, or try every line of them
#   make soak [SOAK="--scale 1 kills"]  kills, full disks, odd lines, damaged models (benchmarks/soak)
#   make lint | make format  ruff and mypy look | ruff mends
#   make wheel               build the wheel, install it in a clean environment, import it
#   make clean               remove what these targets made, trained models excepted
#   make python              which Python the targets take (another: make PYTHON=...)

# The first of these that runs, is of a supported version and can make environments. Each is tried:
# a name on the PATH may be a shim that fails when it is called.
PYTHONS := python3.11 python3.12 python3.13 python3.14 python3
FITS := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for python in $(PYTHONS); do \
	$$python -c '$(FITS)' > /dev/null 2>&1 && command -v $$python && break; done)
NO_PYTHON := no Python from 3.11 to 3.14 with venv was found on the PATH; \
	install one, or name it: make PYTHON=/path/to/python3.12
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

SHELL := /bin/bash

.PHONY: soak gpu gpu-first gpu-bench gpu-train gpu-cache gpu-dry demo demo-no-attention demo-generate demo-caption demo-classify demo-tag demo-forecast test lint format wheel clean help python

help:
	@sed -n 's/^#   //p' Makefile

python:  # which Python the other targets take
	@found="$(PYTHON)"; if [ -z "$$found" ]; then echo "make: $(NO_PYTHON)" >&2; exit 1; fi; \
		echo "$$found"

# One installation, repeated only when the requirements change.
$(READY): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then echo "make: $(NO_PYTHON)" >&2; exit 1; fi
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,plots,onnx,sentences]'
	@touch $@

demo: $(READY)
	$(BIN)/seq2seq demo translation

demo-no-attention: $(READY)
	$(BIN)/seq2seq demo translation --no-attention

demo-generate: $(READY)
	$(BIN)/seq2seq demo generation

demo-caption: $(READY)
	$(BIN)/seq2seq demo captioning

demo-classify: $(READY)
	$(BIN)/seq2seq demo classification

demo-tag: $(READY)
	$(BIN)/seq2seq demo tagging

demo-forecast: $(READY)
	$(BIN)/seq2seq demo forecasting

# One thread for each of two processes: the tests' tensors are too small to share out, and waiting
# threads cost more than they bring.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow and not gpu"

# Minutes to hours, by --scale; what the parts do: benchmarks/soak/README.md.
SOAK ?=
soak: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.soak $(SOAK)

# On the machine with the GPU: its own Python, whose torch has CUDA. What the runs do, how long they take
# and what they write: benchmarks/gpu_kit/README.md.
GPU_PYTHON ?= python3
OUT ?= benchmarks/gpu
KIT := -m benchmarks.gpu_kit

# Nobody cuts these off: an hour each, for a card whose kernels are all compiled first.
gpu:
	$(GPU_PYTHON) $(KIT) all $(OUT) --seconds 3600

gpu-first gpu-bench gpu-train: gpu-%:
	$(GPU_PYTHON) $(KIT) $* $(OUT)

# Here, without a GPU: what the runs there bring along, and a trial of all that they do.
gpu-cache gpu-dry: gpu-%: $(READY)
	$(BIN)/python $(KIT) $*

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

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
	cd build/wheel && for task in translation generation captioning classification tagging; do \
		bin/seq2seq demo $$task --help > /dev/null && bin/seq2seq init $$task --output try || exit 1; \
		done
	@ls dist

clean:
	rm -rf $(VENV) build dist .gpu-kit .gpu-work .mypy_cache .pytest_cache .ruff_cache .hypothesis
