# make setup run test check bench: each works on a fresh machine and does only what is missing.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# make PYTHON=/path/to/python takes that one.
export PYTHON ?=
PORT ?= 8000
# Tests at a time: most of the time they wait for processes and clocks.
JOBS ?= 6
BIN := .venv/bin

# The programs tests and benchmarks use beside Python's packages: Debian package and the command it brings.
TEST_PACKAGES := chromium-headless-shell:chromium-headless-shell nginx-light:nginx haproxy:haproxy caddy:caddy nghttp2-client:h2load systemd:systemd-analyze shellcheck:shellcheck
APPLICATION_PACKAGES := lighttpd:lighttpd docker-registry:docker-registry skopeo:skopeo
ALERT_PACKAGES := prometheus:prometheus
INSTALL_PACKAGES := mmdebstrap:mmdebstrap systemd-container:systemd-nspawn
CONTAINER_PACKAGES := buildah:buildah crun:crun mmdebstrap:mmdebstrap
BENCH_PACKAGES := nginx-light:nginx haproxy:haproxy wrk:wrk apache2:apache2 libapache2-mod-auth-openidc:

.PHONY: help setup run docs test test-applications test-alerts test-upgrade test-install test-packages check bench faults flame attack lock wheel sbom audit packages-%

help:
	@echo 'make setup            virtualenv with all dependencies in .venv'
	@echo 'make run [PORT=8000]  the gateway with a demo service behind it, on loopback'
	@echo 'make test [ARGS=…]    everything the suite needs, then the suite (ARGS go to pytest; JOBS=0: one test at a time)'
	@echo 'make test-applications  JupyterLab, Streamlit, git, … behind the gateway; installs them, takes minutes: for the night'
	@echo 'make test-upgrade     the former release and this one side by side on one database (FROM=COMMIT)'
	@echo 'make test-alerts      each alert rule of deploy/prometheus, in a real Prometheus; takes minutes'
	@echo 'make test-install     the installer and the units in whole Debian systems, with their own systemd; needs root, takes minutes'
	@echo 'make check            formatting, lint, types, import arrows, Django checks, missing migrations'
	@echo 'make bench            the gateway measured beside its peers'
	@echo 'make flame            where a worker of the gateway spends its time, as a flame graph and a table (var/flame.*)'
	@echo 'make docs             the documentation site, in var/site'
	@echo 'make wheel            the project as a wheel in dist/, and the hashes of all that it needs'
	@echo 'make sbom | audit     what it consists of, in CycloneDX (dist/) | known vulnerabilities of that, asked of PyPI'
	@echo 'make test-packages    the wheel with all it needs in a new environment, the image, and whole builds; takes minutes'
	@echo 'make lock             requirements*.txt, with hashes, from requirements*.in'
	@echo 'make faults           what users notice of edits, restarts and outages (ARGS="--soak 30": for half an hour)'
	@echo 'make attack           what other people see while strangers try to stop the gateway'

# Two stamps: running the gateway does not wait for what only tests need.
.venv/.runtime: requirements.txt
	@test -x $(BIN)/python || { python=$${PYTHON:-$$(.ci/python)}; set -x; "$$python" -m venv .venv; }
	$(BIN)/python -m pip install --disable-pip-version-check -qq --require-hashes -r requirements.txt
	touch $@

.venv/.dev: requirements-dev.txt .venv/.runtime
	$(BIN)/python -m pip install --disable-pip-version-check -qq --require-hashes -r requirements-dev.txt
	touch $@

# npm writes this file last.
PROVIDER := gateway_site/demo/provider
$(PROVIDER)/node_modules/.package-lock.json: $(PROVIDER)/package-lock.json requirements-node.txt | .venv/.runtime
	@.ci/provider $(abspath $(BIN)/python)
	@test ! -e $@ || touch $@

setup: .venv/.dev

run: .venv/.runtime $(PROVIDER)/node_modules/.package-lock.json
	@exec $(BIN)/python manage.py demo --port $(PORT)

test: .venv/.dev packages-test $(PROVIDER)/node_modules/.package-lock.json
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

