# Two commands do everything on a machine with Python 3.11, pip and make: `make quickstart` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup quickstart browser test lint types bench clean

setup: $(STAMP)

# pip is told the pinned versions; torch first, so that nothing else chooses another build of it.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[starter,dev]'
	touch $(STAMP)

quickstart: setup
	$(BIN)/albertqa quickstart

# The report's page is tested in a real browser; where it cannot be installed, those tests say so and skip.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get -qq update && apt-get -qq install -y chromium >/dev/null; } \
	  || echo "no chromium here: the browser tests will be skipped"

test: setup browser
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks

types: setup
	$(BIN)/mypy

# Nothing else may run meanwhile: these are timings.
bench: setup
	$(BIN)/python -m benchmarks.bench

clean:
	rm -rf $(VENV) build dist
