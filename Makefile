# The project's verbs. Python 3.11+, make and git are enough: everything else is installed into
# .venv from the hash-locked files of requirements/.

PYTHON ?= python3
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin
PIP := bin/python -m pip --disable-pip-version-check --quiet install

# Further arguments: make demo ARGS="--port 9000"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo run test test-compiled test-core test-unit test-pythons clients clients-slow newest \
	check fix bench bench-guard wheel lock clients-lock check-locks
# Else a venv without pip, which Debian leaves behind when python3-venv is missing, would be used.
.DELETE_ON_ERROR:
# Two installations into one .venv at the same time would break it.
.NOTPARALLEL:

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1: /p' $(MAKEFILE_LIST)

demo: $(VENV)/speech.stamp ## set up and start the relay on the local upstream: no key, no network
	$(BIN)/relay demo $(ARGS)

run: $(VENV)/run.stamp ## set up and start the relay on config/relay.yaml, with OPENAI_API_KEY
	$(BIN)/relay serve --config config/relay.yaml $(ARGS)

# The tests of a file share servers and a browser, so they stay together; and files keep their order,
# else those with few and long tests would come last, and one process would wait for the other.
# The core is covered wholly. A few lines elsewhere run only when two events meet in time, so the rest
# has a margin of about twenty lines and branches.
test: $(VENV)/dev.stamp ## set up and run the whole test suite
	$(BIN)/pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder \
		--cov --cov-report=
	$(BIN)/coverage report --skip-covered --fail-under=100 --include='relay/core/*'
	$(BIN)/coverage report --skip-covered --precision=2 --fail-under=99.8

# Without PYTHONSAFEPATH, a test that starts the relay would start it from the folder relay/.
test-compiled: wheel ## run the whole test suite on the compiled wheel; needs a C compiler
	$(MAKE) $(VENV)/compiled/dev.stamp VENV=$(VENV)/compiled
	$(VENV)/compiled/$(PIP) --no-deps --no-index --force-reinstall dist/*.whl
	PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/tests/support RELAY_REQUIRE_COMPILED=1 \
		$(VENV)/compiled/bin/pytest \
		--numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder $(ARGS)

# No sockets and no files of the system: Hypothesis takes most of the time.
CORE := tests/unit/core tests/unit/dialects tests/unit/yaml

test-core: $(VENV)/dev.stamp ## set up and run the pure tests: core, dialects, YAML
	$(BIN)/pytest --numprocesses=auto --dist=worksteal $(CORE) $(ARGS)

UNIT := tests/unit

test-unit: $(VENV)/dev.stamp ## set up and run the unit tests
	$(BIN)/pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile $(UNIT) $(ARGS)

# One interpreter of each version, from PATH or from pyenv. Each is run once, because PATH can have a
# shim of pyenv that always fails.
PYENV := $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions
PYTHONS = $(foreach version,3.11 3.12 3.13 3.14,$(shell \
	for python in python$(version) $(PYENV)/$(version).*/bin/python$(version); do \
		$$python -c 'import ensurepip, sys; print(sys.executable)' 2>/dev/null && break; done))

