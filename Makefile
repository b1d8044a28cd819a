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

#: STAGE        the mixture: 1, 2, 3, 32k, 64k or mid
#: RECIPE       or a recipe of your own: a YAML file
#: PRESET       blog (default) or released weights of a stage; posttrain: tiny (default), small, blog or recipe
#: PROFILE      sample (default: text out of packages), full (no data, published sizes), hub (the datasets)
#: BUDGET       another budget: 100B, 1.1T, '748000 steps'
#: BUILD        the folder for everything built (default: build)
#: LIMIT_TOKENS with PROFILE=hub, a trial: tokens of each source; LIMIT_BYTES: bytes of text
#: YES          with PROFILE=hub, 1: do not ask before a large download
#: ARGS         for the tests: arguments of pytest, such as ARGS='tests/data -k dedup'; bench: a topic
#: PYTHON       the interpreter that .venv is made with: 3.11 to 3.13
STAGE   ?=
RECIPE  ?=
PRESET  ?=
PROFILE ?= sample
BUDGET  ?=
BUILD   ?= build
MAX_TOKENS ?= 1024
TASKS   ?= base,base_multilingual,mmlu_pro_mcf
LIMIT   ?= 20
SIZE    ?= tiny
STEPS   ?= 20
DEVICE  ?= auto
PORT    ?= 8000

# Company networks: trust what the system trusts, as pip does.
export UV_SYSTEM_CERTS ?= 1

SELECT = $(if $(RECIPE),--recipe "$(RECIPE)") $(if $(STAGE),--stage "$(STAGE)") $(if $(PRESET),--preset "$(PRESET)") $(if $(BUDGET),--budget "$(BUDGET)") --build "$(BUILD)"
TRIAL = $(if $(YES),--yes) $(if $(LIMIT_BYTES),--limit-bytes "$(LIMIT_BYTES)") $(if $(LIMIT_TOKENS),--limit-tokens "$(LIMIT_TOKENS)")
# Mid-training's conversations are rendered in ChatML by the trainer's room, before the shards are planned.
TRACES = $(if $(filter mid-sample mid-hub,$(if $(RECIPE),,$(STAGE))-$(PROFILE)),$(BIN)/smoltrain traces --recipe mid --profile "$(PROFILE)" --build "$(BUILD)" $(TRIAL))
export SMOL_QUERY = $(Q)

##@ The main job
mixture: $(STAMPS)/core ## build a stage's shards, exact plan, catalog, report and bundle: STAGE= or RECIPE= [PRESET= BUDGET= PROFILE=]
	@$(TRACES)
	@$(BIN)/python -m smolmix.quick build $(SELECT) --profile "$(PROFILE)" $(TRIAL)

sql: $(STAMPS)/core ## ask the catalog: Q="select ..." (no Q: the views, with an example each)
	@$(BIN)/smolmix sql --build "$(BUILD)" -- "$$SMOL_QUERY"

report: $(STAMPS)/core ## write build/report.html anew
	@$(BIN)/smolmix report --build "$(BUILD)"

handoff: $(STAMPS)/core ## write the bundle of a stage for the cluster: STAGE= or RECIPE=
	@$(BIN)/smolmix handoff $(SELECT) --profile "$(PROFILE)"

verify: $(STAMPS)/core ## find any changed byte of a bundle and its shards: BUNDLE=folder
	@$(if $(BUNDLE),,echo "error: say which bundle: BUNDLE=build/sample/bundles/stage2-blog" >&2; exit 2)
	@$(BIN)/smolmix verify "$(BUNDLE)"

train: $(STAMPS)/train ## train a tiny SmolLM3 on the bundle of a stage, on this machine: STAGE=
	@$(TRACES)
	@$(BIN)/python -m smolmix.quick build $(SELECT) --profile "$(PROFILE)" --quiet
	@$(BIN)/smoltrain train --bundle "$$($(BIN)/smolmix path bundle $(SELECT) --profile "$(PROFILE)")"

eval: $(STAMPS)/eval ## held-out loss of the trained model by source, and the base tasks on what is offline: [MAX_TOKENS=1024 TASKS= LIMIT=20 TOKENIZER=]
	@$(BIN)/smoleval heldout --build "$(BUILD)" --max-tokens $(MAX_TOKENS) $(if $(TOKENIZER),--tokenizer "$(TOKENIZER)")
	@$(BIN)/smoleval run --build "$(BUILD)" --tasks "$(TASKS)" --profile offline --limit $(LIMIT) --max-new-tokens 32 $(if $(TOKENIZER),--tokenizer "$(TOKENIZER)")

scores: $(STAMPS)/core ## every score beside the published figures, with intervals and win rates, and a page: [CHECKPOINT=]
	@$(BIN)/smoleval scores --build "$(BUILD)" --page $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)")

##@ Post-training
posttrain: $(STAMPS)/train ## mid-training, SFT, APO and merge on the tiny model, with a page: [PRESET= PROFILE=sample|hub]
	@$(if $(filter-out tiny small blog recipe,$(PRESET)),echo "error: there is no preset '$(PRESET)'; post-training has tiny small blog recipe" >&2; exit 2)
	@ls "$(BUILD)"/*/runs/*/checkpoints/step-*/state.json >/dev/null 2>&1 || $(MAKE) train STAGE="$(or $(STAGE),2)" PRESET=
	@$(BIN)/smoltrain post run --build "$(BUILD)" --profile "$(PROFILE)" --preset "$(or $(PRESET),tiny)"

