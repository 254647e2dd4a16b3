# The developer's own commands; CI runs these and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WHC := $(BIN)/whc
SEED ?= 0
# Which ONNX Runtime: `make setup EXTRA=cpu` overrides what the machine says.
EXTRA ?= $(shell nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)

.PHONY: help setup litert web lint test quickstart pictures bench fuzz ui clean

help:
	@echo "make quickstart   set up, render data, search, build the ladder (minutes; SEED=n: other clips)"
	@echo "make litert       the converter to LiteRT, which writes .tflite files (minutes, 2 GB in the user's cache)"
	@echo "make web          the runtime of models in a browser, packed by npm (14 MB; for the demo's page)"
	@echo "make test         set up, run the tests"
	@echo "make lint         ruff, mypy, import-linter"
	@echo "make fuzz         2,000 damaged, forged and odd inputs (make test: 150)"
	@echo "make bench        speed and accuracy figures, as ratios"
	@echo "make pictures     README's pictures and ladders anew (three quarters of an hour; SIZE=--small: minutes)"
	@echo "make ui           the model registry in a browser, on this machine only"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "whc needs Python 3.11 or newer; run make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,$(EXTRA)]"
	@# Without a desktop's libGL the full OpenCV does not load; its headless twin needs none.
	@$(BIN)/python -c 'import cv2' 2>/dev/null || { \
	  echo "OpenCV cannot load libGL: installing its headless twin (no demo window)"; \
	  $(BIN)/python -m pip uninstall --quiet --yes opencv-python; \
	  $(BIN)/python -m pip install --quiet "opencv-python-headless==$$(sed -n 's/^opencv-python==//p' constraints.txt)"; }
	touch $@

litert: setup
	$(WHC) export --setup-litert

web: setup
	$(BIN)/python -m whc.demo.web.runtime_files

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A worker that dies ends the run: whatever killed it would kill the next one.
PYTEST := $(BIN)/pytest --numprocesses logical --maxprocesses 4 --max-worker-restart 0

test: setup
	$(PYTEST) --dist loadfile -m "not slow and not bench"
	$(PYTEST) --dist loadgroup -m slow

quickstart: setup
	$(WHC) data synth --out runs/synth --seed $(SEED)
	$(WHC) search --space search_spaces/tiny.yaml
	$(WHC) factory build-table
	@echo
	@echo "The registry:  make ui, then open http://127.0.0.1:5000/#/models"
	@echo "The demo:      $(WHC) demo --model whc_m --save wave.webm"

fuzz: setup
	WHC_FUZZ_INPUTS=2000 $(BIN)/pytest tests/fuzz -q -s

bench: setup
	$(BIN)/pytest tests/benchmarks -q -s -m bench -o faulthandler_timeout=0

pictures: setup
	$(BIN)/python .github/pictures/remake.py $(SIZE)

ui: setup
	$(WHC) ui

clean:
	rm -rf $(VENV) runs
