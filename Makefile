# What people and CI both call. Every target sets up .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := -m pip --quiet --disable-pip-version-check
TRAIN := $(VENV)/.train
DEV := $(VENV)/.dev

# PyTorch as the tests use it: the build for the processor, without the gigabytes that a GPU needs.
TORCH := torch==2.13.0
TORCH_FOR_CPU := $(TORCH) --index-url https://download.pytorch.org/whl/cpu

# Everything that compiles the core does so in one folder, once.
CORE := CMakeLists.txt $(wildcard cpp/*.cpp cpp/motegpt/*.hpp)
CORE_TESTS := $(wildcard cpp/tests/*)
COMPILED := --config-settings=build-dir=build/core
WITH_TESTS := --config-settings=cmake.define.MOTEGPT_TESTS=ON

# Several tests at a time, as many as there are processors. So each has one thread of NumPy and PyTorch, whose
# idle ones spin: a fifth of the processor time of many files.
PARALLEL := --numprocesses logical --maxprocesses 8 --dist worksteal
test test-interchange sanitize: export OMP_NUM_THREADS := 1

FUZZ_SECONDS ?= 60

# The core as WebAssembly. Its bytes depend on the sources, the flags and the version of the compiler alone.
# system.cpp comes first: what it defines replaces parts of the library that print.
WASM := src/motegpt/page/motegpt.wasm
WASM_SOURCES := $(addprefix cpp/,wasm/system.cpp wasm/abi.cpp wasm/numbers.cpp level.cpp dispatch.cpp \
    specification.cpp context_trie.cpp random.cpp schedule.cpp)
WASM_FLAGS := -target wasm32-wasi -mexec-model=reactor -msimd128 -Os -std=c++20 -fno-exceptions -fno-rtti \
    -Wall -Wextra -Wno-unused-private-field -DMOTEGPT_LEVEL=baseline -Icpp -s \
    -Wl,-z,stack-size=262144 -Wl,--max-memory=2147483648 -Wl,--export=__stack_pointer

.PHONY: train play test smoke test-core test-interchange check format wheel wasm wasm-check sanitize fallback bench fuzz pictures docs clean

train: $(TRAIN)            ## train the default model on the built-in names and print generated names
	$(BIN)/motegpt train

play: $(TRAIN)             ## open the page in which a GPT trains
	$(BIN)/motegpt play

test: test-core            ## run every test, and list the slowest
	$(BIN)/pytest $(PARALLEL) --durations=25
	@$(BIN)/python -c 'import torch' 2>/dev/null || \
	    echo 'PyTorch is not installed, so its tests were skipped: $(BIN)/pip install $(TORCH_FOR_CPU)'

# The mathematics, the data and the reference runs, on all engines but the one that is slow to start.
SMOKE := $(foreach name,graph ops rng tokenizer documents parity reference sampling,tests/test_$(name).py)
smoke: $(DEV)              ## run a few hundred tests in under ten seconds
	$(BIN)/pytest -m "not slow" -k "not torch" $(SMOKE)

# Not part of `make test`: these compare with libraries that motegpt does without. Both majors of transformers
# are in use; each has an environment of its own, which shares all other packages with $(VENV).
INTERCHANGE := $(foreach name,bpe tokens export_tokens gguf llama_cpp,tests/test_$(name).py)
required = "$$(sed -n 's/^ *"\($(1)>=[^"]*\)".*/\1/p' pyproject.toml)"
SHARED = import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')
test-interchange: $(DEV) build/transformers4/.made build/transformers5/.made ## compare with other programs
	$(BIN)/python $(PIP) install $(foreach name,tokenizers gguf xllamacpp,$(call required,$(name)))
	$(BIN)/python -c 'import tokenizers, gguf, xllamacpp' # else their tests would be skipped
	$(BIN)/pytest $(PARALLEL) $(INTERCHANGE)
	build/transformers4/bin/python -m pytest $(PARALLEL) tests/test_transformers.py
	build/transformers5/bin/python -m pytest $(PARALLEL) tests/test_transformers.py

build/transformers4/.made: REQUIREMENT := transformers>=4.57,<5
build/transformers5/.made: REQUIREMENT := transformers>=5,<6
build/transformers%/.made: Makefile | $(DEV)
	@$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/python $(PIP) install $(TORCH_FOR_CPU)
	$(PYTHON) -m venv $(@D)
	echo "$(SHARED)" > "$$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/shared.pth"
	$(@D)/bin/python $(PIP) install '$(REQUIREMENT)'
	$(@D)/bin/python -c 'import torch, transformers' # else its tests would be skipped
	@touch $@

test-core: $(DEV)          ## run the tests of the core, which need no Python
	$(BIN)/ctest --test-dir build/core --no-tests=error --output-on-failure --parallel 2

check: $(DEV)              ## lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(DEV)              ## measure every engine
	$(BIN)/motegpt bench

pictures: $(DEV)           ## draw the pictures in docs/images again
	PATH="$(abspath $(BIN)):$$PATH" docs/images/draw

docs: $(DEV)               ## build the documentation as a site, in build/site
	$(BIN)/python $(PIP) install --editable '.[docs]' $(COMPILED)
	$(BIN)/python -m mkdocs build --quiet --strict

wheel: | $(BIN)/python     ## build a wheel, install it in a fresh venv, and use its files there
	rm -rf dist build/wheel-venv
	$(BIN)/python $(PIP) wheel --no-deps --wheel-dir dist $(COMPILED) .
	$(PYTHON) -m venv build/wheel-venv
	build/wheel-venv/bin/python $(PIP) install dist/*.whl
	cd build && env PATH=/nowhere wheel-venv/bin/motegpt train --engine native --steps 100 -n 3
	build/wheel-venv/bin/motegpt play --out build/page.html --overwrite
	build/wheel-venv/bin/motegpt graph a --n-embd 1 --out build/graph.svg --overwrite

wasm: build/wasm/motegpt.wasm ## compile the core for the page
	install -m 644 build/wasm/motegpt.wasm $(WASM)

wasm-check: build/wasm/motegpt.wasm ## compile it again, and compare
	cmp build/wasm/motegpt.wasm $(WASM)

.PHONY: build/wasm/motegpt.wasm
build/wasm/motegpt.wasm: | $(BIN)/python
	@mkdir -p build/wasm
	@test -d build/wasm/venv || $(PYTHON) -m venv build/wasm/venv
	@build/wasm/venv/bin/python $(PIP) install "$$(sed -n 's/^ *"\(ziglang==[^"]*\)".*/\1/p' pyproject.toml)"
	build/wasm/venv/bin/python -m ziglang c++ $(WASM_FLAGS) $(WASM_SOURCES) -o $@

# The tests that hand memory to the core, over a core that watches each access and each arithmetic step.
# Only tests/ is collected: with src/ on the path, processes that tests start would import motegpt from there,
# without this core. Tests that start programs of the system are left out: these hang under the sanitizer.
SANITIZED := $(foreach name,native native_chunks native_ngrams constraints numbers sampler_edges, \
    tests/test_$(name).py)
SANITIZED_IF_QUICK := $(foreach name,parity reference sampling filters beam reorder collect slots specification \
    optimizers node_clip checkpoint train training_interrupted validation stream evaluate copies on_cut \
    processors batches average kneser_ney,tests/test_$(name).py)
SANITIZER := LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)" \
    ASAN_OPTIONS=detect_leaks=0
