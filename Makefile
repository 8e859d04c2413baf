# `make help` lists what can be done. `make run` and `make test` each work as the first command after cloning.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

# The interpreter that .venv is made from: CPython 3.11 or later.
PYTHON ?= python3
# Arguments for the program that a target starts, for example: make run ARGS='--help', make test ARGS='-k retry'.
ARGS ?=
# Test processes: as many as there are cores.
WORKERS ?= logical

export PYTHON
BIN := .venv/bin

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  ARGS='...' is passed on by run, test, test-long and bench; PYTHON=... chooses the interpreter of .venv."

.PHONY: run
run: runtime-env ## Start the daemon on embedded storage (installs what it needs first)
	@exec $(BIN)/jobworkerp all-in-one $(ARGS)

.PHONY: test
test: dev-env ## Run all tests in their short form
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

.PHONY: test-servers
test-servers: ## Install the Debian packages that the tests of DOCKER need (as root; without them they are skipped)
	@scripts/install_test_servers.sh

.PHONY: test-long
test-long: dev-env ## Run the full rounds (soak, chaos) that make test leaves out
	@$(BIN)/python -m pytest -m long --timeout 3600 $(ARGS)

.PHONY: check
check: dev-env ## Check format, lint, types, imports, generated files and the wire contract
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/basedpyright
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/architecture
	$(BIN)/python tools/generate_pb.py --check
	$(BIN)/python tests/contract/check_wire.py protos

.PHONY: fmt
fmt: dev-env ## Format the code and repair what can be repaired by itself
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

.PHONY: generate
generate: dev-env ## Generate the message classes from protos/
	$(BIN)/python tools/generate_pb.py

.PHONY: bench
bench: dev-env ## Measure, and print the report
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: docs
docs: dev-env ## Check the documentation: links, settings and commands against the code
	@$(BIN)/python -m pytest -q tests/docs

.PHONY: build
build: dev-env ## Build the wheel and the source archive into dist/
	@$(BIN)/python -m build --no-isolation

.PHONY: lock
lock: dev-env ## Renew requirements/*.txt from pyproject.toml (ARGS=--upgrade takes the newest versions)
	@$(COMPILE) $(ARGS) --all-extras --group dev -o requirements/dev.txt pyproject.toml
	@$(COMPILE) --extra uvloop -c requirements/dev.txt -o requirements/runtime.txt pyproject.toml
	@$(COMPILE) --group build -c requirements/dev.txt -o requirements/build.txt

# One lock for every supported Python and machine. forbiddenfruit (test only) is the one package without wheels.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-python-downloads --generate-hashes \
	--only-binary :all: --no-binary forbiddenfruit --no-emit-index-url --no-annotate --custom-compile-command 'make lock'

.PHONY: clean
clean: ## Remove what was built, cached or installed here
	@rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: runtime-env dev-env
runtime-env:
	@scripts/bootstrap.sh runtime
dev-env:
	@scripts/bootstrap.sh dev
