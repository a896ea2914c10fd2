# Every target works as the first command on a fresh machine with python3 (3.11 or newer) and pip.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

export TOKENIZERS_PARALLELISM = false

.PHONY: demo test check fix bench notebooks embedded-model clean help

help:            ## list the targets
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "langchain-mmrag needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade "pip>=25.1"

$(VENV)/.run: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing langchain-mmrag (torch is large: a minute or three)..."
	$(PIP) --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "Installing the test tools..."
	$(PIP) --constraint constraints.txt --editable '.[all,experimental]' --group dev
	@touch $@

# hnswlib comes as source: where there is no compiler the others go without it.
$(VENV)/.bench: $(VENV)/.dev
	@echo "Installing what is measured against..."
	$(PIP) --constraint constraints.txt --group bench || $(PIP) --constraint constraints.txt --group bench-wheels
	@touch $@

demo: $(VENV)/.run   ## index a folder of pictures and notes, ask it, see what is found
	$(BIN)/mmrag demo

test: $(VENV)/.dev   ## every test, offline but for loopback
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --disable-socket --allow-unix-socket \
	  --allow-hosts=127.0.0.1,::1,localhost --numprocesses 2 --dist loadfile

check: $(VENV)/.dev  ## lint, format, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --disable-socket --allow-unix-socket tests/unit_tests/test_architecture.py

fix: $(VENV)/.dev    ## let the linter mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench  ## speed of embedding against other packages, in one run (BENCH=--quick: three minutes)
	$(BIN)/python benchmarks/embed.py $(BENCH)

notebooks: $(VENV)/.dev  ## run the notebooks again and keep their outputs
	$(BIN)/python -m tests.executed_notebooks

embedded-model: $(VENV)/.dev  ## train the embedded model again from the registries (hours)
	$(BIN)/python -m langchain_mmrag.training

clean:           ## remove the environment and what the demo made
	rm -rf $(VENV) mmrag_demo
