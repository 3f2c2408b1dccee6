# Every command a contributor or CI runs. pip's own settings (PIP_INDEX_URL and friends) are honoured as they are.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SHAPES := samples/01_train_shapes
MATTING := samples/02_train_matting
DEMO := out/demo
CMAKE ?= cmake
CTEST ?= ctest
NATIVE := fade_deploy/_native
TRT_PYTHON ?=   # a Python with tensorrt-rtx, numpy and onnx, which then drives the TensorRT library
NATIVE_OPTIONS ?=   # -DONNXRUNTIME_INCLUDE=DIR holds our declaration of ONNX Runtime's interface against its header

.PHONY: demo test test-full lint types check clean native native-test native-asan trt-compile trt-asan trt-check cuda-compile bench gpu-check

## make demo: install, export both shipped checkpoints, verify them, run each on a picture
demo: $(VENV)/.runtime
	@mkdir -p $(DEMO)
	$(BIN)/fade-export $(SHAPES)/shapes_fade.pth --format onnx -o $(DEMO)/model.onnx --force
	@$(BIN)/python -c "from PIL import Image; Image.open('$(SHAPES)/scene.jpg').save('$(DEMO)/input.png')"
	$(BIN)/fade-predict $(DEMO)/model.onnx $(DEMO)/input.png --overlay -o $(DEMO)/overlay.png --force
	$(BIN)/fade-export $(MATTING)/matting_fade.pth --format onnx -o $(DEMO)/matting.onnx --verify quick --force
	$(BIN)/fade-predict $(DEMO)/matting.onnx $(MATTING)/scene.jpg --trimap $(MATTING)/trimap.png \
	  -o $(DEMO)/alpha.png --force
	$(BIN)/fade-predict $(DEMO)/matting.onnx $(MATTING)/scene.jpg --trimap $(MATTING)/trimap.png \
	  --background seagreen -o $(DEMO)/cutout.png --force
	@echo
	@echo "Made $(DEMO)/: model.onnx, matting.onnx, their manifests (.json), input.png, overlay.png, alpha.png, cutout.png. Next:"
	@echo "  $(BIN)/fade-inspect $(DEMO)/model.onnx"
	@echo "  $(BIN)/fade-predict $(DEMO)/model.onnx YOUR_PICTURE.jpg --overlay -o overlay.png"
	@echo "  $(BIN)/fade-export YOUR_FADE_CHECKPOINT.pth --format onnx"

## make test: everything but the slow tests, on two processes of one thread each
test: $(VENV)/.tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

## make test-full: the slow tests: released sizes, several ONNX Runtime versions, wheels; tells what it measured
# In the order of tests/conftest.py, which has the longest file first: xdist's own would begin it at the end.
test-full: $(VENV)/.tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2 --dist loadfile --no-loadscope-reorder -rP

lint: $(VENV)/.tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.tools
	$(BIN)/mypy

check: lint types test

## make native: the native operators, built into the checkout and kept up to date (needs CMake 3.25 and a C++17 compiler)
native:
	@$(CMAKE) --version >/dev/null 2>&1 || { \
	  echo "$(CMAKE) is missing: sudo apt-get install cmake g++, or pip install cmake ninja" >&2; exit 2; }
	$(CMAKE) --preset release
	$(CMAKE) --build --preset release -j 4
	@rm -f $(NATIVE)/built_from $(NATIVE)/libfade_*.so
	$(CMAKE) --install build/release --prefix $(NATIVE) --component fade --strip

## make native-test: their C++ tests
native-test:
	$(CMAKE) --preset test $(NATIVE_OPTIONS)
	$(CMAKE) --build --preset test -j 4
	$(CTEST) --preset test

## make native-asan: their C++ and Python tests under AddressSanitizer and UndefinedBehaviorSanitizer
# Python itself has no sanitizer: its runtime is loaded before, and what Python never frees is no leak of ours. The
# sanitizer's own memory is not what test_memory.py measures.
native-asan: $(VENV)/.tests
	$(CMAKE) --preset asan
	$(CMAKE) --build --preset asan -j 4
	$(CTEST) --preset asan
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)" \
	  ASAN_OPTIONS=detect_leaks=0 OMP_NUM_THREADS=1 FADE_REQUIRE_NATIVE=1 \
	  FADE_TEST_LIBRARY=build/asan/plugins/onnxruntime/libfade_onnxruntime.so \
	  $(BIN)/python -m pytest -m "not slow" tests/plugins --ignore tests/plugins/test_memory.py

