# The README's two commands. On a fresh machine they make .venv and install.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 2
# tests run in this many processes of one thread each
WORKERS ?= 2

# a browser of the family of Chromium, for make test-browser
export CHROMIUM ?= /usr/bin/chromium

.PHONY: train test test-fast test-browser check format

$(VENV)/.installed: pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e '.[dev,gguf,emoji,serve,demo,browser,gcg]'
	touch $@

train: $(VENV)/.installed
	$(BIN)/python tools/make_demo.py data/demo
	$(BIN)/python tools/train.py configs/lisa/lisa_nano.py --work-dir work_dirs/lisa_nano
	@echo "curves and overlays: work_dirs/lisa_nano"
	$(BIN)/python tools/test.py work_dirs/lisa_nano --controls

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-fast: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m 'not slow'

# the web demo in Debian's browser
test-browser: $(VENV)/.installed $(CHROMIUM)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/browser

$(CHROMIUM):
	@if ! command -v apt-get > /dev/null; then echo "error: $@ is missing and there is no apt-get: install chromium there"; exit 1; fi
	@if [ "$$(id -u)" != 0 ]; then echo "error: $@ is missing; run: sudo apt-get install chromium"; exit 1; fi
	apt-get update -qq
	apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core

check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python tests/test_tour.py
	$(BIN)/python -m tests.datasets.test_formats_page
