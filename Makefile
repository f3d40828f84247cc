# Every target makes what it needs first: `make run` and `make test` work on a machine that has only
# Python 3.11 or newer, and make.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
READY := .venv/.ready
JS_READY := tests/js/node_modules/.ready
LOCKED := .cache/locked/.ready

# The uv on PATH if it starts there (a version manager may leave a name that starts nothing), else
# one of our own.
OWN_UV := .cache/uv/bin/uv
export UV := $(if $(shell uv --version 2>/dev/null),uv,$(OWN_UV))
UV_NEEDED := $(filter $(OWN_UV),$(UV))

# Tests start hundreds of processes: what one has compiled the others need not compile again, even
# where the shell asks Python to keep nothing beside the sources.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/.cache/pycache

# The environment is made with $(PYTHON) and nothing else, whatever uv could fetch.
export UV_PYTHON_DOWNLOADS := never
CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
  echo "Python 3.11 or newer is needed, but $(PYTHON) does not start or is older:" \
    "name one that is there, e.g. 'make setup PYTHON=python3.12'" >&2; exit 1; }

.PHONY: help
help: ## Show this help
	@echo "Usage: make TARGET [ARGS='…']     ARGS goes to the command that the target starts"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- set-up ---------------------------------------------------------------------------------------

.PHONY: setup
setup: $(READY) $(JS_READY) ## Make .venv with both packages and all tools, and the SDK for the tests

$(READY): requirements/dev.txt node/pyproject.toml operator/pyproject.toml | $(UV_NEEDED)
	@$(CHECK_PYTHON)
	@echo "Setting up .venv with what requirements/dev.txt locks"
	@$(BIN)/python -c '' 2>/dev/null || $(UV) venv --quiet --clear --no-project .venv \
	  --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation \
	  --editable ./node --editable ./operator
	@touch $@

$(OWN_UV): requirements/uv.txt
	@$(CHECK_PYTHON)
	@echo "No uv on PATH: installing one into .cache/uv"
	@$(PYTHON) -m venv --clear .cache/uv || { \
	  echo "$(PYTHON) cannot make a virtual environment (Debian: apt-get install python3-venv)" >&2; \
	  exit 1; }
	@.cache/uv/bin/python -m pip install --quiet --require-hashes --requirement requirements/uv.txt
	@touch $@

# Without npm nothing is made here, and the next run asks again.
$(JS_READY): tests/js/package.json tests/js/package-lock.json
	@if command -v npm >/dev/null; then \
	  echo "Setting up tests/js/node_modules with what its lockfile names"; \
	  (cd tests/js && npm ci --silent) && touch $@; \
	else \
	  echo "No npm on PATH: tests of the official JavaScript SDK will be skipped." \
	    "Install Node.js 18 or newer with npm, then 'make setup'" >&2; \
	fi

.PHONY: clean
clean: ## Remove what was made here: environments, caches, reports
	@rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis \
	  tests/js/node_modules tests/load/peers/socketio/node_modules htmlcov .coverage .coverage.* \
	  node/dist operator/dist
	@find node operator tests -name __pycache__ -type d -prune -exec rm -rf {} +

# --- use ------------------------------------------------------------------------------------------

.PHONY: run
run: $(READY) ## Start a small cluster on this machine (ARGS='--nodes 3')
	@exec $(BIN)/realtime-node dev $(ARGS)

# As many processes as the machine has cores, and a file's tests in one of them (JOBS=0: all in this).
JOBS ?= logical
PYTEST := -m pytest --numprocesses=$(JOBS) --maxprocesses=8 --dist=loadgroup --no-loadscope-reorder

.PHONY: test
test: $(READY) $(JS_READY) ## Run the tests that every change needs (ARGS='tests/unit -x')
	@$(BIN)/python $(PYTEST) $(ARGS)

.PHONY: test-unit
test-unit: $(READY) ## Of those, run the ones without I/O
	@$(BIN)/python $(PYTEST) tests/unit $(ARGS)

.PHONY: test-rest
test-rest: $(READY) $(JS_READY) ## Run what `make test` leaves out: other stores, slow and rare matters
	@$(BIN)/python $(PYTEST) --scope=rest $(ARGS)

.PHONY: test-all
test-all: $(READY) $(JS_READY) ## Run all tests but those under load and on Kubernetes
	@$(BIN)/python $(PYTEST) --scope=all $(ARGS)

.PHONY: coverage
coverage: $(READY) $(JS_READY) ## Run `make test` and tell which lines it does not reach
	@$(BIN)/coverage erase
	@$(BIN)/coverage run $(PYTEST) $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

.PHONY: faults
faults: $(READY) ## Break things under load, and show what each fault did (five minutes)
	@$(BIN)/python -m pytest -m load tests/faults $(ARGS)

.PHONY: bench
bench: $(READY) ## Measure one node, then a cluster
	@$(BIN)/python -m tests.load.bench $(ARGS)

.PHONY: bench-backplane
bench-backplane: $(READY) ## Measure what joins the nodes, on a Redis of its own
	@$(BIN)/python -m tests.load.bench_backplane $(ARGS)

