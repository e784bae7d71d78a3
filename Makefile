PYTHON ?= python3
ARGS ?=
BIN = .venv/bin
FIRST = $(firstword $(sort $(wildcard notebooks/*.ipynb)))
# Jupyter refuses to run as root, which is who one is in a container, unless told.
AS_ROOT = $(if $(filter 0,$(shell id -u)),--allow-root)

OFFLINE = HF_HUB_OFFLINE=1 PYTHONPATH="$(CURDIR)/tests/offline"
# Two processes, of one thread each: small tensors gain nothing from more.
TWO_AT_ONCE = -n 2 --dist loadfile
# As `circuitbook build` ran them: in nobody's home, with nobody's settings.
AS_BUILT = CIRCUITBOOK_STRICT=1 CIRCUITBOOK_MODEL=pocket CUDA_VISIBLE_DEVICES= \
	HF_HUB_DISABLE_PROGRESS_BARS=1 OMP_NUM_THREADS=1 PLOTLY_RENDERER=plotly_mimetype PYTHONHASHSEED=0

.PHONY: help lab test book bench mutants lock clean install

help:
	@echo "make lab     read the book in JupyterLab; ARGS='--no-browser --port 8899' goes to Jupyter"
	@echo "make test    check everything: the code, the exercises, every cell of every chapter"
	@echo "make book    make notebooks/ and solutions/ from book/"
	@echo "make bench   measure ours against other libraries, as ratios; ARGS='--device cuda'"
	@echo "make mutants try every small edit of every answer: none may pass its check; ARGS='1.4 2.'"
	@echo "make lock    write requirements.lock from what is installed in .venv"
	@echo "make clean   remove .venv and what the tests leave"

lab: install
	@test -n "$(FIRST)" || { echo "circuitbook: notebooks/ is empty; run make book." >&2; exit 1; }
	$(BIN)/jupyter lab --ServerApp.ip=127.0.0.1 --ServerApp.root_dir="$(CURDIR)" $(AS_ROOT) \
		--LabApp.default_url=/lab/tree/$(FIRST) $(ARGS)

# Blank notebooks are run by tests/test_chapters.py, solutions cell by cell at the end.
test: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(OFFLINE) $(BIN)/python -m pytest $(TWO_AT_ONCE)
	home=$$(mktemp -d) && trap 'rm -rf "$$home"' EXIT && \
	$(OFFLINE) $(AS_BUILT) CIRCUITBOOK_HOME="$$home" IPYTHONDIR="$$home" \
		$(BIN)/python -m pytest $(TWO_AT_ONCE) \
		--nbval --nbval-current-env --nbval-cell-timeout=600 \
		--junitxml=build/solutions.xml solutions

book: install
	$(BIN)/circuitbook build

# Minutes; wants 10 GB of memory for what it compares with, and says so where there is less.
bench: install
	$(OFFLINE) $(BIN)/python -m benchmarks $(ARGS)

# Minutes; `make test` tries a sample.
mutants: install
	$(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/python tests/mutants.py $(ARGS)

lock:
	{ echo "# Every package of the book at its version; written by make lock."; \
	$(BIN)/pip freeze --all --exclude circuitbook --exclude pip | sed 's/+cpu$$//'; } \
		> requirements.lock

clean:
	rm -rf .venv .pytest_cache .ruff_cache build src/circuitbook.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} + -o -name .ipynb_checkpoints -prune -exec rm -rf {} +

install:
	@command -v "$(PYTHON)" >/dev/null || { echo "circuitbook: there is no $(PYTHON); install \
	Python 3.11 or newer from https://www.python.org/downloads and run make again." >&2; exit 1; }
	@"$(PYTHON)" install.py
