# Needs make and Python 3.11 or newer with venv; everything else goes into $(VENV).

VENV ?= .venv
# The first Python that is new enough and can make virtual environments.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	"$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
		2>/dev/null && echo "$$python" && break; done)

# yes: the versions of requirements/, or newer ones where a version is not to be had. only: never
# newer ones. no: the newest that pyproject.toml allows.
LOCKED ?= yes
ARGS ?=
ROUNDS ?= 10
EXAMPLES ?= 100000
MINUTES ?= 0
SEED ?= 1

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
MADE := $(VENV)/.made
RUN := $(VENV)/.run
DEV := $(VENV)/.dev
CLIENTS := .venv-clients
BROWSER := $(VENV)/.browser
FRONT_END ?= $(VENV)-front-end
AXE := $(VENV)-axe

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

.PHONY: engines
engines: $(DEV) ## Install the servers of the matrix into .engines; NO_COMPILING=1 leaves Redis 8.10 out.
	PYTHON=$(abspath $(BIN)/python) bash tests/engines/install.sh

ENGINES ?= redis70 redis82 redis810 valkey81 valkey90 valkey91
AS ?= one cluster sentinel
# What a server, a cluster or a failover can do differently; archives, what trims, and deliveries too.
SUITES ?= tests/streams tests/projector tests/survival \
	tests/everfold/exports tests/everfold/retention tests/everfold/sinks

.PHONY: matrix
matrix: engines ## Run what asks a server on each engine: ENGINES="redis70 valkey91" AS="one cluster sentinel".
	@for engine in $(ENGINES); do \
		test -e .engines/bin/$$engine || { echo "SKIPPED: $$engine is not here"; continue; }; \
		for as in $(AS); do \
			echo "== $$engine as $$as"; \
			server=$$as:$$engine; test $$as != one || server=$$engine; \
			EVERFOLD_TEST_SERVER=$$server $(MAKE) test ARGS="-m server $(SUITES) $(ARGS)" || exit 1; \
		done; \
	done

.PHONY: clients
clients: $(DEV) ## Run comfy-cli, as the index has it, against a gateway.
	test -x $(CLIENTS)/bin/comfy || { $(PYTHON) -m venv $(CLIENTS) && \
		$(CLIENTS)/bin/python -m pip --disable-pip-version-check --quiet install comfy-cli; }
	$(BIN)/pytest tests/web/comfyui/clients $(ARGS)

.PHONY: slow
slow: $(DEV) ## Run the slow tests in full length: leases of 10 s, more rounds and seeds.
	$(BIN)/pytest -n auto --maxschedchunk 1 --durations 10 --timeout 3600 -m slow --full-length $(ARGS)

.PHONY: browser
browser: $(BROWSER) ## See the console, and ComfyUI's own web front end, work in Chromium.
	EVERFOLD_FRONT_END=$(FRONT_END) EVERFOLD_AXE=$(AXE)/axe_playwright_python/axe.min.js $(BIN)/pytest -m browser tests/browser --durations 10 $(ARGS)

PICTURES = $(VENV)-pictures
IN_DOCUMENTS = board-usual-light jobs-usual-light made-usual-light assets-usual-light \
	backends-usual-light board-narrow-dark made-narrow-dark then-narrow-dark

.PHONY: pictures
pictures: $(BROWSER) ## Take the pictures of the console that the documents show.
	rm -rf $(PICTURES) && mkdir -p $(PICTURES) docs/console
	EVERFOLD_SCREENSHOTS=$(PICTURES) $(BIN)/pytest -m browser tests/browser/console/test_pictures.py
	cp $(IN_DOCUMENTS:%=$(PICTURES)/%.webp) docs/console

CONSOLE = $(CURDIR)/everfold/web/console
# A copy, because libraries beside the sources would go into the wheel.
BUILD_OF_CONSOLE = $(VENV)-console

.PHONY: console
console: ## Build the console's files from their source; needs Node.js and the npm registry.
	rm -rf $(BUILD_OF_CONSOLE) && cp -R $(CONSOLE)/source $(BUILD_OF_CONSOLE)
	cd $(BUILD_OF_CONSOLE) && npm ci --no-audit --no-fund --silent && node build.mjs $(CONSOLE)/static

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

