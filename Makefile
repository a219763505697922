# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# `make help` lists the targets. Everything is made inside this folder; only test-system and molecule need root.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON ?= python3
BIN := .venv/bin
export PYTHON
export PATH := $(CURDIR)/$(BIN):$(PATH)

# Suites that exist. The quick ones last: they fill the time in which one worker still has a long module.
SUITES := $(wildcard tests/integration tests/faults tests/interop tests/lab tests/unit)
# Three workers for two cores: two left the cores idle wherever both waited for a server. With three the same tests of
# playbooks and roles took a quarter less time.
WORKERS ?= $(shell echo $$(($$(nproc) * 3 / 2)))
PYTEST_ARGS ?=

##@ Set up
.PHONY: help venv node setup collection
help: ## this list
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile

venv: ## .venv with everything pinned in requirements/; does nothing when it is up to date
	@scripts/make-venv

node: venv ## the lab's npm packages, from lab/node/package-lock.json
	@scripts/make-node

collection: venv ## the collection as it ships, in build/collections (for ANSIBLE_COLLECTIONS_PATH) and as a tarball
	@scripts/collection-dir >/dev/null

setup: venv node collection

##@ Use
.PHONY: demo bench
demo: setup ## failover and failback of live sessions on the embedded lab, with times
	@python -m lab.demo $(DEMO_ARGS)

bench: setup ## what is fast, side by side with what a user would pick instead
	@python -m bench $(BENCH_ARGS)

##@ Test
.PHONY: test test-python test-node test-slow test-faults test-runbook test-client test-system test-system-quick molecule
test: setup ## every suite that needs no root, but for what the targets below do for longer; the lab's Node tests first
	@$(MAKE) --keep-going test-node test-python

# pytest-cov takes the limit from here and the sources from pyproject.toml. The closing line of pytest is the last one.
test-python: setup
	@pytest $(SUITES) -m "not slow" --numprocesses=$(WORKERS) --dist=loadscope --no-loadscope-reorder \
	  --cov --cov-config=pyproject.toml --cov-report=term --cov-fail-under=90 $(PYTEST_ARGS)

test-node: node
	@if compgen -G 'lab/node/test/*.test.mjs' >/dev/null; then cd lab/node && ../../scripts/npm test --silent; fi

test-slow: setup ## the longest ways of playbooks and drills, which `make test` leaves out (3 minutes)
	@pytest $(SUITES) -m slow --numprocesses=$(WORKERS) --dist=loadscope $(PYTEST_ARGS)

test-faults: setup ## both operations killed behind every line of their journals, live moves after every fault, every place of a reboot (15 minutes)
	@FAULTS=all pytest tests/faults tests/integration/client tests/integration/cut_off --numprocesses=$(WORKERS) --dist=loadscope $(PYTEST_ARGS)

test-runbook: setup ## docs/runbook.md, every command of it after every fault that it speaks of (4 minutes)
	@RUNBOOK=all pytest tests/integration/runbook --numprocesses=$(WORKERS) --dist=loadscope $(PYTEST_ARGS)

test-client: node ## the session client for longer: 200 random schedules, five minutes without a database, fifty sessions through dozens of outages
	@cd lab/node && SCHEDULES=200 OUTAGE_SECONDS=300 SOAK_SECONDS=240 SWITCH_TURNS=10 ../../scripts/npm run --silent test:client

test-system: setup ## what needs root: Debian's PostgreSQL for TLS, systemd hosts under podman
	@scripts/test-system $(PYTEST_ARGS)

test-system-quick: setup
	@scripts/test-system -m "not slow" $(PYTEST_ARGS)

molecule: ## systemd hosts under podman: a blank one, failovers when the database's host dies, the session client (needs root)
	@scripts/molecule test --all $(MOLECULE_ARGS)

##@ Check
.PHONY: lint lint-python lint-types lint-yaml lint-ansible lint-node lint-docs lint-changelog sanity importer format
lint: setup ## all linters; goes on after a failure and fails at the end
	@$(MAKE) --keep-going lint-python lint-types lint-yaml lint-ansible lint-node lint-docs lint-changelog

lint-python: venv
	ruff check --quiet .
	ruff format --check --quiet .

lint-types: venv
	mypy

lint-yaml: venv
	git ls-files -z --cached --others --exclude-standard -- '*.yml' '*.yaml' .yamllint .ansible-lint | xargs -0 -r yamllint --strict

lint-ansible: collection
	scripts/lint-ansible

lint-node: node
	cd lab/node && ../../scripts/npm run --silent check

lint-docs: collection
	scripts/lint-docs

lint-changelog: venv
	antsibull-changelog lint
	antsibull-changelog lint-changelog-yaml changelogs/changelog.yaml

sanity: collection ## ansible-test sanity on the collection as it ships
	@scripts/sanity $(SANITY_ARGS)

importer: collection ## what Galaxy checks at import
	@scripts/importer

format: venv ## rewrite Python files in the project's format
	ruff check --fix --quiet .
	ruff format --quiet .

##@ Release
.PHONY: docs changelog constraints
docs: collection ## module pages and the table of errors in docs/, Grafana's dashboard
	@scripts/make-docs

changelog: venv ## CHANGELOG.md from changelogs/fragments, for the version in galaxy.yml
	@antsibull-changelog release --update-existing --reload-plugins --refresh-plugins --refresh-fragments

constraints: ## requirements/constraints.txt anew from what requirements/dev.txt resolves to
	@scripts/make-constraints

.PHONY: clean distclean
clean: ## remove what builds and tests left
	@rm -rf build .cache .coverage .coverage.* htmlcov coverage.xml .mypy_cache .ruff_cache .pytest_cache .hypothesis .ansible
	@find . -name __pycache__ -type d -not -path './.venv/*' -not -path '*/node_modules/*' -prune -exec rm -rf {} +

distclean: clean ## also .venv, the npm packages and a lab that is down
	@if [ -e .lab/lab.json ]; then echo "distclean: .lab holds a lab. HINT: lab/lab down" >&2; exit 1; fi
	@rm -rf .venv .venv.lock .node.lock .lab lab/node/node_modules
