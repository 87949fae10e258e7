# Everything runs from .venv, which is made on first use and brought up to date
# whenever the locks change. Nothing outside this folder is touched but the
# download caches of pip and of Twofold itself (~/.cache/twofold).

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
UV ?= uv
GO ?= go

BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check install
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

.PHONY: demo
demo: $(READY) ## run the demo; KEEP=1 leaves it running at the end
	@exec $(BIN)/twofold demo $(if $(KEEP),--keep)

.PHONY: dev
dev: $(READY) ## run Kafka and Postgres on this machine until Ctrl-C
	@exec $(BIN)/twofold dev

.PHONY: test
test: lint ## run every check and every test; ARGS=… goes to pytest
	$(BIN)/python -m pytest --numprocesses 2 $(ARGS)

.PHONY: search
search: $(READY) ## visit every state of small transactions; a minute at most
	@$(BIN)/python -m tests.search

.PHONY: simulate
simulate: $(READY) ## simulate SEEDS=10000 runs in virtual time, from seed FROM=0 on
	@$(BIN)/python -m tests.simulation $(or $(SEEDS),10000) --from $(or $(FROM),0)

.PHONY: mutants
mutants: $(READY) ## plant bugs; see that search, simulation or a test finds each; REPORT=file
	@exec $(BIN)/python -m tests.mutants $(if $(SEEDS),--seeds $(SEEDS)) $(if $(REPORT),--report $(REPORT))

.PHONY: bench
bench: $(READY) ## measure what coordination costs, beside floors of the same run (a quarter of an hour)
	@$(BIN)/python -m tests.bench $(ARGS)

.PHONY: bench-quick
bench-quick: $(READY) ## the same in two minutes: one round, fewer loads
	@$(BIN)/python -m tests.bench --quick $(ARGS)

.PHONY: bench-peers
bench-peers: $(READY) ## measure SQLAlchemy's two phases, and DBOS, beside ours (three minutes)
	@test -e .twofold/peers/ready || { $(PYTHON) -m venv .twofold/peers \
		&& .twofold/peers/bin/python -m pip --disable-pip-version-check install --quiet \
			--require-hashes -r tests/bench/peers/requirements.lock && touch .twofold/peers/ready; }
	@$(BIN)/python -m tests.bench.peers .twofold/peers/bin/python $(ARGS)

.PHONY: curves
curves: $(READY) ## measure how costs grow; ONLY=steps,memory; PICTURES=folder
	@$(BIN)/python -m tests.bench.curves $(if $(ONLY),--only $(ONLY)) \
		$(if $(PICTURES),--pictures $(PICTURES))

.PHONY: chaos
chaos: $(READY) ## run faults and load for SECONDS=60, from SEED=…; BROKERS=3, MOVERS=, REST=, REPORT=
	@exec $(BIN)/python -m tests.chaos $(if $(SECONDS),--seconds $(SECONDS)) \
		$(if $(SEED),--seed $(SEED)) $(if $(MOVERS),--movers $(MOVERS)) \
		$(if $(BROKERS),--brokers $(BROKERS)) $(if $(REST),--rest $(REST)) $(if $(REPORT),--report $(REPORT))

.PHONY: chaos-controls
chaos-controls: $(READY) ## see that the checker catches two broken builds
	@exec $(BIN)/python -m tests.chaos --controls

.PHONY: takeovers
takeovers: $(READY) ## measure takeovers and handovers REPEATS=3 times each way; ONLY=killed,planned; REPORT=file
	@exec $(BIN)/python -m tests.takeovers $(if $(REPEATS),--repeats $(REPEATS)) \
		$(if $(ONLY),--only $(ONLY)) $(if $(SEED),--seed $(SEED)) $(if $(REPORT),--report $(REPORT))

.PHONY: crashpoints
crashpoints: $(READY) ## crash at every point REPEATS=3 times; ONLY=C7,P3; REPORT=file
	@exec $(BIN)/python -m tests.crashpoints $(if $(REPEATS),--repeats $(REPEATS)) \
		$(if $(ONLY),--only $(ONLY)) $(if $(SEED),--seed $(SEED)) $(if $(REPORT),--report $(REPORT))

.PHONY: lint
lint: $(READY) ## check style, imports and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/pyright

.PHONY: fmt
fmt: $(READY) ## format the code and apply safe fixes
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: venv
venv: $(READY) ## make .venv, or bring it up to date

.PHONY: lock
lock: ## pin every dependency anew with its hashes (needs uv)
	@command -v $(UV) >/dev/null || { echo "make lock needs uv: pip install uv, or set UV=/path/to/uv" >&2; exit 1; }
	$(COMPILE) --extra local --group dev pyproject.toml --output-file requirements.lock
	$(COMPILE) --constraint requirements.lock pyproject.toml --output-file requirements-runtime.lock
	@$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["java"])' \
		| $(COMPILE) - --output-file requirements-java.lock
	$(COMPILE) tests/bench/peers/requirements.in --output-file tests/bench/peers/requirements.lock

.PHONY: jaeger
jaeger: ## build Jaeger from source into ~/.cache/twofold (needs Go, minutes)
	@GO=$(GO) compose/local/build-jaeger.sh

.PHONY: clean
clean: ## remove .venv, caches and the data of local runs
	rm -rf .venv .twofold .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# pip reports progress by itself when a person is watching.
$(READY): pyproject.toml requirements.lock requirements-java.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Twofold needs Python 3.11 or newer, and $(PYTHON) is not: try make PYTHON=python3.12" >&2; exit 1; }
	@echo "setting up .venv (a minute or two the first time)"
	@$(PYTHON) -m venv .venv || { \
		echo "$(PYTHON) could not make .venv: on Debian and Ubuntu, install the package python3-venv" >&2; exit 1; }
	$(PIP) --require-hashes -r requirements.lock
	@$(BIN)/python -m compose.local.java || $(PIP) --require-hashes -r requirements-java.lock
	$(PIP) --quiet --no-deps --no-build-isolation -e .
	@touch $@
