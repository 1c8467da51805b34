# `make run` starts everything here and plays the demo conversation; `make test` checks everything.
# Needs Python 3.11 or newer and make; all else comes from the locks in requirements/.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
COMPILED ?= $(VENV)-compiled
OPTIMIZE ?= 3
QUIET := --disable-pip-version-check --quiet
PIP := $(BIN)/python -m pip $(QUIET)
INSTALL := install --no-compile # Python compiles what it imports; few modules of the tools are
ARGS ?=
OPENSIPS ?= opensips
REDIS ?= all
SECONDS ?= 60
SEED ?=

# Tests start some hundred processes: without compiled modules each compiles all of imc, a third of its start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run demo-linphone test test-compiled test-compose test-opensips docs chaos chaos-test fuzz format lock compiled clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp ## Valkey, an edge and a worker here; plays the demo, then serves (ARGS=--once: ends after it)
	@exec $(BIN)/imc up --demo $(ARGS)

demo-linphone: $(VENV)/test.stamp ## three real Linphones in a group chat, behind Kamailio (needs Debian's liblinphone10)
	$(BIN)/python -m tests.integration.peers.demo_group_chat

test: $(VENV)/test.stamp ## format check, lint, strict types, all tests, coverage (ARGS: for pytest)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses 6 --dist worksteal --cov --cov-report= --durations=25 --durations-min=5 -m "not chaos and not compose and not opensips" $(ARGS)
	$(BIN)/coverage report --skip-covered --fail-under=95

test-compiled: $(VENV)/test.stamp $(COMPILED)/compiled.stamp ## the tests of what `make compiled` compiles, on that
	cp -r tests docs deploy bench compose.yaml $(COMPILED)/src
	cd $(COMPILED)/src && $(abspath $(BIN))/python -c 'import imc_edge.delivering.fan_out as it; assert it.__file__.endswith(".so")'
	cd $(COMPILED)/src && $(abspath $(BIN))/python -m pytest --no-cov --numprocesses 4 --dist worksteal \
		-m "not uncompiled and (compiled or not integration)" tests/imc_edge tests/imc_worker tests/imc_common/sip tests/imc_common/store tests/imc_common/shards \
		tests/conformance/test_codec.py tests/conformance/test_edge.py \
		tests/integration/test_messages.py $(ARGS)

test-compose: $(VENV)/test.stamp ## compose.yaml on the Docker engine of this machine; needs its base images, and some minutes
	IMC_REQUIRE_TOOLS=1 $(BIN)/python -m pytest -m compose --no-cov tests/integration/compose $(ARGS)

test-opensips: $(VENV)/test.stamp ## the configurations of deploy/opensips, with OPENSIPS=/path/to/sbin/opensips
	OPENSIPS=$(OPENSIPS) IMC_REQUIRE_TOOLS=1 $(BIN)/python -m pytest -m opensips --no-cov tests/integration/peers $(ARGS)

docs: $(VENV)/test.stamp ## the pages as a site, in site/; a link that leads nowhere is a failure
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

chaos: $(VENV)/test.stamp ## random faults under load, then the verdict (REDIS=single|sentinel|cluster SECONDS=60 SEED=7)
	$(BIN)/python -m tests.chaos --redis $(REDIS) --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

chaos-test: $(VENV)/test.stamp ## the failure tests that take minutes, not part of `make test`
	$(BIN)/python -m pytest -m chaos $(ARGS)

fuzz: $(VENV)/test.stamp ## random conversations for 10 minutes, and mutated SIP messages for 2 (ARGS="--seconds 600": each)
	$(BIN)/python -m tests.fuzz_codec $(ARGS)
	$(BIN)/python -m tests.fuzz_edge $(ARGS)
	$(BIN)/python -m tests.state_fuzz $(ARGS)

format: $(VENV)/test.stamp ## writes the sources in the one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# All locks hold the same versions: run.txt and compile.txt are cut from test.txt.
lock: ## makes requirements/*.txt anew from the ranges in pyproject.toml
	$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/python -m pip --disable-pip-version-check --quiet install uv
	$(VENV)/lock/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		--custom-compile-command 'make lock' --no-emit-index-url $(UPGRADE) \
		--all-extras pyproject.toml requirements/build.in --output-file requirements/test.txt
	$(VENV)/lock/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		--custom-compile-command 'make lock' --no-emit-index-url --constraints requirements/test.txt \
		--extra embedded pyproject.toml requirements/build.in --output-file requirements/run.txt
	$(VENV)/lock/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		--custom-compile-command 'make lock' --no-emit-index-url --constraints requirements/test.txt \
		pyproject.toml requirements/build.in requirements/compile.in --output-file requirements/compile.txt

compiled: $(COMPILED)/compiled.stamp ## an environment with imc in it, its hot path compiled by gcc (OPTIMIZE=0: not optimised)

# Built from a copy: what the compiler makes lies beside its source, and would be run in its place. mypyc turns all
# warnings on, for code that it makes itself: to look for them takes gcc two minutes.
$(COMPILED)/compiled.stamp: requirements/compile.txt pyproject.toml $(shell find imc_cli imc_common imc_edge imc_worker -name '*.py') $(shell find lua -name '*.lua')
	@$(PYTHON) -m venv $(COMPILED)
	$(COMPILED)/bin/python -m pip $(QUIET) $(INSTALL) --no-deps --require-hashes -r requirements/compile.txt
	rm -rf $(COMPILED)/src
	mkdir $(COMPILED)/src
	cp -r pyproject.toml README.md LICENSE lua imc_cli imc_common imc_edge imc_worker $(COMPILED)/src
	@sed -i 's/opt_level = "3"/opt_level = "$(OPTIMIZE)"/' $(COMPILED)/src/pyproject.toml
	@printf '%s\n' '#!/bin/sh' 'for word; do shift; [ "$$word" = -Wall ] || set -- "$$@" "$$word"; done; exec cc "$$@"' >$(COMPILED)/src/cc
	@chmod +x $(COMPILED)/src/cc
	cd $(COMPILED)/src && CC=$(abspath $(COMPILED))/src/cc HATCH_BUILD_HOOKS_ENABLE=1 ../bin/python -m hatchling build -t wheel
	$(COMPILED)/bin/python -m pip $(QUIET) $(INSTALL) --force-reinstall --no-deps $(COMPILED)/src/dist/*.whl
	@touch $@

clean: ## removes the environment and what tools leave behind (not ./var)
	rm -rf $(VENV) $(COMPILED) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*

$(VENV)/%.stamp: requirements/%.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) $(INSTALL) --no-deps --require-hashes -r $<
	$(PIP) $(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "imc needs Python 3.11 or newer, and there is none: make PYTHON=/path/to/python"; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) does not exist: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than Python 3.11, which imc needs: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make environments: install its venv module (Debian: apt install python3-venv)"; exit 1; }
	@mkdir -p $(VENV) 2>/dev/null && test -w $(VENV) \
		|| { echo "$(abspath $(VENV)) cannot be written to: make VENV=/another/folder"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

include bench/Makefile
