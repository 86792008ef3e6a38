# make demo: everything from photographs to a trained, judged network. make test: all checks.
PYTHON ?= python3
BIN := .venv/bin
DATA := data
RUN := runs/shufflemixer_demo

.PHONY: demo test check venv bench clean

venv: .venv/installed

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev,bench]'
	touch $@

demo: venv
	$(BIN)/python -m dataprep build sample --data-root $(DATA)
	$(BIN)/python train.py --model shufflemixer_demo --data-root $(DATA)
	$(BIN)/python -m tasks evaluate $(RUN) --data-root $(DATA)

test: check

check: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m "not gpu"

bench: venv
	$(BIN)/python bench/loader.py

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
