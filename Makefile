# Two commands do it all: `make demo` and `make test`. Both build .venv from requirements.lock first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
K8S_TOOLS := $(VENV)/.k8s-tools
BEAM := $(VENV)/beam/.installed
CLIENTS := $(VENV)/clients/.installed
BENCH := $(VENV)/bench/.installed

FAST := $(addprefix tests/,test_cli.py test_config.py test_docs_flags.py test_expressions.py test_imports.py test_losses.py \
  test_photos.py test_skips.py data_tools/test_actions.py data_tools/test_readers.py serving/test_contract.py \
  serving/test_tensors.py k8s/test_docs.py k8s/test_fetch.py k8s/test_gate.py k8s/test_manifests.py k8s/test_receipt.py \
  k8s/test_training.py)

.PHONY: help needs demo test test-fast mutants lint format bench bench-check bench-data k8s-validate beam clients lock clean

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

$(CLIENTS): $(addprefix tests/serving/clients/,requirements.lock package.json package-lock.json) $(INSTALLED)
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D)/python -r $<
	if command -v npm > /dev/null; then cp $(filter %.json,$^) $(@D) && \
	  (cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error > /dev/null) && touch $@; fi

$(BENCH): requirements-bench.lock $(INSTALLED)
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $(@D) -r requirements-bench.lock
	@touch $@

demo: $(INSTALLED) ## Draw faces, train, evaluate, export, serve and edit over gRPC; report in runs/demo
	$(BIN)/seghgan demo

needs: # The first line of `make test`: what pip cannot install
	@missing=; for one in chromium:chromium ip:iproute2 npm:npm; do \
	  command -v $${one%%:*} > /dev/null || missing="$$missing $${one##*:}"; done; \
	if [ -z "$$missing" ]; then echo "Needed from the system and there: chromium (web pages), iproute2 (a cluster on one machine), npm (a client in Node)"; \
	else echo "Needed from the system and missing:$$missing; their tests are skipped. As root: apt-get install --no-install-recommends$$missing"; fi

test: needs $(INSTALLED) $(K8S_TOOLS) $(BEAM) $(CLIENTS) ## Run the whole suite on two processes; says first what it needs from the system
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder --durations 40 --durations-min 4

test-fast: needs $(INSTALLED) $(K8S_TOOLS) ## A developer's loop: what starts no server, trains nothing and drives no browser
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder -m "not slow" $(FAST)

mutants: $(INSTALLED) ## Break the method on purpose; every test that is named for a break must fail
	$(BIN)/python -m tests.mutants

lint: $(INSTALLED) ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED) $(BENCH) ## Our work beside the peers' (PyTorch), in turns, one thread, by processor time; writes docs/performance.md
	$(BIN)/python benchmarks/peers/run.py

bench-check: $(INSTALLED) $(BENCH) ## Fail where a ratio to a peer is over the kept one by more than 15 %
	$(BIN)/python benchmarks/peers/run.py --check

bench-data: $(INSTALLED) ## Measure conversion and the loader
	$(BIN)/python benchmarks/convert.py
	$(BIN)/python benchmarks/input_pipeline.py

k8s-validate: $(INSTALLED) $(K8S_TOOLS) ## Validate the Kubernetes manifests offline; TARGET=overlays/... checks that one is filled in
	$(BIN)/python -m k8s.validate $(TARGET)

beam: $(BEAM) ## Install Apache Beam beside .venv, for the test of the Beam runner

clients: $(CLIENTS) ## Install other people's clients beside .venv, for the tests that call a server with them

lock: ## Write requirements.lock and the lock files of the images anew from pyproject.toml
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet -e '.[serve,data,eval,dev]'
	.venv-lock/bin/python -m pip freeze --exclude-editable > requirements.lock
	.venv-lock/bin/python -m pip install --quiet uv packaging
	PATH=$(CURDIR)/.venv-lock/bin:$$PATH .venv-lock/bin/python k8s/images/lock.py
	rm -rf .venv-lock

clean: ## Remove the virtual environment, runs and caches
	rm -rf $(VENV) runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache
