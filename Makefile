# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DEMO ?= runs/demo

.PHONY: help install demo test test-long lint figures clean

help:
	@echo "make demo     install, simulate e+e- -> gamma a(->gamma gamma) at 10/fb, train, choose, scan, report"
	@echo "make test     install, lint, type-check and run the tests"
	@echo "make test-long  the few tests that take longest"
	@echo "make figures  run the benchmarks and write figures.json with a readable table"

# The stamp makes a second call free; constraints.txt pins the versions that were tested.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --prefer-binary -c constraints.txt -e ".[test]"
	touch $@

install: $(VENV)/.installed

demo: install
	$(BIN)/darksieve run gamma_alp -o $(DEMO) --set luminosity_fb=10 --set scan.step_sigma=1 --unblind \
		--set samples.signal.settings.n_events=300000 --set samples.qed_3gamma.settings.n_events=600000
	@echo "open $(DEMO)/report.html"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long"

test-long: install
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m long

figures: install
	$(BIN)/python -m pip install --quiet --prefer-binary -c constraints.txt -e ".[test,bench]"
	$(BIN)/python -m benchmarks.figures

clean:
	rm -rf build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
