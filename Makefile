# `make demo` and `make test` set up everything they need in .venv on a fresh machine with Python >= 3.11 and a C++ compiler.

PYTHON ?= python3
BIN := .venv/bin
SOURCES := $(wildcard native_coder/*.cc native_coder/*.h native_coder/*.inl native_coder/CMakeLists.txt)

# pip leaves bytecode to the first import (--no-compile). An environment that forbids to write it, as that of many images,
# would make each process compile all of JAX's Python.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-all lint docs model clean

demo: .venv/installed
	$(BIN)/nvc-jax demo --out demo

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-all: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet  # strict: a warning ends it; the site is build/site

.venv/installed: pyproject.toml $(SOURCES)
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "setting up .venv: downloads and a build in C++, some minutes"
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[dev]'
	touch $@

# The default model from nothing, in hours: trains it, and replaces the packaged one with its results and figures. Goes
# on where it was stopped. make model VIDEOS=FOLDER CLIPS='FOLDER/*.mkv'
RUN ?= runs/embedded
model: .venv/installed
	@test -n '$(VIDEOS)' && test -n '$(CLIPS)' || { echo "make model VIDEOS=FOLDER CLIPS='FOLDER/*.mkv'"; exit 1; }
	$(BIN)/python train.py --config configs/embedded.py --workdir $(RUN) data.source='$(VIDEOS)'
	$(BIN)/python tools/package_model.py $(RUN) --clips '$(CLIPS)'

clean:
	rm -rf .venv build demo