sanitize: $(DEV)           ## run the tests of the core with AddressSanitizer and UndefinedBehaviorSanitizer
	$(PYTHON) -m venv build/sanitize-venv
	MOTEGPT_REQUIRE_CORE=1 build/sanitize-venv/bin/python $(PIP) install '.[test,bench]' $(WITH_TESTS) \
	    --config-settings=cmake.define.MOTEGPT_SANITIZE=ON --config-settings=build-dir=build/sanitize
	$(BIN)/ctest --test-dir build/sanitize --no-tests=error --output-on-failure --parallel 2
	$(SANITIZER) build/sanitize-venv/bin/pytest $(PARALLEL) $(SANITIZED)
	$(SANITIZER) build/sanitize-venv/bin/pytest $(PARALLEL) -m "not slow" $(SANITIZED_IF_QUICK)

# Where nothing can be compiled, motegpt still installs, trains with the array engine, and says so.
fallback:
	$(PYTHON) -m venv build/fallback-venv
	CC=/bin/false CXX=/bin/false build/fallback-venv/bin/python $(PIP) install .
	build/fallback-venv/bin/motegpt train --steps 20 -n 2 2>&1 | grep 'using the array engine'
	! build/fallback-venv/bin/motegpt train --engine native

# FUZZ_SECONDS in all; the planted bug must be found, or nothing that holds means anything.
fuzz: $(DEV)               ## attack every reader with a fuzzer
	$(BIN)/python $(PIP) install --editable '.[fuzz]' $(COMPILED)
	! $(BIN)/python -m tests.fuzz 5 planted >/dev/null
	$(BIN)/python -m tests.fuzz $(FUZZ_SECONDS)

format: $(DEV)             ## put every file into the one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:                     ## forget what was built and installed
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@echo 'creating $(VENV)'
	@$(PYTHON) -m venv $(VENV)

$(TRAIN): pyproject.toml $(CORE) | $(BIN)/python
	@echo 'installing motegpt and the packages it needs; compiling its core takes about a minute'
	@$(BIN)/python $(PIP) install --editable . $(COMPILED)
	@touch $@

$(DEV): pyproject.toml $(CORE) $(CORE_TESTS) | $(BIN)/python
	@echo 'installing motegpt and what its tests need; compiling its core and the tests of it takes two minutes'
	@MOTEGPT_REQUIRE_CORE=1 $(BIN)/python $(PIP) install --editable '.[dev]' $(COMPILED) $(WITH_TESTS)
	@$(BIN)/python -m pip install --dry-run $(TORCH) 2>/dev/null | grep -qE 'nvidia|cuda' \
	    || $(BIN)/python $(PIP) install $(TORCH) 2>/dev/null \
	    || true # its tests are skipped then, which `make test` says
	@touch $(TRAIN) $@