test-pythons: ## run the unit tests on every Python from 3.11 upwards that is on this machine
	set -e; for python in $(PYTHONS); do \
		$(MAKE) test-unit PYTHON=$$python VENV=$(VENV)/$${python##*/}; done

# The tests that connect over WebSocket and TLS: there the relay uses private modules of both packages.
WIRE := tests/unit/wire $(patsubst %,tests/journeys/test_%.py,bridge faults handshake tls* upstream)

newest: ## run the wire tests with the newest aiohttp and aiofastnet, above the limits of pyproject.toml
	$(MAKE) $(VENV)/newest/dev.stamp VENV=$(VENV)/newest
	$(VENV)/newest/$(PIP) --upgrade aiohttp aiofastnet
	$(VENV)/newest/bin/pytest $(WIRE) $(ARGS)

# Each client has an environment of its own, because their pins do not agree.
CLIENTS := tests/clients
# Without npm the clients of Node are skipped, unless the environment says that it must be there.
NPM := $(if $(or $(shell command -v npm 2>/dev/null),$(RELAY_REQUIRE_NODE)),openai-npm openai-agents-npm)
QUICK := $(VENV)/clients/openai-agents.stamp $(NPM:%=$(CLIENTS)/%/node_modules/.package-lock.json)
SLOW := $(VENV)/clients/pipecat.stamp $(VENV)/clients/livekit.stamp

clients: $(VENV)/dev.stamp $(QUICK) ## set up stock clients, and run a conversation with each
	$(BIN)/pytest tests/clients/test_clients.py tests/docs/test_snippets.py::test_the_npm_package_connects_over_tls \
		-m "not slow" $(ARGS)

clients-slow: $(VENV)/dev.stamp $(SLOW) ## the same with pipecat and livekit, which are large
	$(BIN)/pytest tests/clients/test_clients.py -m slow $(ARGS)

check: $(VENV)/dev.stamp ## lint, types, import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/dev.stamp ## what lint and format can repair by themselves
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/bench.stamp ## the benchmarks, two tables
	$(BIN)/python bench $(ARGS)

bench-guard: $(VENV)/bench.stamp ## fail if a message costs 10 % more instructions than recorded
	$(BIN)/python bench/guard.py $(ARGS)

# The folders build/ and dist/ keep the modules and the wheels of earlier versions.
wheel: ## build a wheel with compiled modules into dist/; needs a C compiler
	$(MAKE) $(VENV)/compile/compile.stamp VENV=$(VENV)/compile
	rm -rf build dist
	RELAY_COMPILE=1 $(VENV)/compile/bin/python -m pip --disable-pip-version-check wheel --quiet \
		--no-deps --no-build-isolation --wheel-dir dist .

# Pins that still fit are kept; make lock ARGS=--upgrade takes the newest.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links $(ARGS)

# Names no host: whoever installs decides where from. Checksums decide what.
NPM_LOCK = npm --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts

# The extras that the image has.
IMAGE := azure mcp

lock: ## resolve pyproject.toml into requirements/, with uv
	$(COMPILE) --group pip -o requirements/pip.txt
	$(COMPILE) --group build -o requirements/build.txt
	$(COMPILE) pyproject.toml -o requirements/run.txt
	$(COMPILE) pyproject.toml -c requirements/run.txt $(IMAGE:%=--extra %) -o requirements/image.txt
	$(COMPILE) pyproject.toml -c requirements/run.txt --extra speech -o requirements/speech.txt
	$(COMPILE) pyproject.toml -c requirements/run.txt --group bench -o requirements/bench.txt
	$(COMPILE) pyproject.toml -c requirements/run.txt --group compile -o requirements/compile.txt
	$(COMPILE) pyproject.toml -c requirements/speech.txt -c requirements/bench.txt \
		-c requirements/image.txt -c requirements/compile.txt --extra speech --group dev -o requirements/dev.txt

clients-lock: ## resolve what the stock clients need, with uv and npm
	set -e; for wanted in $(CLIENTS)/*/requirements.in; do \
		$(COMPILE) $$wanted -o $${wanted%.in}.txt; done
	set -e; for package in $(CLIENTS)/*/package.json; do \
		(cd $${package%/*} && $(NPM_LOCK) $(if $(findstring --upgrade,$(ARGS)),update,install)); done

# Python 3.11 brings pip 23.2.1, which reads a lock more strictly than the newest pip does. A dry run
# downloads all packages, checks their hashes and dependencies, and installs nothing. A build in
# isolation would download packages that no lock names.
check-locks: $(BIN)/python ## resolve every lock with pip 23.2.1 and the newest pip, without a cache
	set -e; for pip in pip==23.2.1 pip; do \
		$(BIN)/python -m venv --clear $(VENV)/locks; \
		$(VENV)/locks/$(PIP) --upgrade $$pip; \
		$(VENV)/locks/$(PIP) --require-hashes -r requirements/build.txt; \
		for lock in requirements/*.txt $(CLIENTS)/*/requirements.txt; do \
			echo "$$pip: $$lock"; \
			$(VENV)/locks/$(PIP) --dry-run --ignore-installed --no-cache-dir \
				--no-build-isolation --require-hashes -r $$lock; done; done

# Install the lock $(2) into the environment $(1). Its own pip installs the locked pip and nothing
# else, so that the same pip installs the rest everywhere. Some package comes as source only, so the
# packages that build it come first.
define install
$(1)/$(PIP) --require-hashes -r requirements/pip.txt
$(1)/$(PIP) --require-hashes -r requirements/build.txt
$(1)/$(PIP) --require-hashes --no-build-isolation -r $(2)
endef
BASE := requirements/pip.txt requirements/build.txt

# A stamp is as new as the lock that was installed, so an unchanged tree installs nothing.
# The second --quiet hides a warning of setuptools that each editable installation causes.
$(VENV)/%.stamp: requirements/%.txt $(BASE) pyproject.toml | $(BIN)/python
	$(call install,$(VENV),$<)
	$(VENV)/$(PIP) --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/clients/%.stamp: $(CLIENTS)/%/requirements.txt $(BASE) | $(BIN)/python
	$(BIN)/python -m venv --clear $(@:.stamp=)
	$(call install,$(@:.stamp=),$<)
	@touch $@

$(CLIENTS)/%/node_modules/.package-lock.json: $(CLIENTS)/%/package-lock.json
	cd $(CLIENTS)/$* && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'The relay needs Python 3.11 or newer: make PYTHON=python3.13 ...' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
