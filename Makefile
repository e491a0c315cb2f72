# Two words for a newcomer: `make demo` shows it, `make test` checks all that can be checked here.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# More than cores: many tests wait for programs that they have started.
WORKERS ?= 4
# Of the demo's page.
PORT ?= 8080

# The tests start the bot many times over: it is compiled once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test suite chaos bench check style types format clean

$(VENV)/.installed: requirements.lock requirements-test.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-test.lock
	touch $@

# The demo needs no test tools; where those are installed, nothing more is.
$(VENV)/.ready: requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	touch $@

demo: $(if $(wildcard $(VENV)/.installed),,$(VENV)/.ready)
	$(BIN)/python -m bot demo --port $(PORT)

# What is quick to say comes first; the types are looked at beside the tests, which often wait.
test: style
	$(MAKE) --no-print-directory --jobs 2 types suite

suite: $(VENV)/.installed
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup

chaos: $(VENV)/.installed
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m chaos_long --durations=0 tests/chaos tests/contract
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m hypothesis --hypothesis-profile long --timeout 1800

bench: $(VENV)/.installed
	$(BIN)/python -m bench.ssh_fanout $(if $(ANSIBLE),--ansible $(ANSIBLE))
	$(BIN)/python -m bench.parked
	$(BIN)/python -m bench.press
	$(BIN)/python -m bench.start

check: style types

style: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(VENV)/.installed
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
