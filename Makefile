# Every command a contributor or CI runs. pip's own settings (PIP_INDEX_URL and friends) are honoured as they are.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SHAPES := samples/01_train_shapes
MATTING := samples/02_train_matting
DEMO := out/demo

.PHONY: demo test test-full lint types check clean

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

## make test-full: the slow tests: released sizes, several ONNX Runtime versions
test-full: $(VENV)/.tests
	$(BIN)/python -m pytest -m slow -s

lint: $(VENV)/.tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.tools
	$(BIN)/mypy

check: lint types test

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || { \
	  echo "$(PYTHON) is missing or not 3.11 to 3.13: install one of these, or name it: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) can't make virtual environments: sudo apt-get install python3-venv" >&2; exit 2; }
	@echo "making $(VENV) and installing into it (with PyTorch: minutes)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(BIN)/python pyproject.toml constraints.txt
	@$(PIP) -e '.[export,ort-cpu]'
	@touch $@

$(VENV)/.tests: $(VENV)/.runtime
	@$(PIP) -e '.[export,ort-cpu,test]'
	@touch $@

$(VENV)/.tools: $(VENV)/.tests
	@$(PIP) -e '.[export,ort-cpu,test,dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist out .mypy_cache .pytest_cache .ruff_cache
