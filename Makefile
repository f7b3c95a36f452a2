# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PARITY := $(VENV)/.parity

.PHONY: help install quickstart test bench parity lint lock clean

help:  ## what each target does
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /	/' | expand -t 14

install: $(STAMP)  ## make .venv from the hashed lock

# uv installs in seconds; where it can't run, pip takes the same lock.
$(STAMP): requirements/lock.txt requirements/uv.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked packages into $(VENV)"
	@$(BIN)/python -m pip install -q --require-hashes -r requirements/uv.txt \
	  && $(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements/lock.txt \
	  || $(BIN)/python -m pip install -q --require-hashes -r requirements/lock.txt
	@$(BIN)/python -m pip install -q --no-build-isolation --no-deps -e .
	@touch $@

quickstart: $(STAMP)  ## the main job, small: sweep, law, prediction, samples
	@$(BIN)/python -m experiments.quickstart --workdir=runs/quickstart

test: $(STAMP)  ## every test, the fast ones first
	@$(MAKE) -s $(PARITY) || echo "PyTorch and its libraries can't be installed: parity tests will be skipped"
	@$(BIN)/python -m pytest -n 2 --dist loadfile

bench: $(STAMP)  ## how fast this machine is, beside PyTorch where it is installed: bench.json, bench.png
	@$(BIN)/python -m experiments.bench --out=bench.json

parity: $(PARITY)  ## what the parity tests compare with: PyTorch, diffusers, transformers

$(PARITY): $(STAMP) requirements/parity.txt
	@echo "installing PyTorch and its libraries into $(VENV), for the parity tests"
	@$(BIN)/python -m pip install -q --retries 1 -r requirements/parity.txt
	@touch $@

lint: $(STAMP)  ## style and simple mistakes
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

lock: $(STAMP)  ## write requirements/ anew from pyproject.toml
	echo 'uv>=0.9' | $(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url \
	  --no-header --no-annotate --python-version 3.11 - -o requirements/uv.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header \
	  --no-annotate --python-version 3.11 --group dev pyproject.toml -o requirements/lock.txt

clean:  ## remove what runs left behind
	rm -rf runs .ruff_cache .jax_cache
