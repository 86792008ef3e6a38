# make demo: everything from photographs to a trained, judged network. make test: all checks.
# make bench: all benchmarks of the loader. make bench-quick: that they run. make track: what fell.
PYTHON ?= python3
BIN := .venv/bin
DATA := data
RUN := runs/shufflemixer_demo
QUICK := build/bench-quick
# Ratios of quick runs, never absolute times.
RATIOS ?= bench/results/ci.jsonl

.PHONY: demo test check venv bench bench-quick track clean

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
	$(BIN)/python bench/loader.py --work all

bench-quick: venv
	$(BIN)/python bench/loader.py --quick --quiet --work w1,w1-raw,w2,w3,w4 --results $(QUICK) \
		--peers nostall,torchvision,dali-file,decode,png,folder
	$(BIN)/python bench/track.py --results $(QUICK) --ratios $(RATIOS) --report

track: venv
	$(BIN)/python bench/track.py --plot $(DATA)/bench/track

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
