# The front door. `make` prints the targets; every target sets up what it needs.
SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON  ?= $(shell command -v python3.11 || command -v python3)
VENV    := .venv
BIN     := $(VENV)/bin
UV      := 0.13.9
TORCH   := 2.13.0
STAMPS  := $(VENV)/.stamps

STAGE   ?=
RECIPE  ?=
PRESET  ?=
PROFILE ?= sample
BUDGET  ?=
BUILD   ?= build
export PYTHONPYCACHEPREFIX ?=

##@ Set-up
$(STAMPS)/uv:
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(not (3, 11) <= v[:2] < (3, 14) and f"Python 3.11 to 3.13 is needed, this is {v.major}.{v.minor}: set PYTHON=/path/to/python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/core: locks/core.lock pyproject.toml $(STAMPS)/uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r locks/core.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(STAMPS)/torch: $(STAMPS)/core
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==$(TORCH)
	@touch $@

$(STAMPS)/train: locks/train.lock $(STAMPS)/torch
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r locks/train.lock
	@touch $@

$(STAMPS)/dev: locks/dev.lock $(STAMPS)/core
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r locks/dev.lock
	@touch $@

setup: $(STAMPS)/core ## install what data, tokenize and mixtures need
setup-train: $(STAMPS)/train ## install what train and eval need on top (torch)
setup-dev: $(STAMPS)/dev ## install what development needs on top

locks: $(STAMPS)/uv ## compile the locks anew from pyproject.toml
	@sh locks/compile.sh $(BIN)/python $(BIN)/uv

help: ## print the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z][a-z-]*:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup setup-train setup-dev locks help
