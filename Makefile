# One door to everything. Needs only Python >= 3.11 and make; every target sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: setup test chaos soak worlds check demo bench bench-peers bench-scale profile flood fuzz audit proto clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"EasyRemote needs Python 3.11 or newer, found {v[0]}.{v[1]}: run make PYTHON=/path/to/python3.11 setup")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable . --group dev --group values
	@touch $(STAMP)

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal

# What breaks, at its full length: kill -9, cut cables, standing still; about ten minutes. Cables need root on Linux.
chaos: setup
	CHAOS=full $(BIN)/python -m pytest -n 2 --dist worksteal tests/chaos $(ARGS)

# Everything at once: make soak ARGS="--minutes 60 --seed 7"; ten minutes unless told otherwise.
soak: setup
	PYTHONPATH=tests $(BIN)/python tests/chaos/soak.py $(ARGS)

# Networks in virtual time, each from a seed: WORLDS=10000 make worlds takes about three minutes.
worlds: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/sim/test_worlds.py $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

demo: setup
	$(BIN)/easynet demo

bench: setup
	$(BIN)/python benchmarks/echo.py

# Beside NATS, Ray, Dask and others, each installed in an environment of its own: about half an hour.
# A first look: make bench-peers ARGS=--quick
bench-peers: setup
	$(BIN)/python benchmarks/peers/run.py $(ARGS)

# How it grows: memory, idle CPU and pushes at 1,000 nodes, 10,000 simulated; about ten minutes.
# A first look: make bench-scale ARGS=--quick
bench-scale: setup
	$(BIN)/python -m pip install --quiet --group plots
	$(BIN)/python benchmarks/scale.py $(ARGS)

# Where a call's microseconds go, stage by stage, and as flame graphs.
profile: setup
	$(BIN)/python -m pip install --quiet --group plots
	$(BIN)/python benchmarks/profile_call.py $(ARGS)

# What one member that floods the gateway costs the others.
flood: setup
	$(BIN)/python benchmarks/flood.py

# Coverage-guided fuzzing of every decoder, a minute each; new finds are kept in tests/fuzz/corpus.
fuzz: setup
	$(BIN)/python -m pip install --quiet --group trials
	for target in $$($(BIN)/python tests/fuzz/fuzz.py list); do $(BIN)/python tests/fuzz/fuzz.py $$target --seconds 60 || exit 1; done

# Known advisories about what we depend on; asks pypi.org.
audit: setup
	$(BIN)/python -m pip install --quiet --group trials
	$(BIN)/python -m pip_audit --skip-editable

# Generated code refuses a protobuf older than its generator's: generate with the oldest we support.
proto:
	$(PYTHON) -m venv $(VENV)-proto
	$(VENV)-proto/bin/python -m pip install --quiet "grpcio-tools==1.71.0" "setuptools<80"
	$(VENV)-proto/bin/python -m grpc_tools.protoc -I src/easyremote/wire/schema \
	  --python_out=src/easyremote/wire/_pb --pyi_out=src/easyremote/wire/_pb \
	  src/easyremote/wire/schema/easyremote/v1/gateway.proto
	touch src/easyremote/wire/_pb/easyremote/__init__.py src/easyremote/wire/_pb/easyremote/v1/__init__.py

clean:
	rm -rf $(VENV) $(VENV)-proto .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
