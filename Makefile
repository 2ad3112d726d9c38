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
PACKAGES := python/training python/serving python/lambda python/ops
# A folder of photos, SPLIT/CLASS/* or CLASS/*; empty means the built-in sample set.
DATA ?=
export DATA

.PHONY: help demo test lint types checkov docs fast-tests e2e format bench-demo bench-serving bench-local constraints clean

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

fast-tests: $(VENV)/.tools
	$(BIN)/pytest -n 2 --dist loadfile tests/unit tests/terraform tests/integration

e2e: $(VENV)/.tools $(NOTEBOOK)/.installed
	$(BIN)/pytest tests/e2e

format: $(VENV)/.tools  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	terraform fmt -recursive terraform

bench-demo: $(VENV)/.packages  ## measure the demo over three runs
	$(BIN)/python benchmarks/demo.py $(if $(DATA),--data "$(DATA)")

bench-serving: $(VENV)/.tools  ## measure this server against TorchServe (needs Java 11 or newer)
	$(BIN)/python benchmarks/serving.py $(if $(DATA),--data "$(DATA)")

bench-local: $(VENV)/.packages  ## measure local AWS: its start, its memory, what it adds to a call, what it leaks
	$(BIN)/python benchmarks/local_aws.py

constraints: $(VENV)/.tools  ## write the installed versions to constraints.txt
	(head -n 1 constraints.txt; $(BIN)/pip freeze --exclude-editable) > build/constraints.txt
	mv build/constraints.txt constraints.txt

clean:  ## stop local AWS and delete what the commands made, the environment excepted
	-$(BIN)/whippet local down
	rm -rf build terraform/.terraform terraform/terraform.tfstate.d

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Whippet needs Python 3.11 or newer: name one with make PYTHON=python3.12" >&2; exit 1; }
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

$(VENV)/.tools: $(VENV)/.packages requirements-dev.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --requirement requirements-dev.txt
	@touch $@