## make trt-compile TENSORRT_ROOT=DIR: the TensorRT library and its harness with those headers, warnings as errors; runs
## the harness, and with TRT_PYTHON=python the library under TensorRT-RTX. Needs nvcc, no GPU. trt-asan: with sanitizers
trt-compile trt-asan: preset = $(subst trt-compile,tensorrt,$(subst trt-asan,tensorrt-asan,$@))
trt-compile trt-asan:
	@test -n "$(TENSORRT_ROOT)" || { echo "$@: TENSORRT_ROOT is not set, expected the folder of TensorRT's headers (10.15 or \
	newer) or the one whose include/ has them: make $@ TENSORRT_ROOT=DIR" >&2; exit 2; }
	$(CMAKE) --preset $(preset) "-DTENSORRT_ROOT=$(abspath $(TENSORRT_ROOT))"
	$(CMAKE) --build --preset $(preset) -j 4
	$(CTEST) --preset $(preset)
	@if [ "$@" = trt-asan ]; then :; \
	elif [ -z "$(TRT_PYTHON)" ]; then echo "$@: not driven under TensorRT-RTX, TRT_PYTHON is not set"; \
	else $(TRT_PYTHON) tests/plugins/drive_tensorrt_rtx.py build/$(preset)/plugins/tensorrt/libfade_tensorrt.so; fi

## make cuda-compile: the CUDA kernels and the CUDA library for every GPU, warnings as errors (minutes; needs nvcc, no GPU)
cuda-compile:
	$(CMAKE) --preset cuda
	$(CMAKE) --build --preset cuda -j 4

## make bench: every figure of docs/BENCHMARKS.md, on an idle machine (45 minutes; a run that is cut short is taken up)
bench: $(VENV)/.tests native
	$(CMAKE) --preset test
	$(CMAKE) --build --preset test -j 4
	$(BIN)/python -m benchmarks --write docs/BENCHMARKS.md

## make gpu-check: on a machine with an NVIDIA GPU, the CUDA kernels against PyTorch and whole models on onnxruntime-gpu
# With .venv's Python where there is one, else with one that has PyTorch and numpy: PYTHON=python3.
gpu-check:
	@$(or $(wildcard $(BIN)/python),$(PYTHON)) -c "import numpy, torch" 2>/dev/null || { \
	  echo "gpu-check needs a Python with numpy and a PyTorch with CUDA: name it, make gpu-check PYTHON=python3" >&2; exit 2; }
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m benchmarks.gpu_check

## make trt-check: on a machine with TensorRT and a GPU, engines against PyTorch and ONNX Runtime, and their speed
trt-check: $(VENV)/.tests
	@$(PIP) -e '.[export,ort-cpu,tensorrt,test]'
	$(BIN)/python -m benchmarks.trt_check

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || { \
	  echo "$(PYTHON) is missing or not 3.11 to 3.13: install one of these, or name it: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) can't make virtual environments: sudo apt-get install python3-venv" >&2; exit 2; }
	@echo "making $(VENV) and installing into it (with PyTorch: minutes)"
	@$(PYTHON) -m venv $(VENV)

# Also where a source of the native operators has changed (SOURCES of hatch_build.py): they are built again.
$(VENV)/.runtime: $(BIN)/python pyproject.toml constraints.txt hatch_build.py CMakeLists.txt \
  $(wildcard cmake/* plugins/*.txt plugins/contract/* plugins/onnxruntime/* plugins/reassemble/* plugins/tensorrt/*)
	@$(PIP) -e '.[export,ort-cpu]'
	@touch $@

$(VENV)/.tests: $(VENV)/.runtime
	@$(PIP) -e '.[export,ort-cpu,test]'
	@touch $@

$(VENV)/.tools: $(VENV)/.tests
	@$(PIP) -e '.[export,ort-cpu,test,dev]'
	@touch $@

clean:
	rm -rf $(VENV) $(NATIVE) build dist out .mypy_cache .pytest_cache .ruff_cache
