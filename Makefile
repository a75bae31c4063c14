# Milimo: everything that a person types. Each target sets up what it needs.
#
#   make demo     a first film, from nothing: sets up, runs the whole mesh, stops it again
#   make test     all tests
#   make up       the mesh, until `make down`
#   make help     the rest

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
MILIMO_HOME ?= $(CURDIR)/var
export MILIMO_HOME

# One thread a process: two processes with all cores each are slower than with one each.
TEST_ENVIRONMENT := OMP_NUM_THREADS=1 MILIMO_MODELS_DIR=$(CURDIR)/var/models

.PHONY: help demo test test-python test-typescript up down bench simulate mutate soak protos lint types ci clean \
	train-shapes evaluate-shapes

help:
	@sed -n 's/^#   //p; s/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | column -t -s '|'

# --- setting up ------------------------------------------------------------------------------------------------------

$(VENV)/.installed: constraints.txt pyproject.toml clients/python/pyproject.toml
	@echo "Setting up $(VENV): a minute or two, once …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e clients/python -e '.[dev]'
	@touch $@

clients/typescript/node_modules/.installed: clients/typescript/package.json clients/typescript/package-lock.json
	cd clients/typescript && npm ci --silent --no-audit --no-fund
	@touch $@

# --- running ---------------------------------------------------------------------------------------------------------

demo: $(VENV)/.installed  ## turns a script and a prompt into an image, a mask and a video
	@$(BIN)/python -m milimo_deploy.demo

up: $(VENV)/.installed  ## starts the mesh in the background
	@$(BIN)/milimo up --detach

down: $(VENV)/.installed  ## stops it
	@$(BIN)/milimo down

# --- training --------------------------------------------------------------------------------------------------------

RUNS ?= $(MILIMO_HOME)/shapes-runs
SHAPES_SEED ?= 0
# Memory stays with the process: giving back and asking again for every tensor takes a fifth of a step's time.
SHAPES := MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=34359738368 MALLOC_TOP_PAD_=268435456 \
	$(BIN)/python -m milimo_shapes

# One core for each model: two threads on one of them are not twice as fast.
train-shapes: $(VENV)/.installed  ## trains the small models that come with it: hours on two cores; goes on where it was
	$(MAKE) --jobs=2 train-shapes-ltx-2 train-shapes-flux-2
	$(SHAPES) assemble --runs "$(RUNS)"

train-shapes-%: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(SHAPES) train $* --runs "$(RUNS)" --seed "$(SHAPES_SEED)"

evaluate-shapes: $(VENV)/.installed  ## judges what they make; writes docs/shapes.md
	$(SHAPES) evaluate --docs docs

# --- checking --------------------------------------------------------------------------------------------------------

# The Python tests run the README's TypeScript too.
test: clients/typescript/node_modules/.installed test-python test-typescript  ## all tests, about ten minutes on two cores

test-python: $(VENV)/.installed
	$(TEST_ENVIRONMENT) $(BIN)/python -m milimo_tiny --out var/models
	$(TEST_ENVIRONMENT) $(BIN)/python -m pytest --numprocesses=2

test-typescript: $(VENV)/.installed clients/typescript/node_modules/.installed
	$(TEST_ENVIRONMENT) $(BIN)/python -m milimo_tiny --out var/models
	$(TEST_ENVIRONMENT) $(BIN)/python tests/acceptance/typescript.py

soak: $(VENV)/.installed  ## long runs: repeated crashes, many jobs
	$(TEST_ENVIRONMENT) $(BIN)/python -m milimo_tiny --out var/models
	$(TEST_ENVIRONMENT) $(BIN)/python -m pytest -m soak --override-ini addopts='--import-mode=importlib -ra'

bench: $(VENV)/.installed  ## measures; writes build/bench.json and docs/benchmarks.md
	$(TEST_ENVIRONMENT) $(BIN)/python -m milimo_tiny --out var/models
	$(BIN)/python tests/bench/run.py

SEED ?= 0
STEPS ?= 1000000

simulate: $(VENV)/.installed  ## the arbiter's rules in random worlds: make simulate SEED=7 STEPS=20000
	@$(BIN)/python -m milimo_arbiter.simulation --seed "$(SEED)" --steps "$(STEPS)"

MODULES ?= core

mutate: $(VENV)/.installed  ## breaks the arbiter's rules in every small way: do its tests notice? make mutate MODULES="core plan"
	$(BIN)/python tests/mutation/run.py $(MODULES)

protos: $(VENV)/.installed clients/typescript/node_modules/.installed  ## generates the stubs from the contract
	cd protos && ../$(BIN)/buf format -w
	$(BIN)/python protos/generate.py

lint: $(VENV)/.installed clients/typescript/node_modules/.installed  ## style, the contract's rules, stale stubs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	cd protos && ../$(BIN)/buf format --diff --exit-code
	$(BIN)/python protos/generate.py --lint
	$(BIN)/python protos/generate.py --check

types: $(VENV)/.installed clients/typescript/node_modules/.installed  ## both type checkers
	$(BIN)/mypy
	cd clients/typescript && npx tsc --noEmit

ci: test lint types

clean:  ## removes what was built; keeps the mesh's data
	rm -rf build $(VENV) clients/typescript/node_modules clients/typescript/dist .mypy_cache .ruff_cache .pytest_cache
