# The README's two commands. On a fresh machine they make .venv and install.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 2
# tests run in this many processes of one thread each
WORKERS ?= 2

.PHONY: train test test-fast check format

$(VENV)/.installed: pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e '.[dev,gguf,emoji,serve]'
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
