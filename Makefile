# Tercet in two commands: `make serve` and `make test`. Each prepares .venv first, once, and again only when
# what it is made from has changed: the dependencies, the protobuf sources, the interpreter, the extras.
#
#   PYTHON=python3.12    the interpreter, 3.11 or newer
#   WITH_TORCH=0         do without torch, a large download: TorchScript models are then not served
#   ARGS='...'           more arguments for serve, test, fuzz, faults, the benchmarks or models

PYTHON ?= python3
WITH_TORCH ?= 1
ARGS ?=

comma := ,
version := $(shell "$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
device := $(shell { nvidia-smi -L || ls /dev/nvidia0; } >/dev/null 2>&1 && echo gpu || echo cpu)
extras := $(device),samples$(if $(filter 1,$(WITH_TORCH)),$(comma)torch)
more_extras := dev,train
key := $(version)-$(subst $(comma),-,$(extras))
sources := pyproject.toml constraints.txt setup.py protos/generate.py $(wildcard protos/*.proto)

# Paths are relative throughout, so that the checkout may lie in a folder with spaces in its name
bin := .venv/bin
ready_to_serve := .venv/.serve-$(key)
ready_to_test := .venv/.test-$(key)
install := $(bin)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Triton's load generator, from a wheel that still has it, and beside it the two libraries that it wants
analyzer := .venv/perf_analyzer
wheels := 'tritonclient==2.50.0' 'nvidia-cuda-runtime-cu12<13'

# Triton's C++ server with its Python backend, in an environment of its own, for that backend wants NumPy 1
triton := .venv/pytriton
triton_packages := 'nvidia-pytriton>=0.5.14,<0.8' 'numpy<2'

# Tests wait for servers more than they compute: one file to a process, one process more than there are cores
cores := $(shell getconf _NPROCESSORS_ONLN)
parallel := --numprocesses=$(shell echo $$(($(cores) < 8 ? $(cores) + 1 : 8))) --dist=loadfile

# A test that waits for a process on a crowded machine may wait too long: what fails beside others is run once
# more by itself, and is named. What fails twice fails the gate; `make test-all` runs nothing twice.
alone := --last-failed --last-failed-no-failures=none -rA --no-header

# $(call step,NAME,COMMAND) says what it does and, last, what failed
step = @printf '== %s\n' '$(1)'; $(2) || { printf '\n== FAILED: %s\n' '$(1)' >&2; exit 1; }

.DELETE_ON_ERROR:
.PHONY: help serve test test-all fuzz faults lint bench bench-scheduling bench-lifecycle bench-tiers \
	bench-steady bench-tls bench-peers bench-gpu bench-autoscaling plot profile instructions models locks dashboards perf-analyzer pytriton \
	clean

help: ## show these commands
	@awk -F ': .*## ' '/^[a-z-]+:.*## /{printf "make %-18s %s\n", $$1, $$2}' Makefile

serve: $(ready_to_serve) ## serve model_repository/ on 8000 (HTTP), 8001 (gRPC) and 8002 (metrics)
	@exec $(bin)/tercet serve model_repository $(ARGS)

test: lint ## lint, types, the house test and all tests but the slow ones
	$(call step,pytest,$(bin)/python -m pytest $(parallel) $(ARGS) || \
		{ [ $$? = 1 ] && echo '== once more and alone: what failed' && $(bin)/python -m pytest $(alone) $(ARGS); })

test-all: lint ## the same, and the full soaks and repetitions
	$(call step,pytest,$(bin)/python -m pytest --run-slow $(parallel) $(ARGS))

fuzz: $(ready_to_test) ## ask a server whatever may come, 10,000 cases each, for some ten minutes
	$(call step,pytest,$(bin)/python -m pytest tests/fuzz --fuzz-cases=10000 $(ARGS))

faults: $(ready_to_test) ## break tiers under load in every way we know, and print what became of the requests
	$(call step,pytest,$(bin)/python -m pytest tests/faults --run-slow $(ARGS))

lint: $(ready_to_test) ## ruff, mypy and the floors of the house
	$(call step,ruff check,$(bin)/ruff check --quiet .)
	$(call step,ruff format,$(bin)/ruff format --check --quiet .)
	$(call step,mypy,$(bin)/python -m mypy)
	$(call step,lint-imports,$(bin)/lint-imports --no-logo)

bench: $(ready_to_test) ## measure requests per second, latency and CPU per request
	@$(bin)/python -m benchmarks $(ARGS)

bench-scheduling: $(ready_to_test) ## measure what the scheduler promises, simulated and against a live server
	@$(bin)/python -m benchmarks.scheduling $(ARGS)

bench-lifecycle: $(ready_to_test) ## measure what a repository of many models costs
	@$(bin)/python -m benchmarks.lifecycle $(ARGS)

bench-tiers: $(ready_to_test) ## measure what tiers cost beside one process, and what they gain
	@$(bin)/python -m benchmarks.tiers $(ARGS)

bench-steady: $(ready_to_test) ## measure whether a request costs more with clients, models and time
	@$(bin)/python -m benchmarks.steady $(ARGS)

bench-peers: $(ready_to_test) ## measure ours beside other servers, each fetched into an environment of its own
	@$(bin)/python -m benchmarks.peers $(ARGS)

plot: $(ready_to_test) ## draw the newest results of bench-peers for the README
	@$(bin)/python -m benchmarks.peers.picture $(ARGS)

bench-tls: $(ready_to_test) ## measure what TLS takes of a request over gRPC
	@$(bin)/python -m benchmarks.tls $(ARGS)

profile: $(ready_to_test) ## tell where the time of a request goes, step by step
	@$(bin)/python -m benchmarks.profile $(ARGS)

instructions: $(ready_to_test) ## count the instructions of a request, which no other work on the machine changes
	@$(bin)/python -m benchmarks.instructions $(ARGS)

bench-autoscaling: $(ready_to_test) ## have tiers scaled by their own gauge under a burst, and draw it
	@$(bin)/python -m benchmarks.autoscaling $(ARGS)

bench-gpu: $(ready_to_test) ## measure what of a CUDA device reaches the clients
	@$(bin)/python -m benchmarks.gpu $(ARGS)

models: $(ready_to_test) ## train the sample models again, into the same bytes
	@$(bin)/python model_repository/train.py $(ARGS)

locks: $(ready_to_test) ## resolve the images' packages anew, into deploy/docker/locks
	@$(bin)/python deploy/docker/lock.py $(ARGS)

dashboards: $(ready_to_serve) ## write the dashboards of the Helm chart again
	@$(bin)/python -m deploy.dashboards

perf-analyzer: $(analyzer)/perf_analyzer ## fetch perf_analyzer, Triton's load generator: its tests then run too

pytriton: $(triton)/.fetched ## fetch Triton's C++ server: the tests with it then run too

clean: ## remove all that was made here, the environment too
	rm -rf .venv build dist *.egg-info .*_cache .hypothesis protos/*_pb2.py protos/*_pb2.pyi
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(ready_to_serve): $(sources)
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Tercet needs Python 3.11 or newer: make PYTHON=python3.12 ...' >&2; exit 1; }
	@test -e $(bin)/python$(version) || rm -rf .venv
	$(call step,a virtual environment with Python $(version),"$(PYTHON)" -m venv .venv)
	$(call step,install tercet[$(extras)],$(install) --editable '.[$(extras)]')
	@touch $@

$(ready_to_test): $(ready_to_serve)
	$(call step,install tercet[$(more_extras)],$(install) --editable '.[$(more_extras)]')
	@touch $@

$(analyzer)/perf_analyzer: | $(ready_to_serve)
	@rm -rf $(analyzer) && mkdir -p $(analyzer)/fetched
	$(call step,fetch perf_analyzer,$(bin)/python -m pip download --quiet --disable-pip-version-check \
		--no-deps --only-binary :all: --dest $(analyzer)/fetched $(wheels))
	$(call step,fetch libb64 (a Debian package),cd $(analyzer)/fetched && apt-get download --quiet libb64-0d && \
		dpkg-deb --extract libb64-0d_*.deb .)
	$(call step,unpack them,cd $(analyzer)/fetched && for wheel in *.whl; do ../../bin/python -m zipfile -e $$wheel .; done)
	@mv $(analyzer)/fetched/usr/lib/*/libb64.so.0d $(analyzer)/fetched/nvidia/cuda_runtime/lib/libcudart.so.12 \
		$(analyzer)/fetched/tritonclient-*.data/data/bin/perf_analyzer $(analyzer)
	@chmod +x $(analyzer)/perf_analyzer && rm -r $(analyzer)/fetched

$(triton)/.fetched: | $(ready_to_serve)
	$(call step,an environment for tritonserver,$(bin)/python -m venv $(triton))
	$(call step,fetch nvidia-pytriton,$(triton)/bin/python -m pip install --quiet --disable-pip-version-check \
		--no-deps --only-binary :all: $(triton_packages))
	@touch $@
