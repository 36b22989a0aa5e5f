# Two commands do all the set-up: `make demo` and `make test`. Everything lives in .venv; nothing else is touched.
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
# Where torch comes from, for `make train-env`: the CPU build unless you name another index or requirement, such as
#   make train-env TORCH="torch==2.13.0" TORCH_INDEX=https://download.pytorch.org/whl/cu130
TORCH ?= torch==2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# Raw media for the demo: a path, s3://, gs:// or az://; nothing given renders some.
INPUT ?=
OUTPUT ?= .demo/rotation
TASK ?= image_rotation
# Real media for `make test-real`: a folder of archives, see tests/README.md.
UNLABELED_MEDIA ?=
# The random half of `make chaos`: how long, and where it begins.
CHAOS_SECONDS ?= 600
CHAOS_SEED ?= 0
# KubeRay's resource definitions for `make test-deploy`: a folder with ray.io_rayclusters.yaml and its like.
UNLABELED_DEPLOY_SCHEMAS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-s3 chaos test-slow test-bytes test-deploy test-real fuzz lint bench env dev-env train-env lock clean

help:  ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/$(if $(INPUT),.installed,.installed-train)  ## photographs -> dataset -> encoder -> few-label page in .demo/; INPUT=s3://... or /path: your dataset
	@$(BIN)/unlabeled demo --task $(TASK) --output $(OUTPUT) $(if $(INPUT),--input "$(INPUT)",)

test: $(VENV)/.installed-dev lint  ## lint, type-check and the default tests, with a coverage report
	$(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered -p no:cacheprovider

test-s3: $(VENV)/.installed-dev  ## the same promises against a real S3 server (SeaweedFS)
	$(BIN)/pytest -m "s3 and not slow and (not chaos or quick)"

chaos: $(VENV)/.installed-dev  ## faults injected for real, at an S3 server too; half an hour, of which CHAOS_SECONDS (600) at random
	UNLABELED_CHAOS_SECONDS="$(CHAOS_SECONDS)" UNLABELED_CHAOS_SEED="$(CHAOS_SEED)" $(BIN)/pytest -m chaos

test-slow: $(VENV)/.installed-dev  ## what takes more than half a minute
	$(BIN)/pytest -m "slow and not real_media"

test-deploy: $(VENV)/.installed-dev  ## deploy/ against KubeRay's definitions in UNLABELED_DEPLOY_SCHEMAS, and with Prometheus
	UNLABELED_DEPLOY_SCHEMAS="$(UNLABELED_DEPLOY_SCHEMAS)" $(BIN)/pytest -m "crds or slow" tests/deploy

test-bytes: $(VENV)/.installed-dev  ## the same bytes on 1, 2 and 4 CPUs, and whoever is killed
	$(BIN)/pytest -m "slow and not s3" tests/test_every_task.py tests/test_exactly_once.py

test-real: $(VENV)/.installed-dev  ## real media from the folder UNLABELED_MEDIA
	UNLABELED_MEDIA="$(UNLABELED_MEDIA)" $(BIN)/pytest -m real_media

fuzz: $(VENV)/.installed-dev  ## five minutes of damaged bytes for every decoder and parser; SEED starts elsewhere
	UNLABELED_FUZZ_SECONDS=300 UNLABELED_FUZZ_SEED=$(or $(SEED),0) $(BIN)/pytest tests/test_fuzz.py

lint: $(VENV)/.installed-dev .links/unlabeled  ## ruff, mypy --strict, one-way imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev  ## all benchmarks on the media in UNLABELED_MEDIA, beside the last note: bench.md; QUICK=1 takes minutes, not hours
	$(BIN)/python -m tests.bench.bench_all "$(UNLABELED_MEDIA)" $(if $(QUICK),--quick,) --table bench.md

env: $(VENV)/.installed  ## what users need
dev-env: $(VENV)/.installed-dev  ## what tests need
train-env: $(VENV)/.installed-train  ## what training needs: the CPU build of torch, or TORCH and TORCH_INDEX

lock: $(VENV)/.installed-dev  ## write what is installed to constraints.txt
	$(BIN)/pip freeze --exclude-editable | grep -viE '^(torch|pip|setuptools)==' > constraints.txt

clean:  ## remove environment, caches and demo
	rm -rf $(VENV) .links .demo .mypy_cache .ruff_cache .pytest_cache .coverage build *.egg-info

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed; name it with make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing into $(VENV) (once, a minute or two) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[text]"
	@touch $@

# Before anything that asks for torch: a plain `pip install torch` would bring gigabytes of CUDA.
$(VENV)/.installed-torch: $(VENV)/.installed
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) "$(TORCH)"
	@touch $@

$(VENV)/.installed-train: $(VENV)/.installed-torch
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[train,audit]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed $(VENV)/.installed-torch
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

# mypy reads the packages under their installed names through these links.
.links/unlabeled:
	@mkdir -p $@
	@for package in pipeline trainers jobs; do ln -sfn ../../$$package $@/$$package; done
