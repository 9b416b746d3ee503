# The front door. `make up` brings the platform up, `make test` proves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: up down status weights test check lint docs eval bench bench-peers bench-variants bench-meter \
	bench-tuning clean postgres simulate

up: $(STAMP)
	$(BIN)/xingyue up

down: $(STAMP)
	$(BIN)/xingyue down

status: $(STAMP)
	$(BIN)/xingyue status

weights: $(STAMP)
	$(BIN)/xingyue weights

test: $(STAMP) postgres weights
	$(BIN)/python -m pytest -q

check: lint test

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The pages of docs/reference, from the code that they describe.
docs: $(STAMP)
	$(BIN)/python docs/reference/generate.py

# Evaluations on the real data sets, where they are at hand: make eval DATA=../shared/data
DATA ?= ../shared/data
eval: $(STAMP) weights
	$(BIN)/xingyue eval appliance-surface-qc --data $(DATA)

# Throughput and latency against the raw loop, on a platform of its own (benchmarks/README.md):
# make bench SCENARIO=image,noop SECONDS=10 ROUNDS=3 PEERS=raw,litserve
SCENARIO ?= all
SECONDS ?= 10
ROUNDS ?= 3
bench: $(STAMP) weights
	PYTHONPATH=benchmarks $(BIN)/python -m xingyue_benchmarks run \
	  --scenario $(SCENARIO) --seconds $(SECONDS) --rounds $(ROUNDS) $(if $(PEERS),--peers $(PEERS))

# Servers to compare with, each in an environment of its own: make bench-peers PEERS=litserve
bench-peers: $(STAMP)
	PYTHONPATH=benchmarks $(BIN)/python -m xingyue_benchmarks install $(if $(PEERS),--peers $(PEERS))

# A thousand variants on one trunk: in process, over HTTP with the meter on, and as whole models in
# plain Ray Serve, into one picture: make bench-variants SECONDS=5 ROUNDS=2 PARTS=engine
PARTS ?= engine platform multiplexed
bench-variants: $(STAMP) weights
	for part in $(PARTS); do PYTHONPATH=benchmarks $(BIN)/python -m xingyue_benchmarks.variants \
	  $$part --seconds $(SECONDS) --rounds $(ROUNDS) || exit; done

# Fine-tuning through the public doors: how long, how good, what serving feels of it:
# make bench-tuning PART=times|accuracy|starvation DATA=../shared/data
# make bench-tuning PART=accuracy SETS="elpv-solar optical-film" FOLDS=4
PART ?= times
FOLDS ?= 1
bench-tuning: $(STAMP) weights
	PYTHONPATH=benchmarks $(BIN)/python -m xingyue_benchmarks.tuning $(PART) --data $(DATA) \
	  --folds-run $(FOLDS) $(if $(SETS),--sets $(SETS))

# What the meter costs: durable events a second on both databases, a call with it and without, in
# some 4 minutes: make bench-meter METER_SECONDS=2 METER_ROUNDS=3
METER_SECONDS ?= 2
METER_ROUNDS ?= 3
bench-meter: $(STAMP) postgres weights
	PYTHONPATH=benchmarks $(BIN)/python -m xingyue_benchmarks.meter \
	  --seconds $(METER_SECONDS) --rounds $(METER_ROUNDS)

# The meter under thousands of seeds; one that breaks the promise is printed: SEEDS=5000 FROM=1
SEEDS ?= 5000
FROM ?= 1
simulate: $(STAMP)
	PYTHONPATH=tests/simulator $(BIN)/python -m ledger_simulator --seeds $(SEEDS) --from $(FROM)

# A real PostgreSQL for the ledger's tests; where it can't be installed they are skipped.
postgres:
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 \
	  || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq postgresql >/dev/null; } \
	  || echo "PostgreSQL is not installed: its tests will be skipped"

$(STAMP): requirements.lock pyproject.toml client/pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e client -e .
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
