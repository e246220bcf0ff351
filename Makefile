# make demo   train, prune, check and retrain on real data; writes demo-report/
# make test   every test
# make lint   formatting, static analysis, types
# make bench  the pytest-benchmark files
# make bench-gpu, make sanitize   on a machine with a GPU: benchmarks/gpu.py, and the tests of
#             cuda/ under compute-sanitizer; GPU_PYTHON has a CUDA build of torch and dprune
#
# Each other target sets up what it needs in .venv, from a clean clone, with no other preparation.

PYTHON ?= python3
BIN := .venv/bin
GPU_PYTHON ?= python3
NATIVE := CMakeLists.txt pyproject.toml $(wildcard cpp/*.h cpp/*.cpp cuda/*)

.PHONY: demo test lint format stubs bench bench-gpu sanitize clean
.DELETE_ON_ERROR:

demo: .venv/installed
	$(BIN)/dprune demo --out demo-report

test: .venv/installed
	$(BIN)/python -m pytest

bench: .venv/installed
	$(BIN)/python -m pytest benchmarks --benchmark-group-by=group

bench-gpu:
	$(GPU_PYTHON) benchmarks/gpu.py --out benchmarks/results/gpu

# The operations alone: hypothesis and torch would take hours under the sanitizer.
sanitize:
	mkdir -p build/gpu
	for tool in memcheck racecheck initcheck synccheck; do \
	  compute-sanitizer --tool $$tool --error-exitcode 1 --log-file build/gpu/$$tool.log \
	    $(GPU_PYTHON) -m pytest tests/cuda -k "device and not influence and not benchmark" || exit 1; \
	done

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files 'cpp/*.h' 'cpp/*.cpp' 'cuda/*.h' 'cuda/*.cpp' 'cuda/*.cu' 'tests/*.cpp')
	$(BIN)/clang-tidy --quiet -p $$(ls -d build/*-editable | head -n 1) $$(git ls-files 'cpp/*.cpp')
	$(BIN)/python tests/check_stubs.py

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $$(git ls-files 'cpp/*.h' 'cpp/*.cpp' 'cuda/*.h' 'cuda/*.cpp' 'cuda/*.cu' 'tests/*.cpp')

stubs: .venv/installed
	$(BIN)/python tests/check_stubs.py --write

# The editable install; again whenever a native file or the project's metadata has changed.
.venv/installed: .venv/tools $(NATIVE)
	$(BIN)/pip install --quiet --no-build-isolation --constraint constraints.txt --editable ".[dev]"
	@touch $@

# The pinned torch goes first: a plain requirement would pull in several GB of CUDA packages.
.venv/tools: constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch numpy "scikit-build-core>=0.11" "pybind11>=3.0" ninja cmake
	@touch $@

clean:
	rm -rf .venv build dist demo-report