chat: $(STAMPS)/train ## talk to the post-trained model in the terminal: /think and /no_think change the mode
	@$(BIN)/smoltrain post chat --build "$(BUILD)"

serve: $(STAMPS)/train ## serve it behind the OpenAI API, tool calls as tool_calls: PORT=8000
	@$(BIN)/smoltrain post serve --build "$(BUILD)" --port "$(PORT)"

ablate: $(STAMPS)/train ## compare MHA/GQA, RoPE/NoPE, masks and decay on the same windows, with a plot: STAGE=2 [SIZE=tiny STEPS=20 DEVICE=auto]
	@$(BIN)/python -m smolmix.quick build $(if $(STAGE)$(RECIPE),$(SELECT),--stage 2 --build "$(BUILD)") --profile "$(PROFILE)" --quiet
	@$(BIN)/smoltrain ablate run --bundle "$$($(BIN)/smolmix path bundle $(if $(STAGE)$(RECIPE),$(SELECT),--stage 2 --build "$(BUILD)") --profile "$(PROFILE)")" --size "$(SIZE)" --steps "$(STEPS)" --device "$(DEVICE)" --out "$(BUILD)/ablations"

##@ Development
test: $(STAMPS)/dev $(STAMPS)/eval ## run the tests that need no root and no server
	@$(BIN)/python -m pytest -m "not system" --numprocesses auto --dist worksteal $(ARGS)

test-system: $(STAMPS)/cluster $(STAMPS)/eval ## run the tests that need root, a server or a browser (Debian: apt-get)
	@sh tests/system.sh
	@$(BIN)/python -m pytest -m "system and not slow" $(ARGS)

test-slow: $(STAMPS)/cluster $(STAMPS)/eval ## run the tests that take a minute or more each: a real small model, a chain of Slurm jobs
	@sh tests/system.sh
	@$(BIN)/python -m pytest -m slow $(ARGS)

test-nanotron: $(STAMPS)/dev $(STAMPS)/train ## run the tests that need a nanotron checkout: NANOTRON=folder
	@NANOTRON="$(NANOTRON)" $(BIN)/python -m pytest -m nanotron --timeout 3600 $(ARGS)

lint: $(STAMPS)/dev $(STAMPS)/eval ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

docs: $(STAMPS)/dev ## run the commands of the documents and write what they print now
	@$(BIN)/python docs/blocks.py --write

docs-check: $(STAMPS)/dev ## the same, and fail where a document says something else
	@$(BIN)/python docs/blocks.py

bench: $(STAMPS)/dev $(STAMPS)/train ## run the benchmarks and write benchmarks/results.md
	@$(BIN)/python benchmarks/run.py $(ARGS)

clean: ## remove the build folder (the environment stays)
	rm -rf "$(BUILD)"

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
	@echo "installing torch $(TORCH) (once; 0.2 GB without CUDA, some GB with it)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==$(TORCH)
	@touch $@

$(STAMPS)/train: locks/train.lock $(STAMPS)/torch
	@echo "installing locks/train.lock (once)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r locks/train.lock
	@touch $@

$(STAMPS)/eval: locks/eval.lock $(STAMPS)/train
	@echo "installing locks/eval.lock (once)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r locks/eval.lock
	@touch $@

$(STAMPS)/curate: locks/curate.lock $(STAMPS)/core
	@echo "installing locks/curate.lock (once)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r locks/curate.lock
	@touch $@

$(STAMPS)/languages: locks/languages.lock $(STAMPS)/curate
	@echo "installing locks/languages.lock (once)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r locks/languages.lock
	@touch $@

$(STAMPS)/dev: locks/dev.lock $(STAMPS)/curate
	@echo "installing locks/dev.lock (once)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r locks/dev.lock
	@touch $@

$(STAMPS)/cluster: locks/cluster.lock $(STAMPS)/dev
	@echo "installing locks/cluster.lock (once)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r locks/cluster.lock
	@touch $@

setup: $(STAMPS)/core ## install what data, tokenize and mixtures need
setup-curate: $(STAMPS)/curate ## install what curating web pages and other raw sources needs on top
setup-languages: $(STAMPS)/languages ## install the word splitters of Chinese, Japanese, Korean, Hindi, Thai and Vietnamese on top
setup-train: $(STAMPS)/train ## install what train needs on top (torch)
setup-eval: $(STAMPS)/eval ## install what eval needs on top (lighteval, lm-eval)
setup-dev: $(STAMPS)/dev ## install what development needs on top

locks: $(STAMPS)/uv ## compile the locks anew from pyproject.toml
	@sh locks/compile.sh $(BIN)/python $(BIN)/uv

help: ## print the targets and the variables
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z][a-z-]*:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@awk 'BEGIN {print "\nVariables, as in make mixture STAGE=2 PRESET=released"} /^#: / {print "  " substr($$0, 4)}' $(MAKEFILE_LIST)

# Folders of these names would make a misspelt target look done.
data tokenize mixtures tests benchmarks:
	@echo "error: $@/ is a folder, no target; 'make' prints the targets" >&2; exit 2

.PHONY: data tokenize mixtures tests benchmarks mixture sql report handoff verify train ablate eval scores posttrain chat serve test test-system test-slow test-nanotron lint docs docs-check bench clean setup setup-curate setup-languages setup-train setup-eval setup-dev locks help