.PHONY: failover
failover: $(DEV) ## Fail servers over under load: ROUNDS=10 of each fault, SEED=1, ARGS="--on cluster".
	$(BIN)/python -m tests.failover --rounds $(ROUNDS) --seed $(SEED) $(ARGS)

.PHONY: fuzz
fuzz: $(DEV) ## Feed odd values to each border: EXAMPLES=100000 a target, MINUTES=0 (no limit).
	EVERFOLD_FUZZ_EXAMPLES=$(EXAMPLES) EVERFOLD_FUZZ_MINUTES=$(MINUTES) \
		$(BIN)/pytest tests/fuzz tests/web/fuzz -v -n 0 --timeout 0 $(ARGS)

.PHONY: bench
bench: $(DEV) ## Measure; by default how long recovery takes; ARGS="--help" shows what else.
	$(BIN)/python -m benchmarks $(or $(ARGS),recovery)

# The index that pip uses, for uv.
INDEX = $(or $(PIP_INDEX_URL),$(shell $(BIN)/python -m pip config get global.index-url 2>/dev/null))
UV = $(if $(INDEX),UV_DEFAULT_INDEX=$(INDEX) )$(BIN)/uv
COMPILE = $(UV) pip compile --quiet --no-header --universal --python-version 3.11 \
	--generate-hashes pyproject.toml

.PHONY: lock
lock: $(DEV) ## Renew the locked versions, and the list of them that the wheel carries.
	$(COMPILE) --upgrade --extra all --group dev --output-file requirements/dev.txt
	$(COMPILE) --constraint requirements/dev.txt --extra all --output-file requirements/run.txt
	$(COMPILE) --constraint requirements/dev.txt --extra cli --extra server --extra postgres \
		--extra erase --extra assets --extra otel --output-file requirements/image.txt
	for group in build browser; do \
		$(UV) pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes \
			--constraint requirements/dev.txt --group $$group \
			--output-file requirements/$$group.txt || exit 1; done
	$(BIN)/python -m supply_chain.sbom

.PHONY: audit
audit: $(DEV) ## Report licences and known vulnerabilities of what is locked; ARGS=licences asks nobody.
	$(BIN)/python -m supply_chain.audit $(ARGS)

LOWEST = $(VENV)-lowest
# A test of each library: what has changed between its lowest and its newest version shows there.
TOUCHING = tests/everfold/commands/test_help.py tests/everfold/commands/test_formats.py \
	tests/everfold/sinks/test_addresses.py tests/everfold/sinks/test_sql.py \
	tests/everfold/exports/test_archive_sql.py \
	tests/simulator/test_nodes.py tests/comfyui/backend/test_socket.py tests/comfyui/backend/test_http.py \
	tests/streams/events/test_codec.py tests/streams/connections/test_redis_py.py tests/embedded/test_resolve.py \
	tests/everfold/assets/test_shrinking.py tests/everfold/assets/test_blob_bucket.py \
	tests/streams/sealing/test_sealed_values.py tests/streams/assets/test_blob_folder.py \
	tests/web/test_app.py tests/web/test_bodies.py tests/web/serving/test_serve.py \
	tests/web/v2/test_assets.py tests/everfold/tracing/test_otlp.py

# The least of that, for .ci/run: a minute with the installation.
A_MINUTE = -n 0 tests/everfold/commands/test_formats.py \
	tests/everfold/commands/test_help.py::test_the_page_of_a_command_shows_its_whole_docstring \
	tests/everfold/exports/test_archive_sql.py::test_a_query_reaches_no_file_no_network_and_no_extension \
	tests/everfold/sinks/test_sql.py::test_a_row_per_job_says_what_the_job_says \
	tests/simulator/test_nodes.py::test_frames_become_one_animated_file \
	tests/comfyui/backend/test_socket.py::test_a_reconnect_closes_the_old_socket_first \
	tests/comfyui/backend/test_http.py tests/streams/connections/test_redis_py.py \
	tests/everfold/assets/test_shrinking.py tests/streams/sealing/test_sealed_values.py \
	tests/web/test_app.py tests/everfold/tracing/test_otlp.py

.PHONY: brief
brief: ## As lowest, with the fewest tests.
	$(MAKE) lowest ARGS="$(A_MINUTE)"

