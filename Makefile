# make demo    a simulated ESP32 with a BME280, a gateway, and its page
# make test    every test
# make soak    the long sweeps
# make bench   the tables of docs/benchmarks.md
PYTHON ?= python3
VM ?= micropython
SECONDS ?=
RUN = .venv/bin/python

.PHONY: setup demo test soak mpy bench size format clean

setup:
	@$(PYTHON) tools/bootstrap.py demo

demo: setup
	@$(RUN) -m host_sim demo --vm $(VM) $(if $(SECONDS),--seconds $(SECONDS))

test:
	@$(PYTHON) tools/bootstrap.py test
	@.venv/bin/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@.venv/bin/ruff check --quiet .
	@.venv/bin/mypy --no-error-summary
	@$(RUN) -m pytest -n logical --maxprocesses 8 --dist worksteal

mpy:
	@$(PYTHON) tools/bootstrap.py test
	@$(RUN) tools/build_mpy.py

soak:
	@$(PYTHON) tools/bootstrap.py test
	@$(RUN) tools/soak.py

bench:
	@$(PYTHON) tools/bootstrap.py demo
	@$(RUN) tools/bench.py
	@$(RUN) tools/bench_send.py
	@$(RUN) tools/bench_drain.py

size:
	@$(PYTHON) tools/bootstrap.py test
	@$(RUN) tools/size.py

format:
	@$(PYTHON) tools/bootstrap.py test
	@.venv/bin/ruff check --quiet --fix .
	@.venv/bin/ruff format --quiet .

clean:
	rm -rf .venv build host_sim/node_modules
