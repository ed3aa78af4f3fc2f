# Needs make and Python 3.11 or newer with venv; everything else goes into $(VENV).

VENV ?= .venv
# The first Python that is new enough and can make virtual environments.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	"$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
		2>/dev/null && echo "$$python" && break; done)

ARGS ?=
ROUNDS ?= 10
SEED ?= 1

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
MADE := $(VENV)/.made
RUN := $(VENV)/.run
DEV := $(VENV)/.dev

# Compiled modules are kept: each test starts Python programs, and compiling takes half their time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## Show what there is to make.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: $(RUN) ## See it work: submit jobs, kill a runner, watch another one carry them on.
	$(BIN)/everfold demo $(ARGS)

.PHONY: test
test: $(DEV) ## Run the tests; ARGS="tests/streams -k append" runs some of them.
	$(BIN)/pytest -n auto --maxschedchunk 1 --durations 10 $(ARGS)

.PHONY: slow
slow: $(DEV) ## Run the slow tests in full length: leases of 10 s, more rounds and seeds.
	$(BIN)/pytest -n auto --maxschedchunk 1 --durations 10 --timeout 3600 -m slow --full-length $(ARGS)

.PHONY: lint
lint: $(DEV) ## Check style and formatting.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(DEV) ## Check types.
	$(BIN)/mypy

.PHONY: check
check: lint types test ## Everything that has to pass before a change goes in.

.PHONY: format
format: $(DEV) ## Put the code into its format.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: chaos
chaos: $(DEV) ## Kill and cut for long: ROUNDS=10 SEED=1.
	$(BIN)/python -m tests.chaos --rounds $(ROUNDS) --seed $(SEED) $(ARGS)

.PHONY: bench
bench: $(DEV) ## Measure; by default how long recovery takes; ARGS="--help" shows what else.
	$(BIN)/python -m benchmarks $(or $(ARGS),recovery)

.PHONY: clean
clean: ## Remove everything that was made here.
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MADE):
	@test -n "$(PYTHON)" || { \
		echo "Everfold needs Python 3.11 or newer with venv, and none was found on PATH."; \
		echo "On Debian or Ubuntu: apt-get install python3 python3-venv"; \
		echo "Elsewhere on disk:   make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)
	@# Older ones than 25.1 do not know --group.
	@$(PIP) install --upgrade "pip>=25.1"
	@touch $@

$(RUN): $(MADE) pyproject.toml
	@echo "installing Everfold"
	@$(PIP) install --editable '.[all]'
	@touch $@

$(DEV): $(RUN)
	@echo "installing the tools for development"
	@$(PIP) install --editable '.[all]' --group dev
	@touch $@
