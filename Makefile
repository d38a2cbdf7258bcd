# Two commands need nothing but Python 3.11, pip and make:
#   make demo   sets everything up and runs the quickstart sweep on the shipped clips
#   make test   sets everything up and runs the tests, notebooks included
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
# Processes that run the tests, a core each
JOBS ?= 2
# The lowest versions that pyproject.toml allows
LOWEST := .venv-lowest
RUN := $(VENV)/bin/python
PIP_INSTALL := $(RUN) -m pip install --disable-pip-version-check -c requirements/constraints.txt
# Where it is set, every process would compile the project anew
unexport PYTHONDONTWRITEBYTECODE
ELSEWHERE := not browser and not cluster and not faults and not full_size and not statistics

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-quick test-lowest test-browser test-cluster test-faults test-full-size \
	test-statistics lint pictures clean

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(VENV)/.ready  ## install everything into .venv

demo: setup  ## run the quickstart sweep on the shipped clips
	$(RUN) -m latentsync run experiment=quickstart

# Files begin in this order, not those of many tests first: notebooks take longest and have one test each.
test: setup  ## run all tests that need nothing special, notebooks included
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --nbmake --nbmake-timeout=300 notebooks tests

test-quick: setup  ## run the quick tests, in 2 minutes on 2 cores
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(JOBS) --dist loadfile -m "not slow and $(ELSEWHERE)" tests

test-lowest: $(LOWEST)/.ready  ## import everything and run the quick tests with the lowest allowed versions
	$(LOWEST)/bin/python tests/import_all.py
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n $(JOBS) --dist loadfile -m "not slow and $(ELSEWHERE)" tests

test-browser: $(VENV)/.browser-ready  ## run the notebooks in JupyterLab in Chromium (Debian's, or the one named by CHROMIUM)
	$(RUN) -m pytest -m browser tests/browser

test-cluster: setup  ## run a sweep on a real SLURM of one node, as root, with Debian's slurm-wlm and munge
	$(RUN) -m pytest -m cluster -s tests/cluster

test-faults: setup  ## make rare faults on purpose and count what they cost: minutes
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(JOBS) -m faults -s tests/faults

test-statistics: setup  ## simulate intervals and tests with a known truth, and write the table of docs/statistics.md: minutes
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m statistics -s tests/test_simulations.py

test-full-size: setup  ## run the published shapes in full: 5 GB in the temporary folder, 8 GB of memory, minutes
	$(RUN) -m pytest -m full_size -s tests/test_full_size.py

lint: setup  ## check style, format, and the types of what users import
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m basedpyright --pythonpath $(RUN)

pictures: setup  ## make what README, docs and experiments show: pictures, tables and executed notebooks
	$(RUN) -m latentsync pictures --output docs --shots tests/browser/shots

clean:  ## remove .venv, .venv-lowest and runs
	rm -rf $(VENV) $(LOWEST) runs

$(VENV)/.ready: pyproject.toml requirements/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -e '.[dev,train,cluster]'
	$(RUN) -m latentsync weights fetch
	@touch $@

$(LOWEST)/.ready: pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --disable-pip-version-check uv
	$(LOWEST)/bin/uv pip compile -q pyproject.toml --extra dev --extra train --extra cluster \
		--resolution lowest-direct --python $(LOWEST)/bin/python -o $(LOWEST)/lowest.txt
	$(LOWEST)/bin/uv pip install --python $(LOWEST)/bin/python -r $(LOWEST)/lowest.txt -e .
	$(LOWEST)/bin/python -m latentsync weights fetch
	@touch $@

$(VENV)/.browser-ready: $(VENV)/.ready
	$(PIP_INSTALL) -e '.[browser]'
	@touch $@