# One at a time: some of them are large.
test-applications: .venv/.dev packages-test packages-applications $(PROVIDER)/node_modules/.package-lock.json
	@$(BIN)/python -m pytest tests/applications $(ARGS)

# FROM=COMMIT: the former release; else the commit before the newest migration.
test-upgrade: .venv/.dev
	@$(BIN)/python -m pytest tests/upgrade $(ARGS)

test-alerts: .venv/.dev packages-alerts
	@$(BIN)/python -m pytest tests/alerts $(ARGS)

# One at a time: each has a system to itself. What it fetches stays in /var/cache/authgate-test-install.
test-install: .venv/.dev packages-install
	@$(BIN)/python -m pytest tests/install -p no:randomly $(ARGS)

# One at a time: they fetch packages and build an image.
test-packages: .venv/.dev packages-container
	@$(BIN)/python -m pytest tests/packages $(ARGS)

check: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python manage.py check --fail-level WARNING
	$(BIN)/python manage.py makemigrations --check --dry-run

# Its tool has an environment of its own. The pictures are those of a browser test.
docs: .venv/.dev packages-test $(PROVIDER)/node_modules/.package-lock.json
	test -x .venv/docs/bin/python || $(BIN)/python -m venv .venv/docs
	.venv/docs/bin/python -m pip install --disable-pip-version-check -qq --require-hashes -r requirements-docs.txt
	mkdir -p -m 700 var && mkdir -p var/screenshots
	SCREENSHOTS=$(abspath var/screenshots) $(BIN)/python -m pytest -q tests/docs/test_tour.py
	NO_MKDOCS_2_WARNING=1 .venv/docs/bin/mkdocs build --quiet
	@echo "the site is in var/site: open var/site/index.html"

# Byte for byte the same from the same commit. A wheel cannot name hashes: the file beside it does.
DIST := dist
wheel: .venv/.dev
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || echo 1580601600)} \
	  $(BIN)/python -m hatchling build --target wheel --directory $(DIST)
	cp requirements.txt requirements-otlp.txt $(DIST)

AUDIT := .venv/audit/bin
.venv/audit/.installed: requirements-audit.txt | .venv/.runtime
	$(BIN)/python -m venv .venv/audit
	$(AUDIT)/python -m pip install --disable-pip-version-check -qq --require-hashes -r requirements-audit.txt
	touch $@

sbom: .venv/audit/.installed
	mkdir -p $(DIST)
	$(AUDIT)/cyclonedx-py requirements --pyproject pyproject.toml --mc-type application --output-reproducible \
	  --of JSON -o $(DIST)/authgate.cdx.json requirements.txt

# Nothing is installed or resolved: the file names every package with its version and hash.
audit: .venv/audit/.installed
	for file in requirements.txt requirements-otlp.txt; do \
	  $(AUDIT)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r $$file; \
	done

# A version that a .txt has and the .in allows stays. Its tool has an environment of its own.
lock: .venv/.runtime
	test -x .venv/lock/bin/python || $(BIN)/python -m venv .venv/lock
	.venv/lock/bin/python -m pip install --disable-pip-version-check -qq uv==0.13.9
	for name in requirements requirements-otlp requirements-build requirements-dev requirements-docs requirements-audit requirements-node; do \
	  .venv/lock/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	    --no-annotate --custom-compile-command 'make lock' $$name.in -o $$name.txt; \
	done

bench: .venv/.dev packages-bench
	@$(BIN)/python -m benchmarks $(ARGS)

flame: .venv/.dev packages-bench
	@$(BIN)/python -m benchmarks.flame $(ARGS)

faults: .venv/.dev
	@$(BIN)/python -m benchmarks.faults $(ARGS)

attack: .venv/.dev packages-bench
	@$(BIN)/python -m benchmarks.attacks $(ARGS)

packages-test: ; @.ci/packages $(TEST_PACKAGES)
packages-applications: ; @.ci/packages $(APPLICATION_PACKAGES)
packages-alerts: ; @.ci/packages $(ALERT_PACKAGES)
packages-install: ; @.ci/packages $(INSTALL_PACKAGES)
packages-container: ; @.ci/packages $(CONTAINER_PACKAGES)
packages-bench: ; @.ci/packages $(BENCH_PACKAGES)
