# `make play`, `make web` and `make test`: each does all its own set-up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

MINUTES ?= 10
WORKERS ?= 2

.PHONY: play web test fuzz soak kills lint clean

play: $(VENV)/.play
	$(BIN)/worldmodel play

web: $(VENV)/.web
	$(BIN)/worldmodel serve

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --stats
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadscope

fuzz: $(VENV)/.test
	PYTHONPATH=. $(BIN)/python tests/fuzz.py --minutes $(MINUTES)

soak: $(VENV)/.test
	PYTHONPATH=. $(BIN)/python tests/soak.py --minutes $(MINUTES)

kills: $(VENV)/.test
	PYTHONPATH=. $(BIN)/python tests/kills.py

# torch is installed first and exactly: a looser request fetches gigabytes of CUDA libraries.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "worldmodel needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) $$(grep '^torch==' constraints.txt)
	touch $@

$(VENV)/.play: $(VENV)/.torch pyproject.toml
	$(PIP_INSTALL) --editable .
	touch $@

$(VENV)/.web: $(VENV)/.torch pyproject.toml
	$(PIP_INSTALL) --editable '.[web]'
	touch $@ $(VENV)/.play

$(VENV)/.test: $(VENV)/.torch pyproject.toml
	$(PIP_INSTALL) --editable '.[train,gym,test]'
	touch $@ $(VENV)/.play $(VENV)/.web

lint: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
