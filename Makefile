# SPDX-License-Identifier: GPL-2.0-only
#
#	make run	set up what is missing, compare the datapaths, say where the report is
#			(make run ARGS="--datapath xdp,kernel --rounds 10")
#	make test	set up, lint, and run all tests (make test TESTS="tests/unit -k image")
#	make setup	the set-up only: system packages, .venv, C parts; shown first, then installed
#	make lint	ruff, mypy --strict, clang-format
#	make format	write Python and C sources the way lint wants them
#	make install	kbench and its man page below PREFIX, by a virtual environment of its own
#	make clean	remove what was built here (not results/, reports/ and the cache)

PYTHON ?= python3
ARGS ?=
TESTS ?= tests/unit tests/host tests/lab tests/report
PREFIX ?= /usr/local
VENV := .venv
BIN := $(VENV)/bin
export PYTHON

C_SOURCES = $(shell git ls-files -co --exclude-standard -- 'core/*.[ch]' 'kmods/*.[ch]' 'userspace/*.[ch]' 'benchmarks/*.[ch]' 'tests/*.[ch]' \
	2>/dev/null || find core kmods userspace benchmarks tests -name '*.[ch]')

run: setup
	@$(BIN)/kbench run $(ARGS)

setup:
	@tools/setup run

setup-test:
	@tools/setup test

lint: setup-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(C_SOURCES)

format: setup-test
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_SOURCES)

test: lint
	$(BIN)/python -m pytest $(TESTS) $(PYTEST_ARGS)

install:
	$(PYTHON) -m venv --clear $(DESTDIR)$(PREFIX)/lib/kbench
	$(DESTDIR)$(PREFIX)/lib/kbench/bin/python -m pip install --quiet --disable-pip-version-check .
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1
	ln -sf $(PREFIX)/lib/kbench/bin/kbench $(DESTDIR)$(PREFIX)/bin/kbench
	install -m 644 docs/kbench.1 $(DESTDIR)$(PREFIX)/share/man/man1/kbench.1

uninstall:
	rm -rf $(DESTDIR)$(PREFIX)/lib/kbench
	rm -f $(DESTDIR)$(PREFIX)/bin/kbench $(DESTDIR)$(PREFIX)/share/man/man1/kbench.1

clean:
	rm -rf build dist $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find kbench tests -name __pycache__ -prune -exec rm -rf {} +

.PHONY: run setup setup-test lint format test install uninstall clean
