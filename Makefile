# Everything a developer or a machine does here. Needs python3 (3.11+) with venv and pip, make and git.
# Nothing outside the package registries of pip, npm and apt is reached.

PYTHON ?= python3
ARGS ?=
ONLY ?=
# Seconds after which the whole test run gives up; one test has 120 (pyproject.toml) unless it says otherwise.
TEST_LIMIT ?= 4800
WORKERS ?= 2

BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --quiet --require-hashes
STAMP := .venv/installed

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help run setup ui test test-vm test-deps check format bench wheel lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup ## set up and start Cupola: make run ARGS='--config cupola.yaml'
	@exec $(BIN)/cupola run $(ARGS)

setup: $(STAMP)/run ui ## make .venv, install the pinned dependencies, build the web UI

ui: $(STAMP)/python
	@$(BIN)/python tools/build_ui.py

$(STAMP)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Cupola needs Python 3.11 or later; $(PYTHON) is %d.%d. Name another one: make PYTHON=python3.12 ..." % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "Making .venv"
	@$(PYTHON) -m venv --clear .venv
	@mkdir -p $(STAMP) && touch $@

$(STAMP)/run: $(STAMP)/python requirements/run.txt requirements/build.txt pyproject.toml hatch_build.py | ui
	@echo "Installing the pinned dependencies"
	@$(PIP_INSTALL) -r requirements/run.txt -r requirements/build.txt
	@$(BIN)/python -m pip install --quiet --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMP)/test: $(STAMP)/run requirements/test.txt
	@echo "Installing what the tests need"
	@$(PIP_INSTALL) -r requirements/test.txt
	@touch $@

$(STAMP)/check: $(STAMP)/test requirements/check.txt
	@echo "Installing what the checks need"
	@$(PIP_INSTALL) -r requirements/check.txt
	@touch $@

$(STAMP)/lock: $(STAMP)/python requirements/lock.txt
	@$(PIP_INSTALL) -r requirements/lock.txt
	@touch $@

test-deps: ## install the Debian packages that only tests need
	@tools/test_deps.sh

test: setup $(STAMP)/test test-deps ## run everything: unit, contract, browser and torture tests
	@$(BIN)/python tools/build_ui.py --run test
	@$(BIN)/python tools/run_tests.py -ra -n $(WORKERS) --dist loadfile --no-loadscope-reorder --session-timeout=$(TEST_LIMIT) $(ARGS)

test-vm: setup ## try webcams on a real kernel's /dev/video0, in a virtual machine; nightly
	@tests/vm/run.sh

check: setup $(STAMP)/check ## format, lint, types, import contracts, docs in step
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports
	@if [ -e tools/check_docs.py ]; then $(BIN)/python tools/check_docs.py; fi
	@$(BIN)/python tools/build_ui.py --run check

format: $(STAMP)/check ## put the Python code in the shape `make check` wants
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup $(STAMP)/test ## measure and print a table: make bench ONLY=fanout
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

wheel: setup ## a wheel with the built UI, in dist/
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist .

lock: $(STAMP)/lock ## resolve requirements/*.txt anew from pyproject.toml
	@$(BIN)/python tools/lock.py

clean: ## remove everything that was made here
	rm -rf .venv dist build ui/node_modules src/cupola/web/static .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
