# Two commands do everything on a machine with Python 3.11 or later, its venv, and make: `make quickstart`, `make test`.
# The first of these that runs and is new enough; another one: make PYTHON=/path/to/python
PYTHONS := python3.11 python3.12 python3.13 python3.14 python3 python
IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in $(PYTHONS); do \
  if $$python -c '$(IS_NEW_ENOUGH)' 2>/dev/null; then echo $$python; break; fi; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: setup quickstart browser test walks docs lint types fuzz bench wheel clean

setup: $(STAMP)

$(VENV):
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or later here (looked for: $(PYTHONS))." \
	  "Install one, or name it: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c '$(IS_NEW_ENOUGH)' || { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1), expected Python 3.11 or later." \
	  "Name another: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv." \
	  "On Debian and Ubuntu: apt-get install $$(basename $(PYTHON))-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch first, so that nothing else chooses another build of it.
$(STAMP): pyproject.toml constraints.txt | $(VENV)
	@{ $(PIP_INSTALL) torch && $(PIP_INSTALL) -e '.[starter,dev]'; } || { echo "The versions in constraints.txt were not" \
	  "installed on $$($(BIN)/python -V). If they do not exist for it: rm -r $(VENV), then make PYTHON=python3.11"; exit 1; }
	touch $(STAMP)

quickstart: setup
	$(BIN)/albertqa quickstart

# Pages are tested in a real browser, and int8 on an emulated processor without VNNI; where these cannot be installed,
# those tests say so and skip.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get -qq update && apt-get -qq install -y chromium >/dev/null; } \
	  || echo "no chromium here: the browser tests will be skipped"
	@command -v qemu-x86_64 >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get -qq update && apt-get -qq install -y qemu-user >/dev/null; } \
	  || echo "no qemu-user here: the test of processors without VNNI will be skipped"

# Two processes of one thread each; a file's tests stay together, as they share what they trained.
test: setup browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# The first hour of four kinds of users, from an empty folder to their goal; a quarter of an hour.
walks: setup browser
	$(BIN)/python -m pytest -m "slow or not slow" tests/walks

# Offline; open docs/_build/html/index.html.
docs: setup
	$(BIN)/python -m sphinx -n -W --keep-going -E -q -b html -d docs/_build/trees docs docs/_build/html

lint: setup
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/ruff format --check src tests benchmarks docs

types: setup
	$(BIN)/mypy

# However damaged an input is, it gives a result or one line: 10,000 inputs of each kind; about an hour.
fuzz: setup
	for kind in readers score answer-input toml model-folders runs; do \
	  (cd tests && PYTHONPATH=..:../src ../$(BIN)/python -m fuzz $$kind) || exit 1; done

# Nothing else may run meanwhile: these are timings.
bench: setup
	$(BIN)/python -m benchmarks.bench

# For other machines: pip install dist/albertqa-….whl, with the extras in brackets behind it.
wheel: setup
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist/*.whl

clean:
	rm -rf $(VENV) build dist
