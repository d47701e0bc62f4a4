# Kehu on one machine. Needs Python 3.11 or newer and nothing else.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VAR ?= var
PORT ?= 8080
ARGS ?=

# The suite is many processes: where nothing compiled is kept, each compiles all that it imports, and takes half as long again to start.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
# The services are folders of their own, so that a company may delete those it does not run.
PACKAGES := proto chassis gateway $(patsubst %/pyproject.toml,%,$(wildcard services/*/pyproject.toml)) deploy/local
PROTOS := $(shell find proto -path proto/gen -prune -o \( -name '*.proto' -o -name '*.py' \) -print)
RUN_READY := $(VENV)/.ready-to-run
TEST_READY := $(VENV)/.ready-to-test
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run demo test check format bench proof lock clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(RUN_READY) ## Start the suite with all its servers; data stays in ./var (PORT=8080, VAR=var)
	@exec $(BIN)/python -m kehu_local run --var $(VAR) --port $(PORT) $(ARGS)

demo: $(RUN_READY) ## Start the suite and load the demonstration company into it
	@exec $(BIN)/python -m kehu_local run --demo --var $(VAR) --port $(PORT) $(ARGS)

# Two workers more than there are cores, four at most; a file's tests stay together, for they share what was made for the file.
test: $(TEST_READY) ## Run all tests, or some: make test ARGS="services/leads -k convert"
	$(BIN)/python -m pytest -n auto --maxprocesses=4 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(TEST_READY) ## Check format, style, types, the rooms of the house, contracts, manifests and databases
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/hadolint deploy/docker/Dockerfile
	$(BIN)/python proto/check.py
	$(BIN)/python deploy/k8s/check.py
	$(BIN)/python -m checks

format: $(TEST_READY) ## Bring the sources into the agreed format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(TEST_READY) ## Measure the suite beside its floor
	$(BIN)/python -m bench $(ARGS)

proof: $(TEST_READY) ## Try to break what is claimed, and print the scoreboard (ARGS=--long for the long form)
	$(BIN)/python -m proof $(ARGS)

lock: | $(BIN)/python ## Choose the newest allowed version of every dependency anew
	$(PIP) install --require-hashes -r requirements-lock.txt
	$(BIN)/uv lock --upgrade
	$(BIN)/uv export --quiet --frozen --no-emit-workspace --no-header --no-annotate \
		--no-default-groups --group build --output-file requirements.txt > /dev/null
	$(BIN)/uv export --quiet --frozen --no-emit-workspace --no-header --no-annotate \
		--all-groups --output-file requirements-dev.txt > /dev/null

clean: ## Remove what was built; data under ./var stays
	rm -rf $(VENV) proto/gen .benchmarks .hypothesis .import_linter_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './var/*' -prune -exec rm -rf {} +

$(BIN)/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "Kehu needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# What a checkout needs to run. Stamps inside .venv say what is installed; they are older than a lock that has changed.
$(VENV)/.installed-run: requirements.txt | $(BIN)/python
	@echo "Installing what the suite needs to run"
	$(PIP) install --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt | $(VENV)/.installed-run
	@echo "Installing what checks and tests the suite"
	$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

# Packages of ours are installed in place: only a changed pyproject.toml asks for it again.
$(VENV)/.installed-packages: $(addsuffix /pyproject.toml,$(PACKAGES)) | $(VENV)/.installed-run
	$(PIP) install --no-build-isolation --no-deps $(addprefix --editable ./,$(PACKAGES))
	@touch $@

$(VENV)/.generated: $(PROTOS) $(VENV)/.installed-packages
	@$(BIN)/python proto/generate.py
	@touch $@

$(RUN_READY): $(VENV)/.installed-run $(VENV)/.generated
	@touch $@

$(TEST_READY): $(VENV)/.installed-dev $(RUN_READY)
	@touch $@
