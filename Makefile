# What people and CI both call. Every target sets up .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# PyTorch as the tests use it: the build for the processor, without the gigabytes that a GPU needs.
TORCH := torch==2.13.0
TORCH_FOR_CPU := --index-url https://download.pytorch.org/whl/cpu

CORE := CMakeLists.txt $(wildcard cpp/*.cpp cpp/motegpt/*.hpp)

FUZZ_SECONDS ?= 60

.PHONY: train test smoke test-core check format wheel sanitize fallback bench fuzz pictures clean

train: $(STAMP)            ## train the default model on the built-in names and print generated names
	$(BIN)/motegpt train

test: $(STAMP) test-core   ## run every test
	$(BIN)/pytest

# The mathematics, the data and the reference runs, on all engines but the one that is slow to start.
SMOKE := $(foreach name,graph ops rng tokenizer documents parity reference sampling,tests/test_$(name).py)
smoke: $(STAMP)            ## run a few hundred tests in under ten seconds
	$(BIN)/pytest -m "not slow" -k "not torch" $(SMOKE)

test-core: $(STAMP)        ## run the tests of the core, which need no Python
	$(BIN)/cmake -S . -B build/core -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) \
	    -DMOTEGPT_MODULE=OFF -DMOTEGPT_TESTS=ON
	$(BIN)/cmake --build build/core
	$(BIN)/ctest --test-dir build/core --output-on-failure

check: $(STAMP)            ## lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)            ## measure every engine
	$(BIN)/motegpt bench

pictures: $(STAMP)         ## draw the pictures in docs/images again
	PATH="$(abspath $(BIN)):$$PATH" docs/images/draw

wheel: $(STAMP)            ## build a wheel, install it in a fresh venv, and train there
	rm -rf dist build/wheel-venv
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(PYTHON) -m venv build/wheel-venv
	build/wheel-venv/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	cd build && env PATH=/nowhere wheel-venv/bin/motegpt train --engine native --steps 100 -n 3

# Every test in which the core takes part, over one that watches each access and each arithmetic step.
WITHOUT_CORE := $(foreach name,cost kills plots show docs fetch formats distributed torch,--ignore=tests/test_$(name).py)
sanitize: $(STAMP)
	$(PYTHON) -m venv build/sanitize-venv
	build/sanitize-venv/bin/python -m pip install --quiet --disable-pip-version-check '.[dev]' \
	    --config-settings=cmake.define.MOTEGPT_SANITIZE=ON --config-settings=build-dir=build/sanitize
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)" \
	    ASAN_OPTIONS=detect_leaks=0 build/sanitize-venv/bin/pytest $(WITHOUT_CORE) --ignore=tests/attacks

# Where nothing can be compiled, motegpt still installs, trains with the array engine, and says so.
fallback:
	$(PYTHON) -m venv build/fallback-venv
	CC=/bin/false CXX=/bin/false build/fallback-venv/bin/python -m pip install --quiet \
	    --disable-pip-version-check .
	build/fallback-venv/bin/motegpt train --steps 20 -n 2 2>&1 | grep 'using the array engine'
	! build/fallback-venv/bin/motegpt train --engine native

# FUZZ_SECONDS in all; the planted bug must be found, or nothing that holds means anything.
fuzz: $(STAMP)             ## attack every reader with a fuzzer
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	! $(BIN)/python -m tests.fuzz 5 planted >/dev/null
	$(BIN)/python -m tests.fuzz $(FUZZ_SECONDS)

format: $(STAMP)           ## put every file into the one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:                     ## forget what was built and installed
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(STAMP): pyproject.toml $(CORE)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	! $(BIN)/python -m pip install --disable-pip-version-check --dry-run $(TORCH) | grep -q nvidia \
	    && pip_index= || pip_index="$(TORCH_FOR_CPU)"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$pip_index $(TORCH) \
	    || echo 'no $(TORCH) for this machine: the tests of the torch engine are skipped'
	touch $@
