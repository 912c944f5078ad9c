# lesionlab: `make demo` and `make test` set up everything they need; both are safe to repeat.
# PYTHON chooses the interpreter (3.11 or 3.12); PIP_FLAGS goes to pip, for example an index with CPU builds of torch.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
PIP_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_DISABLE_AGENT_SKILLS_PROMPT := true

.PHONY: help demo test lint format install folds pages clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v in ((3, 11), (3, 12)) or sys.exit("lesionlab needs Python 3.11 or 3.12, this is %d.%d. Cure: make PYTHON=/path/to/python3.11 ..." % v)'
	@echo "== Setting up $(VENV) with $$($(PYTHON) --version) (a few minutes, about 2.5 GB)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	@touch $@

install: $(VENV)/.installed  ## the environment alone, in .venv

demo: install  ## the whole path on phantom scans: about fifteen minutes on two cores, then a page opens
	@echo "== Running the demo: phantom scans -> preprocess -> CG-SAMR -> augmentation -> U-Net -> report"
	@echo "== Progress is logged below; what is done already is not done again."
	@$(BIN)/kedro run
	@$(BIN)/python -m lesionlab.reporting.open data/08_reporting/cgsamr/report.html

test: install  ## lint, types, import arrows and tests
	@echo "== ruff"; $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "== mypy"; $(BIN)/mypy
	@echo "== import arrows"; $(BIN)/lint-imports
	@echo "== pytest"; $(BIN)/python -m pytest

format: install  ## put the code in form
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

# In folds (splits.protocol folds or leave_one_out): one run per fold, then one set of tables and a page over all of them.
# FOLDS is their number, ENV names the experiment, TRIAL a trial (a synthesizer's name, comparison, ablation, ..), PARAMS
# adds parameters (run.allow_failures=true where studies are quarantined).
ENV ?= cgsamr_brats2015
FOLDS ?= 4
TRIAL ?= cgsamr
PARAMS ?=
folds: install  ## the trial TRIAL of the experiment ENV over FOLDS folds, then one page
	@pipeline=$$($(BIN)/python -m lesionlab.pipeline_registry $(TRIAL)) || exit 1; \
	for fold in $$(seq 0 $$(($(FOLDS) - 1))); do \
	  echo "== fold $$fold of $(FOLDS)"; \
	  $(BIN)/kedro run --env=$(ENV) --pipelines=$$pipeline --params=splits.fold=$$fold$(PARAMS:%=,%) || exit 1; \
	done
	@$(BIN)/kedro run --env=$(ENV) --pipelines=$(TRIAL)_pool_folds $(PARAMS:%=--params=%)
	@$(BIN)/python -m lesionlab.reporting.open data/experiments/$(ENV)/08_reporting/$(TRIAL)/report.html

pages: install  ## pages of the trials whose scores are kept in docs/reports
	@$(BIN)/python docs/report_pages.py

clean:  ## remove what runs wrote (data, runs), keep the environment
	@rm -rf data/0* data/experiments mlflow.db mlartifacts
