# make run    install what is needed and start the page
# make test   install what is needed and run all tests
# make check  lint and types
# make fuzz   five minutes of hostile input at every door; ARGS="--seconds 60 --door pictures"
# make soak    64 people for five minutes, half of them leaving in the middle
# make kills   batch, training and conversion killed thirty times, and gone on with
# make bench  measure speed
# make wheel  build the package, into dist/
# make lock   pin what requirements.txt asks for, with hashes; ARGS="--upgrade" takes the newest
# make audit  look up known holes of what is pinned
# make docs   the documentation as a site, into site/
# make proxy-demo     three processes behind nginx, which must be there, one ended and one killed while they answer
# make batch-demo     sixty scenes, a PDF and a video as a job, killed in the middle, gone on with, measured
# make finetune-demo  teach nano to read ticked forms
# make forgetting-demo  what it forgets by that, and what a share of other tasks keeps
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: run test check fuzz soak kills bench batch-demo finetune-demo forgetting-demo clean
.PHONY: wheel lock audit docs proxy-demo

run: $(VENV)/.installed
	$(BIN)/python app.py $(ARGS)

test: $(VENV)/.installed-dev
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile $(ARGS)

fuzz: $(VENV)/.installed-dev
	HF_HUB_OFFLINE=1 $(BIN)/python -m tests.fuzz $(ARGS)

soak: $(VENV)/.installed-dev
	HF_HUB_OFFLINE=1 $(BIN)/python -m tests.soak $(ARGS)

kills: $(VENV)/.installed-dev
	HF_HUB_OFFLINE=1 KILLS=30 $(BIN)/python -m pytest tests/test_kills.py $(ARGS)

bench: $(VENV)/.installed
	$(BIN)/python -m florence_demo benchmark $(ARGS)

wheel: $(VENV)/.installed-dev
	$(BIN)/python -m build --no-isolation

# For every system and Python at once; what is pinned already stays. The second is what builds the wheel.
PIN := $(BIN)/uv --no-config pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --custom-compile-command "make lock"
lock: $(VENV)/.installed-dev
	$(PIN) $(ARGS) --output-file requirements.lock requirements.txt requirements-mcp.txt
	$(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['build-system']['requires'], 'uv', sep='\n')" \
	    | $(PIN) $(ARGS) --output-file deploy/building.lock -

# Whatever cannot be looked up fails it: an unknown is not a "no holes".
audit: $(VENV)/.installed-dev
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --progress-spinner off \
	    --requirement requirements.lock $(ARGS)

docs: $(VENV)/.installed-dev
	$(BIN)/python -m mkdocs build --strict $(ARGS)

proxy-demo: $(VENV)/.installed
	$(BIN)/python deploy/proxy_demo.py

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
	@# Where node is there, what cards copy as JavaScript is run too.
	@if command -v npm >/dev/null; then \
	  npm install --silent --no-audit --no-fund --prefix $(VENV) @gradio/client@2 || true; fi
	@touch $@

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache
