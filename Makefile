# make run    install what is needed and start the page
# make test   install what is needed and run all tests
# make check  lint and types
# make fuzz   five minutes of hostile input at every door; ARGS="--seconds 60 --door pictures"
# make soak    64 people for five minutes, half of them leaving in the middle
# make kills   batch, training and conversion killed thirty times, and gone on with
# make bench  measure speed
# make batch-demo     sixty scenes, a PDF and a video as a job, killed in the middle, gone on with, measured
# make finetune-demo  teach nano to read ticked forms
# make forgetting-demo  what it forgets by that, and what a share of other tasks keeps
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: run test check fuzz soak kills bench batch-demo finetune-demo forgetting-demo clean

run: $(VENV)/.installed
	$(BIN)/python app.py $(ARGS)

test: $(VENV)/.installed-dev
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest $(ARGS)

fuzz: $(VENV)/.installed-dev
	HF_HUB_OFFLINE=1 $(BIN)/python -m tests.fuzz $(ARGS)

soak: $(VENV)/.installed-dev
	HF_HUB_OFFLINE=1 $(BIN)/python -m tests.soak $(ARGS)

kills: $(VENV)/.installed-dev
	HF_HUB_OFFLINE=1 KILLS=30 $(BIN)/python -m pytest tests/test_kills.py $(ARGS)

bench: $(VENV)/.installed
	$(BIN)/python -m florence_demo benchmark $(ARGS)

batch-demo: $(VENV)/.installed
	HF_HUB_OFFLINE=1 $(BIN)/python -m florence_demo batch-demo $(ARGS)

finetune-demo: $(VENV)/.installed
	HF_HUB_OFFLINE=1 $(BIN)/python -m florence_demo finetune-demo $(ARGS)

forgetting-demo: $(VENV)/.installed
	HF_HUB_OFFLINE=1 $(BIN)/python -m florence_demo forgetting-demo $(ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.installed: requirements.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing requirements (several GB for torch, some minutes the first time) ..."
	$(PIP) -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt requirements-cluster.txt requirements-mcp.txt
	$(PIP) -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