.PHONY: lowest
lowest: $(DEV) ## Run a test of each library with the lowest versions that pyproject.toml allows.
	$(UV) pip compile --quiet --no-header --resolution lowest-direct --only-binary :all: \
		--python $(BIN)/python --extra all pyproject.toml --output-file $(LOWEST).txt
	$(UV) venv --quiet --clear --python $(BIN)/python $(LOWEST)
	$(UV) pip install --quiet --python $(LOWEST)/bin/python --constraint $(LOWEST).txt \
		--editable '.[all]' --group test
	$(LOWEST)/bin/python -m pytest -n auto $(or $(ARGS),$(TOUCHING))

.PHONY: docs
docs: $(DEV) ## Write the reference of the Python API into build/reference; it asks no network.
	PYTHONPATH=. $(BIN)/python docs/reference.py build/reference
	@echo "open build/reference/index.html"

PYTHONS = 3.11 3.12 3.13 3.14
# What differs most between Pythons: starting, typing, asyncio, forks, and the encoders.
ON_EACH = -n 0 tests/everfold/client/test_startup.py tests/everfold/commands/test_answers.py \
	tests/everfold/sync/test_client.py tests/streams/events/test_codec.py

.PHONY: pythons
pythons: $(DEV) ## Run a short suite on each Python 3.11 to 3.14 that is here; says which are not.
	@for version in $(PYTHONS); do found=; \
		for one in python$$version $$HOME/.pyenv/versions/$$version.*/bin/python; do \
			"$$one" -c 'import sys, venv' 2>/dev/null && found=$$one && break; done; \
		test -n "$$found" || { echo "SKIPPED: Python $$version is not here"; continue; }; \
		echo "== Python $$version: $$found"; \
		$(UV) venv --quiet --clear --python "$$("$$found" -c 'import sys; print(sys.executable)')" $(VENV)-$$version && \
		$(UV) pip install --quiet --python $(VENV)-$$version/bin/python \
			--editable '.[all]' --group test && \
		$(VENV)-$$version/bin/python -m pytest -q $(or $(ARGS),$(ON_EACH)) || exit 1; \
	done

.PHONY: clean
clean: ## Remove everything that was made here.
	rm -rf $(VENV) $(PYTHONS:%=$(VENV)-%) $(FRONT_END) $(LOWEST) $(LOWEST).txt build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What is locked is installed by its hashes; a file that does not match ends it, whatever LOCKED is.
# $(1): the lock files. $(2): what pip is to resolve by itself where they cannot be had.
define install
@log=$$(mktemp); \
if [ "$(LOCKED)" = no ]; then false; \
elif $(PIP) install --require-hashes $(foreach lock,$(1),-r requirements/$(lock).txt) 2>"$$log"; then true; \
elif [ "$(LOCKED)" = only ] || ! grep -q "No matching distribution found" "$$log"; then \
	cat "$$log"; echo "The locked versions cannot be installed; LOCKED=no takes others."; exit 1; \
else \
	grep "No matching distribution found" "$$log"; \
	echo "Not all locked versions are to be had here: taking what pyproject.toml allows."; false; \
fi || { $(PIP) install --upgrade "pip>=25.1" && $(PIP) install --editable '.[all]' $(2); }
@$(PIP) install --no-deps --no-build-isolation --editable .
endef

$(MADE):
	@test -n "$(PYTHON)" || { \
		echo "Everfold needs Python 3.11 or newer with venv, and none was found on PATH."; \
		echo "On Debian or Ubuntu: apt-get install python3 python3-venv"; \
		echo "Elsewhere on disk:   make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(RUN): $(MADE) pyproject.toml requirements/run.txt requirements/build.txt
	@echo "installing Everfold"
	$(call install,run build,--group build)
	@touch $@

$(DEV): $(RUN) requirements/dev.txt
	@echo "installing the tools for development"
	$(call install,dev,--group dev)
	@touch $@

$(BROWSER): $(DEV) requirements/browser.txt tests/browser/front_end.txt tests/browser/axe.txt
	@sh tests/browser/install_chromium.sh
	@echo "installing the tools for a browser, and ComfyUI's web front end"
	$(call install,browser,--group browser)
	@rm -rf $(FRONT_END)
	@$(PIP) install --require-hashes --no-deps --target $(FRONT_END) -r tests/browser/front_end.txt
	@rm -rf $(AXE)
	@$(PIP) install --require-hashes --no-deps --target $(AXE) -r tests/browser/axe.txt
	@touch $@
