# make tune    sets up .venv and finds the fastest kernels: on this CPU, or on the NVIDIA GPU where there is one
# make test    the same set-up, then the tests
# make check   the same set-up, then linter, formatter, type checker, the rules on who may import whom, the CI recipes
# make clean   removes what the others made (results in cache/ and runs/ stay)
#
# PYTHON=python3.12 picks an interpreter; GPU=no ignores a GPU.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
GPU ?= $(shell { test -e /dev/nvidia0 || nvidia-smi -L 2>/dev/null | grep -q GPU; } && echo yes || echo no)

PY := .venv/bin/python
# Not a word on conflicts: FlashInfer lacks its CUDA dependencies on purpose (see dev-cpu).
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --no-warn-conflicts
TORCH := torch==$(shell sed -n 's/^torch==//p' constraints.txt)
# Empty files that stand for what is installed, one set for each kind of machine. The name of the checkout's folder is
# kept too: an editable install, and with it the stamps, is worth nothing once the folder has moved.
STAMPS := .venv/stamps
KIND := $(if $(filter yes,$(GPU)),cuda,cpu)
MADE := $(STAMPS)/made
INSTALLED := $(STAMPS)/installed-$(KIND)
DEV := $(STAMPS)/dev-$(KIND)
CONTRACTS := $(STAMPS)/contracts
RAY := $(if $(filter cpu,$(KIND)),$(STAMPS)/ray)
ifneq ($(strip $(file <$(MADE))),$(strip $(CURDIR)))
$(MADE): moved
endif

.PHONY: help tune test check clean moved

help:
	@sed -n '/^# make/s/^# //p' Makefile

NEXT := printf '%s\n' '' 'from here on: .venv/bin/autotune tune --model llama-3.1-8b   (or: source .venv/bin/activate)' \
	'.venv/bin/autotune --help lists the commands, .venv/bin/autotune tune --model "?" the models'

ifeq ($(KIND),cuda)
tune: $(INSTALLED)
	$(PY) -m autotune_cli tune --model llama-3.1-8b
	$(PY) -m autotune_cli tune --model deepseek-v3.2
	@$(NEXT)
else
tune: $(INSTALLED)
	$(PY) -m autotune_cli tune --no-cache
	@$(NEXT)
endif

# Two processes, each with files of its own: much of the time a test waits for a worker to start. On a GPU, which they
# would share, one after another.
# Hundreds of processes import the same modules: bytecode is kept, where the caller's environment says otherwise too.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(DEV) $(CONTRACTS) $(RAY)
	$(PY) -m pytest $(if $(filter cpu,$(KIND)),-n 2 --dist loadfile --no-loadscope-reorder)

check: $(DEV)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports
	$(PY) tests/docs/lint_recipes.py docs/ci.md

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(MADE):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: apt-get install python3 python3-venv"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  version=$$("$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  echo "$(PYTHON) can't make virtual environments: apt-get install python3-venv (or python$$version-venv)"; exit 1; }
	"$(PYTHON)" -m venv .venv
	@rm -rf $(STAMPS) && mkdir -p $(STAMPS) && echo "$(CURDIR)" > $@

# torch first: setuptools comes with it, and builds this project without an environment of its own to download. Plain PyPI
# has no CPU build of torch for Linux, and its CUDA build brings 3 GB: where pip's own sources don't have the CPU build,
# uv gets it from PyTorch's.
$(STAMPS)/installed-cpu: $(MADE) pyproject.toml setup.py constraints.txt
	@echo "installing torch (CPU) and this project into .venv: a minute or two"
	$(PIP) -c constraints.txt '$(TORCH)+cpu' setuptools 2>/dev/null || { $(PIP) -c constraints.txt uv && \
	  .venv/bin/uv pip install --quiet --python $(PY) --torch-backend cpu -c constraints.txt '$(TORCH)' setuptools; }
	$(PIP) -c constraints.txt --no-build-isolation -e '.[cpu]'
	@touch $@

# constraints.txt pins the torch of CI, so it says nothing about a machine with a GPU.
$(STAMPS)/installed-cuda: $(MADE) pyproject.toml setup.py
	@echo "installing torch, FlashInfer and sgl_kernel (CUDA) into .venv: several GB"
	$(PIP) -e '.[cuda]'
	@touch $@

# FlashInfer without its CUDA dependencies: what tests need to hold its signatures against our calls, none of which
# compiles or runs a kernel. Triton runs the kernel of docs/own-kernels.md in its interpreter.
$(STAMPS)/dev-cpu: $(STAMPS)/installed-cpu
	$(PIP) -c constraints.txt --no-build-isolation -e '.[cpu,dev]'
	$(PIP) -c constraints.txt apache-tvm-ffi packaging nvidia-ml-py tqdm requests einops ninja triton
	$(PIP) -c constraints.txt --no-deps flashinfer-python
	@touch $@

# Python files of CUDA packages, for tests that hold their signatures against our calls. 820 MB pass by, 9 MB stay. Not
# having them fails nothing: those tests are skipped, and the next run tries again.
$(CONTRACTS): $(MADE) contracts.txt tests/fetch_contracts.py
	@echo "fetching the sources of contracts.txt into .venv/contracts"
	@if $(PY) tests/fetch_contracts.py .venv/contracts; then touch $@; fi

# For a test that starts a cluster. 80 MB; not having it fails nothing: that test is skipped, and the next run tries again.
$(STAMPS)/ray: $(STAMPS)/dev-cpu
	@echo "installing ray"
	@if $(PIP) -c constraints.txt --only-binary ray ray; then touch $@; fi

$(STAMPS)/dev-cuda: $(STAMPS)/installed-cuda
	$(PIP) -e '.[cuda,dev]'
	@touch $@
