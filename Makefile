# make demo: set up and run the main job on bundled data.  make test: set up and pass the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint setup browser picture clean

setup: $(VENV)/ready

$(VENV)/ready: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e '.[train,test]'
	touch $@

demo: setup
	$(BIN)/edgeq demo --force

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The tests of the pages open them in Chromium; nothing else needs it.
browser:
	@command -v chromium || command -v chromium-browser || command -v google-chrome || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get; then \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-liberation; \
	  else echo "the tests need Chromium: apt-get install chromium" >&2; exit 1; fi; }

test: lint browser
	$(BIN)/pytest -n auto --dist worksteal --durations=25

# The picture in the README.
picture: setup browser
	$(BIN)/edgeq demo -o build/demo --force
	$(BIN)/python tests/browser.py build/demo/build/report.html docs/images/report.png 1290

clean:
	rm -rf $(VENV) demo build *.egg-info toolchain/*.egg-info
