# Two commands matter: `make demo` and `make test`. Each creates the environment it needs and is quick the second time.
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# checkov pins other versions of boto3 than Whippet does.
CHECKOV := .venv-checkov
# SageMaker's SDK is 1 GB, and only the notebook needs it.
NOTEBOOK := .venv-notebook
# The software of AWS's PyTorch container replaces sagemaker_inference's errors, on which code/inference.py looks.
STOCK := .venv-stock
PACKAGES := python/training python/serving python/lambda python/ops
# A folder of photos, SPLIT/CLASS/* or CLASS/*; empty means the built-in sample set.
DATA ?=
export DATA

.PHONY: help demo test lint types checkov docs fast-tests e2e format bench bench-demo bench-serving bench-lambda bench-limits bench-local constraints clean

help:  ## list the commands
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: $(VENV)/.packages  ## train, deploy to local AWS with Terraform, classify photos through the Lambda (DATA=dir for your own)
	@$(BIN)/whippet demo $(if $(DATA),--data "$(DATA)")

test: lint types checkov fast-tests e2e  ## everything CI runs

lint: $(VENV)/.tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint python/serving/Dockerfile

types: $(VENV)/.tools
	$(BIN)/mypy

checkov: $(CHECKOV)/.installed
	$(CHECKOV)/bin/checkov --directory terraform --framework terraform --quiet --compact --skip-download

docs: $(VENV)/.tools  ## write what the documentation says of the Terraform code from that code
	$(BIN)/python scripts/terraform_docs.py

fast-tests: $(VENV)/.tools $(STOCK)/.installed
	$(BIN)/pytest -n 3 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder tests/integration tests/terraform tests/fuzz tests/unit

e2e: $(VENV)/.tools $(NOTEBOOK)/.installed
	$(BIN)/pytest -n 2 --max-worker-restart 0 --dist loadfile tests/e2e

format: $(VENV)/.tools  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	terraform fmt -recursive terraform

bench-demo: $(VENV)/.packages  ## measure the demo over three runs
	$(BIN)/python benchmarks/demo.py $(if $(DATA),--data "$(DATA)")

bench: bench-serving bench-limits bench-lambda  ## measure all of docs/performance.md anew

bench-serving: $(VENV)/.tools  ## measure this server against others, for docs/performance.md (needs Java 11 or newer)
	$(BIN)/python benchmarks/serving.py --docs $(if $(DATA),--data "$(DATA)")

bench-limits: $(VENV)/.tools  ## measure this server's start, its memory and ten times its load, for docs/performance.md
	$(BIN)/python benchmarks/serving_limits.py --docs $(if $(DATA),--data "$(DATA)")

bench-lambda: $(VENV)/.tools  ## measure the Lambda's cold start and what it adds to a call, for docs/performance.md
	$(BIN)/python benchmarks/lambda_cold_start.py --docs

bench-local: $(VENV)/.packages  ## measure local AWS: its start, its memory, what it adds to a call, what it leaks
	$(BIN)/python benchmarks/local_aws.py

constraints: $(VENV)/.tools  ## write the installed versions to constraints.txt
	(head -n 1 constraints.txt; $(BIN)/pip freeze --exclude-editable) > build/constraints.txt
	mv build/constraints.txt constraints.txt

clean:  ## stop local AWS and delete what the commands made, the environment excepted
	-$(BIN)/whippet local down
	rm -rf build terraform/.terraform terraform/terraform.tfstate.d

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || \
		{ echo "Whippet needs Python 3.11.4 or newer: name one with make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.packages: $(VENV)/bin/python constraints.txt $(PACKAGES:=/pyproject.toml)
	@echo "Installing Whippet into $(VENV) (PyTorch and OpenVINO are about 6 GB; some minutes, once)"
	$(BIN)/pip install --quiet --constraint constraints.txt $(PACKAGES:%=--editable %)
	@touch $@

$(CHECKOV)/.installed: requirements-checkov.txt
	$(PYTHON) -m venv $(CHECKOV)
	$(CHECKOV)/bin/pip install --quiet --requirement requirements-checkov.txt
	@touch $@

$(NOTEBOOK)/.installed: requirements-notebook.txt
	@echo "Installing SageMaker's SDK into $(NOTEBOOK) (1 GB; some minutes, once)"
	$(PYTHON) -m venv $(NOTEBOOK)
	$(NOTEBOOK)/bin/pip install --quiet --no-deps --requirement requirements-notebook.txt
	$(NOTEBOOK)/bin/pip install --quiet --no-deps --editable python/training
	@touch $@

$(STOCK)/.installed: requirements-stock.txt $(VENV)/.packages
	$(BIN)/python -m venv --clear $(STOCK)
	$(STOCK)/bin/pip install --quiet --no-deps $$(grep -v '^#\|^sagemaker' $<)
	for package in pytorch-inference inference; do \
		$(STOCK)/bin/pip install --quiet --no-deps --no-build-isolation $$(grep "^sagemaker-$$package=" $<) || exit 1; \
	done
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> $$($(STOCK)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/whippet.pth
	@touch $@

$(VENV)/.tools: $(VENV)/.packages requirements-dev.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --requirement requirements-dev.txt
	@touch $@
