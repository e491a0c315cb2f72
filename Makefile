# Two words for a newcomer: `make test` checks all that can be checked on this machine.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Tests share two cores with the programs that they start.
WORKERS ?= 2

.PHONY: test check format clean

$(VENV)/.installed: requirements.lock requirements-test.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-test.lock
	touch $@

test: check
	$(BIN)/pytest -n $(WORKERS)

check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