.PHONY: bench-holds
bench-holds: $(READY) ## Measure for how long each operation holds the event loop
	@$(BIN)/python -m tests.load.bench_loop_holds $(ARGS)

.PHONY: bench-flow
bench-flow: $(READY) ## Measure slow clients, intervals and stagger
	@$(BIN)/python -m tests.load.bench_flow $(ARGS)

.PHONY: bench-peers
bench-peers: $(READY) ## Measure beside Centrifugo and Socket.IO, made here (needs Go, npm)
	@$(BIN)/python -m tests.load.bench_peers $(ARGS)

.PHONY: capacity
capacity: $(READY) ## Measure what one node holds here, and print the limits to set
	@$(BIN)/python -m tests.load.bench_capacity $(ARGS)

.PHONY: storm
storm: $(READY) ## Let thousands of clients come back at once, and slowly
	@$(BIN)/python -m tests.load.bench_storm $(ARGS)

.PHONY: soak
soak: $(READY) ## Let clients churn for a quarter of an hour, and look for what grows
	@$(BIN)/python -m tests.load.bench_soak $(ARGS)

.PHONY: simulate
simulate: $(READY) ## Try the operator's decisions on a cluster that is not there (ARGS='--help')
	@$(BIN)/realtime-operator simulate $(or $(ARGS),--scenario all)

# --- kubernetes -----------------------------------------------------------------------------------

# As the charts name it, unless they are told otherwise.
TAG ?= $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' node/realtime_node/__init__.py)

.PHONY: images
images: ## Build the images of node and operator with Docker (TAG=…)
	@for part in node operator; do \
	  docker build --tag realtime-$$part:$(TAG) --file $$part/Dockerfile \
	    --build-arg VERSION=$(TAG) --build-arg REVISION=$$(git rev-parse HEAD) . || exit 1; \
	done

.PHONY: test-kubernetes
test-kubernetes: $(READY) ## Test on a real Kubernetes: KUBECONFIG's, else kind's, else the lab's
	@$(BIN)/python -m pytest -m kubernetes tests/kubernetes $(ARGS)

.PHONY: kind-up
kind-up: images ## Start two machines with kind, which has the images
	@kind get clusters 2>/dev/null | grep -qx realtime || \
	  kind create cluster --name realtime --config kind-config.yaml --wait 3m
	@kind load docker-image --name realtime realtime-node:$(TAG) realtime-operator:$(TAG)

.PHONY: kind-test
kind-test: ## Test on the cluster of kind-up if that is up, else on one for the test
	@env -u KUBECONFIG $(MAKE) --no-print-directory test-kubernetes

.PHONY: kind-down
kind-down: ## End the cluster of kind-up
	@kind delete cluster --name realtime

# --- checks ---------------------------------------------------------------------------------------

.PHONY: check
check: lint types imports locked ## Run every check below

.PHONY: lint
lint: $(READY) ## Check style, formatting and plain words
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/python -m tools.plain_words
	@$(BIN)/shellcheck --external-sources .ci/run requirements/lock.sh tests/kubernetes/lab/kubelab

.PHONY: types
types: $(READY) ## Check types
	@$(BIN)/mypy

.PHONY: imports
imports: $(READY) ## Check that imports follow the architecture
	@$(BIN)/lint-imports --no-logo

# Needs the index only after one of these files changed.
.PHONY: locked
locked: $(LOCKED) ## Check that requirements/*.txt follow from what is asked for

$(LOCKED): $(wildcard requirements/*) node/pyproject.toml operator/pyproject.toml | $(UV_NEEDED)
	@rm -rf $(@D) && mkdir -p $(@D) && cp requirements/*.txt $(@D)
	@requirements/lock.sh $(@D)
	@diff -u -I '^ *--hash' requirements $(@D) --exclude='*.in' --exclude='*.sh' || { \
	  echo "requirements/ is out of date: run 'make requirements'" >&2; exit 1; }
	@touch $@

# --- changes --------------------------------------------------------------------------------------

.PHONY: format
format: $(READY) ## Apply the safe fixes and format
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

SPEC_OF_NODE := operator/realtime_operator/crd/node_settings.json
CRD := charts/realtime-operator/files/realtimeclusters.realtimecluster.dev.yaml

.PHONY: crd
crd: $(READY) ## Write the definition of RealtimeCluster from the models and the node's settings
	@$(BIN)/python -m tools.node_settings_schema > $(SPEC_OF_NODE).new
	@mv $(SPEC_OF_NODE).new $(SPEC_OF_NODE)
	@$(BIN)/python -m realtime_operator.cli crd > $(CRD).new
	@mv $(CRD).new $(CRD)

.PHONY: charts
charts: $(READY) ## Write the charts' READMEs and schemas from their values and the CRD
	@$(BIN)/python -m tools.chart_docs

.PHONY: requirements
requirements: | $(UV_NEEDED) ## Lock the dependencies (ARGS=--upgrade takes newer ones)
	@requirements/lock.sh requirements $(ARGS)
