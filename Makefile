PYTHON ?= python

.PHONY: format lint types test simulated-gpu check

format:  ## rewrite the files the way `lint` wants them
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

lint:  ## style, and the one-way imports between the layers
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	lint-imports

types:
	$(PYTHON) -m mypy
	$(PYTHON) -m mypy --explicit-package-bases benchmarks/speed

test:
	$(PYTHON) -m pytest -n 2

simulated-gpu:  ## the tests of GPUs, on a CPU that plays one
	$(PYTHON) tests/simulated_gpu -m pytest -qq --disable-warnings -m gpu tests/gpu

check: lint types test simulated-gpu  ## everything that .ci/run asks for
