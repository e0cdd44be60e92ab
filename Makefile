# Mailspool: `make demo` and `make test` need Python 3.11 or newer and make, nothing else. `make` lists the rest.
#
# Everything is installed into .venv, at the versions and hashes of constraints.txt. The stamp file makes a second
# run cost nothing; a change of pyproject.toml or constraints.txt builds .venv anew, so that a stale one is never mended.
#
#   make test ARGS="tests/producer -k address"     a part of the tests
#   make demo PYTHON=python3.13                    another Python
#   make crash SECONDS=1800                        longer random storms
#   make crash DISASTERS="storm power-cut"         some of the disasters only (python -m tests.crash --list)

PYTHON ?= python3
SECONDS ?= 300
DISASTERS ?=
ARGS ?=
# The whole suite mostly waits for servers and leases: four at once even on two cores. A part of it (ARGS) runs in one.
PARALLEL ?= 4

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PINS := .pins
# Only `make pins` uses it: the one resolver that pins for every supported Python and platform at once.
UV := uv==0.13.9

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check format lint types imports crash bench pins install clean

# A PIP_USER=1 of the machine would make pip refuse to install into a virtual environment.
export PIP_USER := 0
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input

# A relay or spool set in this shell is the developer's own: no test may reach it.
OWN_SETTINGS_OFF = $(foreach name,$(filter MAILSPOOL_%,$(.VARIABLES)),-u $(name))

help:
	@echo "make demo     1,000 mails through a real queue to a receiver that misbehaves; nothing leaves this machine"
	@echo "make test     every test"
	@echo "make check    what CI runs: format, lint, types, import contracts, tests"
	@echo "make format   rewrite the sources in the house format"
	@echo "make crash    every disaster, with a table of verdicts, then longer random storms (SECONDS=$(SECONDS))"
	@echo "make bench    speed beside the C load generator and other queues (ARGS=--install gets what they lack)"
	@echo "make pins     write constraints.txt anew (UPGRADE=1: newest versions)"
	@echo "make clean    remove .venv, caches and built files"

demo: $(STAMP)
	@$(BIN)/mailspool demo $(ARGS)

test: $(STAMP)
	@env $(OWN_SETTINGS_OFF) $(BIN)/python -m pytest $(if $(ARGS),$(ARGS),-n $(PARALLEL) --dist worksteal)

check: lint types imports test

lint: $(STAMP)
	@$(BIN)/ruff format --check . || { echo "Run 'make format' to put these files into the house format." >&2; exit 1; }
	@$(BIN)/ruff check --quiet .

types: $(STAMP)
	@$(BIN)/mypy --no-error-summary

imports: $(STAMP)
	@$(BIN)/lint-imports --no-cache >$(VENV)/imports.log 2>&1 || { cat $(VENV)/imports.log >&2; exit 1; }

format: $(STAMP)
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

crash: $(STAMP)
	@env $(OWN_SETTINGS_OFF) PYTHONPATH=producer:worker:. $(BIN)/python -m tests.crash $(DISASTERS)
	@env $(OWN_SETTINGS_OFF) PYTHONPATH=producer:worker:. $(BIN)/python -m tests.crash.isolation
	@env $(OWN_SETTINGS_OFF) PYTHONPATH=producer:worker:. $(BIN)/python -m tests.crash.million
	@env $(OWN_SETTINGS_OFF) MAILSPOOL_STORM_SECONDS=$(SECONDS) $(BIN)/python -m pytest -m storm $(ARGS)

bench: $(STAMP)
	@env $(OWN_SETTINGS_OFF) $(BIN)/python -m tests.benchmarks $(ARGS)

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { \
	  echo "No '$(PYTHON)' here. Install Python 3.11 or newer, or name yours: make demo PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Mailspool needs Python 3.11 or newer; '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1)." \
	       "Name another: make demo PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make a virtual environment: its venv module is packaged apart." \
	       "Install it (Debian, Ubuntu: apt install python3-venv) and run make again." >&2; exit 1; }
	@echo "Setting up $(VENV), once: about half a minute ..." >&2
	@"$(PYTHON)" -m venv --clear $(VENV)
	@$(PIP) install --require-hashes -r constraints.txt || { \
	  echo "Installing failed. It needs the network, and glibc Linux or macOS (elsewhere: CONTRIBUTING.md)." >&2; exit 1; }
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

pins:
	@"$(PYTHON)" -m venv --clear $(PINS)
	@$(PINS)/bin/python -m pip -qq --disable-pip-version-check install '$(UV)'
	@echo hatchling >$(PINS)/build.in
	@test -f constraints.txt && cp constraints.txt $(PINS)/out.txt || true
	@$(PINS)/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --no-emit-find-links --extra dev $(if $(UPGRADE),--upgrade) \
	  --output-file $(PINS)/out.txt pyproject.toml $(PINS)/build.in >/dev/null
	@{ echo "# Every package that 'make' and CI install: its version, and the hashes of its files for every platform."; \
	   echo "# Written by 'make pins'; CONTRIBUTING.md says when."; \
	   sed 's|$(PINS)/build.in|the build|' $(PINS)/out.txt; } >constraints.txt
	@rm -rf $(PINS)

clean:
	@rm -rf $(VENV) $(PINS) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find producer worker tests -name __pycache__ -type d -prune -exec rm -rf {} +
