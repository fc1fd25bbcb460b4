# `make demo` and `make test` are all that a newcomer needs; both build .venv if need be.
PYTHON ?= python3
BIN := .venv/bin

unexport PYTHONDONTWRITEBYTECODE  # Ray starts hundreds of processes: none need compile the sources again

.PHONY: setup demo test chaos lint format benchmarks bench bench-full image
setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	touch $@

demo: setup
	$(BIN)/padray run demo

# One thread a process: on two cores those of two processes wait for each other, up to fifty times as long as they work.
test chaos: export OMP_NUM_THREADS = 1

test: lint  # in two processes, one of which has all tests that need Ray
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder --durations=10

chaos: setup
	$(BIN)/python -m pytest -m chaos --durations=10 -o faulthandler_timeout=3600
	PADRAY_HOSTILE_CASES=10000 $(BIN)/python -m pytest tests/hostile -o faulthandler_timeout=3600

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmarks: setup
	$(BIN)/python -m tests.benchmarks.adjoint_memory
	$(BIN)/python -m tests.benchmarks.snapshots
	$(BIN)/python -m tests.benchmarks.startup

bench: setup  # the table of speed, under 10 minutes
	$(BIN)/python -m tests.benchmarks.bench

bench-full: setup
	$(BIN)/python -m tests.benchmarks.bench --full

image:
	@test -n "$(IMAGE)" || { echo "make image IMAGE=REGISTRY/padray:VERSION"; exit 2; }
	docker build --platform linux/amd64 --tag $(IMAGE) .
	docker push $(IMAGE)
