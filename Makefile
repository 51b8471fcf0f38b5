# The project's verbs. Python 3.11+, make and git are enough: everything else is installed into
# .venv from the hash-locked files of requirements/.

PYTHON ?= python3
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Further arguments: make demo ARGS="--port 9000"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo run test check fix bench lock
# Else a venv without pip, which Debian leaves behind when python3-venv is missing, would be used.
.DELETE_ON_ERROR:
# Two installations into one .venv at the same time would break it.
.NOTPARALLEL:

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /make \1: /p' $(MAKEFILE_LIST)

demo: $(VENV)/speech.stamp ## set up and start the relay on the local upstream: no key, no network
	$(BIN)/relay demo $(ARGS)

run: $(VENV)/run.stamp ## set up and start the relay on config/relay.yaml, with OPENAI_API_KEY
	$(BIN)/relay serve --config config/relay.yaml $(ARGS)

test: $(VENV)/dev.stamp ## set up and run the whole test suite
	$(BIN)/pytest --cov --cov-report=
	$(BIN)/coverage report --skip-covered --fail-under=100

check: $(VENV)/dev.stamp ## lint, types, import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/dev.stamp ## what lint and format can repair by themselves
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/dev.stamp ## the benchmarks, one table
	$(BIN)/python bench $(ARGS)

# Pins that still fit are kept; make lock ARGS=--upgrade takes the newest.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links $(ARGS)

lock: ## resolve pyproject.toml into requirements/, with uv
	$(COMPILE) --group build -o requirements/build.txt
	$(COMPILE) pyproject.toml -o requirements/run.txt
	$(COMPILE) pyproject.toml -c requirements/run.txt --extra speech -o requirements/speech.txt
	$(COMPILE) pyproject.toml -c requirements/speech.txt --extra speech --group dev -o requirements/dev.txt

# A stamp is as new as the lock that was installed, so an unchanged tree installs nothing.
$(VENV)/%.stamp: requirements/%.txt requirements/build.txt pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes -r requirements/build.txt -r $<
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'The relay needs Python 3.11 or newer: make PYTHON=python3.13 ...' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
