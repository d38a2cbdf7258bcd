# Two commands need nothing but Python 3.11, pip and make:
#   make demo   sets everything up and runs the quickstart sweep on the shipped clips
#   make test   sets everything up and runs the tests, notebooks included
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
# Processes that run the tests, a core each
JOBS ?= 2
RUN := $(VENV)/bin/python

.PHONY: demo pictures test test-browser test-cluster test-full-size setup lint clean

demo: setup
	$(RUN) -m latentsync run experiment=quickstart

test: setup
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(JOBS) --dist loadfile --nbmake --nbmake-timeout=300 tests notebooks

# The notebooks in JupyterLab in a real Chromium (Debian's chromium, or the one that $CHROMIUM names)
test-browser: $(VENV)/.browser-ready
	$(RUN) -m pytest -m browser tests/browser

# A sweep on a real SLURM of one node, as root, with Debian's slurm-wlm and munge
test-cluster: setup
	$(RUN) -m pytest -m cluster -s tests/cluster

# The published shapes in full with seeded weights: 5 GB in the temporary folder, 8 GB of memory, minutes
test-full-size: setup
	$(RUN) -m pytest -m full_size -s tests/test_full_size.py

# What README, docs and experiments show: results, the studies' figures and tables, and executed notebooks
pictures: setup
	$(RUN) -m latentsync pictures --output docs --shots tests/browser/shots

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml requirements/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --disable-pip-version-check -c requirements/constraints.txt -e '.[dev,train,cluster]'
	$(RUN) -m latentsync weights fetch
	@touch $@

$(VENV)/.browser-ready: $(VENV)/.ready
	$(RUN) -m pip install --disable-pip-version-check -c requirements/constraints.txt -e '.[browser]'
	@touch $@

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

clean:
	rm -rf $(VENV) runs
