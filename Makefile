# Two commands do it all: `make demo` and `make test`. Both build .venv from requirements.lock first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
K8S_TOOLS := $(VENV)/.k8s-tools
BEAM := $(VENV)/beam/.installed

.PHONY: help demo test lint format bench k8s-validate beam lock clean

help: ## Show the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.11 to 3.13 is needed; name one with: make PYTHON=python3.12 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(K8S_TOOLS): k8s/requirements.lock k8s/models.lock k8s/checkov.lock $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r k8s/requirements.lock
	rm -rf $(VENV)/k8s-models
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(VENV)/k8s-models -r k8s/models.lock
	$(PYTHON) -m venv --clear $(VENV)/checkov
	$(VENV)/checkov/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r k8s/checkov.lock
	@touch $@

$(BEAM): requirements-beam.lock $(INSTALLED)
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) -r requirements-beam.lock
	@touch $@

demo: $(INSTALLED) ## Draw faces, train, evaluate, export, serve and edit over gRPC; report in runs/demo
	$(BIN)/seghgan demo

test: $(INSTALLED) $(K8S_TOOLS) $(BEAM) ## Run the whole suite on two processes
	$(BIN)/python -m pytest -n 2 --dist loadscope

lint: $(INSTALLED) ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED) ## Measure conversion, the loader and one training step
	$(BIN)/python benchmarks/convert.py
	$(BIN)/python benchmarks/input_pipeline.py
	$(BIN)/python benchmarks/train_step.py

k8s-validate: $(INSTALLED) $(K8S_TOOLS) ## Validate the Kubernetes manifests offline; TARGET=overlays/... checks that one is filled in
	$(BIN)/python -m k8s.validate $(TARGET)

beam: $(BEAM) ## Install Apache Beam beside .venv, for the test of the Beam runner

lock: ## Write requirements.lock anew from pyproject.toml
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet -e '.[serve,data,eval,dev]'
	.venv-lock/bin/python -m pip freeze --exclude-editable > requirements.lock
	rm -rf .venv-lock

clean: ## Remove the virtual environment, runs and caches
	rm -rf $(VENV) runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache
