PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
DOCS_STAMP := .venv/.installed-docs
RESULTS_ARGS ?=

.DELETE_ON_ERROR:
.PHONY: help venv demo test test-all check format docs gpu results ablation clean

help:
	@echo 'make demo      set up, run recipes/quickstart.yaml and say where its report is'
	@echo 'make test      set up and run the fast tests'
	@echo 'make test-all  the slow tests too'
	@echo 'make gpu       the tests that need a CUDA device, then the benchmarks on it'
	@echo 'make check     linter, formatter and type checker'
	@echo 'make format    let the linter and the formatter rewrite the code'
	@echo 'make docs      these pages as a site in build/docs; any warning is an error'
	@echo 'make results   the table of the README: recipes/emoji.yaml over three seeds'
	@echo 'make ablation  the tables of docs/ablation.md: recipes/capfilt_ablation.yaml over three seeds'
	@echo 'make clean     remove .venv, caches and builds; runs/ is kept'

venv: $(STAMP)

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
	  echo "mmtk needs Python 3.11 or newer, and there is no '$(PYTHON)' here;" \
	       "name one with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "mmtk needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1);" \
	       "name another with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || { \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu it needs the package python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/mmtk run recipes/quickstart.yaml
	@echo 'The report is in runs/quickstart/report.html: open it in a browser.'

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test-all: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m ''

docs: $(DOCS_STAMP)
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_map.py
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo 'The site is in build/docs/index.html: open it in a browser.'

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

gpu: $(STAMP)
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python -m benchmarks.pretrain_step --device cuda --steps 20

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ablation: $(STAMP)
	$(BIN)/python -m benchmarks.ablation_table --write docs/ablation.md $(RESULTS_ARGS)

results: $(STAMP)
	$(BIN)/python -m benchmarks.emoji_table --write README.md $(RESULTS_ARGS)

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find mmtk plugins tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
