"""Loading an engine: what can be told before TensorRT is asked is told in one line, and so is its own refusal.

The module ``tensorrt`` of these tests computes nothing: it stands for versions and refusals that this machine can't
have. Whether a real engine runs is for ``make trt-check``, on a machine with a GPU.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fade_deploy.api.export.engine import export_engine
from fade_deploy.engines.options import EngineOptions
from fade_deploy.engines.profile import ShapeProfile
from fade_deploy.errors import InputError, MissingDependency
from fade_deploy.runtimes import engine
from fade_deploy.runtimes.engine import load_engine
from fade_deploy.runtimes.engine_flavour import Flavour, imported
from fade_deploy.runtimes.engine_gpu import Gpu
from fade_deploy.runtimes.engine_manifest import manifest_of, read_manifest
from fade_deploy.runtimes.engine_refusal import refusal as tensorrt_refusal
from tests.engines.rtx import needs_rtx
from tests.serve.engine_manifest import built_with

AMPERE = Gpu(name="NVIDIA A10", compute_capability="8.6")
DESERIALIZED = """
import sys
import tensorrt_rtx as trt
from fade_deploy.runtimes.engine_log import TensorRTLog, logger_for
log = TensorRTLog()
logger = logger_for(trt, log)
assert trt.Runtime(logger).deserialize_cuda_engine(open(sys.argv[1], "rb").read()) is None
print(" | ".join(log.errors))
"""


def written(folder: Path, data: bytes = b"ftrt of an engine", **changes: Any) -> Path:
    """An engine's file with its manifest, of TensorRT 10.16.1.11 on an A10."""
    path = folder / "model.engine"
    path.write_bytes(data)
    document: dict[str, Any] = {
        "artefact": {"file": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()},
        "tensorrt": {
            "flavour": "tensorrt",
            "version": "10.16.1.11",
            "gpu": {"name": "NVIDIA A10", "compute_capability": "8.6"},
            "compute_capabilities": [],
        },
        "inputs": [{"name": "image", "dtype": "float32", "shape": [-1, 3, -1, -1]}],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": [-1, 4, -1, -1]}],
        "options": {"hardware_compatibility": "none", "version_compatible": False},
        "plugin": None,
        "metadata": {"task": "segmentation"},
    }
    for key, value in changes.items():
        document[key] = {**document[key], **value} if isinstance(document[key], dict) else value
    manifest_of(path).write_text(json.dumps(document))
    return path


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in for ``tensorrt`` 10.16.1.11 that refuses every engine with ``said``, on an A10."""

    class ILogger:
        pass

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, data: bytes) -> None:
            for text in module.said:
                self.logger.log(SimpleNamespace(name="ERROR"), text)

    module: Any = ModuleType("tensorrt")
    module.__version__ = "10.16.1.11"
    module.ILogger, module.Runtime, module.said = ILogger, Runtime, []
    module.init_libnvinfer_plugins = lambda *_: True
    module.get_plugin_registry = lambda: SimpleNamespace(load_library=lambda _: None, all_creators=[])
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(engine, "current_gpu", lambda: AMPERE)
    return module


def refusal(path: Path, **arguments: Any) -> str:
    with pytest.raises((InputError, MissingDependency)) as error:
        load_engine(path, **arguments)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_an_onnx_file_is_told_from_an_engine(tmp_path):
    for name in ("model.onnx", "model.engine"):
        path = tmp_path / name
        path.write_bytes(b"\x08\x0a\x12")
        assert "is an .onnx file, expected an engine: build one with fade-export" in refusal(path)


def test_a_missing_an_empty_and_a_lonely_file_are_one_line(tmp_path):
    path = tmp_path / "model.engine"
    assert "can't be read (No such file or directory)" in refusal(path)
    path.write_bytes(b"")
    assert "is empty" in refusal(path)
    path.write_bytes(b"ftrt")
    assert "model.engine.json can't be read (No such file or directory), expected the engine's manifest" in refusal(
        path
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tensorrt": {"version": "ten"}}, "does not say for which TensorRT"),
        ({"tensorrt": {"gpu": 5}}, "does not say for which GPU"),
        ({"tensorrt": {"compute_capabilities": [8.6]}}, "does not say for which GPU"),
        ({"inputs": [{"name": "image"}]}, "does not name the engine's inputs and outputs"),
    ],
)
def test_a_manifest_with_fields_of_another_kind_is_one_line(tmp_path, tensorrt, changes, told):
    assert told in refusal(written(tmp_path, **changes))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"artefact": 5}', '{"artefact": {}, "tensorrt": {}}', "\xff"])
def test_a_manifest_that_is_none_is_one_line(tmp_path, text):
    path = written(tmp_path)
    manifest_of(path).write_text(text, encoding="latin-1")
    assert "copy both files that fade-export wrote, or build the engine again" in refusal(path)


def test_a_truncated_engine_is_told_by_its_length(tmp_path):
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:7])
    assert "has 7 bytes, its manifest says 17: it is truncated or another build" in refusal(path)


def test_a_changed_engine_is_told_by_its_hash(tmp_path):
    path = written(tmp_path)
    path.write_bytes(path.read_bytes().swapcase())
    assert "is not the file that its manifest describes (SHA-256)" in refusal(path)


def test_another_version_is_one_line(tmp_path, tensorrt):
    path = written(tmp_path)
    tensorrt.__version__ = "11.4.0.106"
    assert "was built with TensorRT 10.16.1.11, installed is 11.4.0.106: pip install tensorrt==10.16.1.11" in refusal(
        path
    )


def test_a_version_compatible_engine_is_for_later_versions_of_its_major_one(tmp_path, tensorrt):
    path = written(tmp_path, options={"version_compatible": True})
    tensorrt.__version__ = "10.17.0.1"
    assert "allow it if you trust the file" in refusal(path)  # past the check of the version
    tensorrt.__version__ = "10.15.0.1"
    assert "was built with TensorRT 10.16.1.11, installed is 10.15.0.1" in refusal(path)


@pytest.mark.parametrize("version", ["10.14.1.48", "12.0.0.1", "8.6.1"])
def test_an_unsupported_version_is_one_line(tmp_path, tensorrt, version):
    tensorrt.__version__ = version
    assert f"TensorRT {version} is installed, expected 10.15 or newer, up to 11.x" in refusal(written(tmp_path))


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(
        MissingDependency, match=r"tensorrt is not installed; install it with: .*fade-deploy\[tensorrt\]"
    ):
        imported(Flavour.TENSORRT)


def test_another_gpu_is_one_line(tmp_path, tensorrt, monkeypatch):
    path = written(tmp_path)
    monkeypatch.setattr(engine, "current_gpu", lambda: Gpu(name="NVIDIA H200", compute_capability="9.0"))
    message = refusal(path)
    assert "is for NVIDIA A10 of compute capability 8.6 alone, this GPU (NVIDIA H200) has 9.0" in message
    assert message.endswith("fade-export --format tensorrt")


def test_another_model_of_gpu_is_one_line_unless_it_was_built_for_that_too(tmp_path, tensorrt, monkeypatch):
    monkeypatch.setattr(engine, "current_gpu", lambda: Gpu(name="NVIDIA A40", compute_capability="8.6"))
    message = refusal(written(tmp_path))
    assert "is for NVIDIA A10 of compute capability 8.6 alone, this GPU (NVIDIA A40) has 8.6" in message
    assert message.endswith("or there with --hardware-compatibility same-compute-capability")
    compatible = {"hardware_compatibility": "same-compute-capability"}
    assert "TensorRT 10.16.1.11 refuses" in refusal(written(tmp_path, options=compatible))
    monkeypatch.setattr(engine, "current_gpu", lambda: Gpu(name="NVIDIA L4", compute_capability="8.9"))
    assert "is for compute capability 8.6, this GPU (NVIDIA L4) has 8.9" in refusal(
        written(tmp_path, options=compatible)
    )


@pytest.mark.parametrize(("capability", "is_refused"), [("7.5", True), ("8.0", False), ("10.0", False)])
def test_an_ampere_plus_engine_is_for_newer_gpus(tmp_path, tensorrt, monkeypatch, capability, is_refused):
    path = written(tmp_path, options={"hardware_compatibility": "ampere+"})
    monkeypatch.setattr(engine, "current_gpu", lambda: Gpu(name="X", compute_capability=capability))
    assert ("is for compute capability 8.0 or newer" in refusal(path)) == is_refused


def test_a_machine_without_a_gpu_is_one_line(tmp_path, tensorrt, monkeypatch):
    monkeypatch.setattr(engine, "current_gpu", lambda: None)
    assert "needs an NVIDIA GPU, and this machine's driver shows none" in refusal(written(tmp_path))


def test_an_rtx_engine_is_for_the_architectures_of_its_manifest(tmp_path, tensorrt, monkeypatch):
    stated = {"flavour": "tensorrt-rtx", "version": "1.7.1.116", "gpu": None, "compute_capabilities": ["7.5", "12.0"]}
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", tensorrt)
    tensorrt.__version__ = "1.7.1.116"
    assert "is for compute capability 7.5, 12.0, this GPU (NVIDIA A10) has 8.6: build it again with --comp" in refusal(
        written(tmp_path, tensorrt=stated)
    )


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A file under the plugin's name."""
    path = tmp_path / "libfade_tensorrt.so"
    path.write_bytes(b"a plugin")
    return path


def test_a_missing_plugin_library_is_one_line(tmp_path, tensorrt, library, monkeypatch):
    path = written(tmp_path, plugin=built_with(library))
    assert "was built with the plugin library libfade_tensorrt.so, which is left out: give its" in refusal(
        path, plugin="none"
    )
    monkeypatch.setattr("fade_deploy.runtimes.native_libraries._FOLDER", tmp_path / "nowhere")
    assert "which is not installed here: give its path" in refusal(path)
    assert "is not there" in refusal(path, plugin=tmp_path / "nowhere.so")
    assert "libfade_tensorrt.so can't be loaded by TensorRT (it gives no reason)" in refusal(path, plugin=library)


def test_another_plugin_library_is_never_loaded(tmp_path, tensorrt, library, monkeypatch):
    path = written(tmp_path, plugin=built_with(library))
    library.write_bytes(b"b plugin")
    monkeypatch.setattr(engine, "load_plugin", lambda *_: pytest.fail("it was loaded"))
    message = refusal(path, plugin=library)
    assert f"was built with another plugin library than {library} (SHA-256): give the path of that one" in message


def test_a_manifest_that_does_not_tell_the_plugin_is_one_line(tmp_path, tensorrt, library):
    for stated in ({}, {"file": library.name, "embedded": False}, {**built_with(library), "embedded": "no"}):
        assert "does not say which plugin library the engine was built with" in refusal(
            written(tmp_path, plugin=stated)
        )


def test_the_runner_of_the_other_tensorrt_is_never_used(tmp_path, tensorrt, monkeypatch):
    """Polygraphy looks up once which TensorRT it runs."""
    from polygraphy import config

    monkeypatch.setitem(sys.modules, "polygraphy.backend.trt", ModuleType("polygraphy.backend.trt"))
    monkeypatch.setattr(config, "USE_TENSORRT_RTX", True)
    message = refusal(written(tmp_path))
    assert "is for TensorRT, and this process has loaded Polygraphy for the other TensorRT" in message


def test_code_in_a_file_runs_only_where_it_is_allowed(tmp_path, tensorrt, library):
    path = written(tmp_path, plugin=built_with(library, embedded=True))
    assert "holds an embedded plugin, code that would run on this machine" in refusal(path)
    assert "TensorRT 10.16.1.11 refuses" in refusal(path, allow_code=True)


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("Cannot deserialize plugin FadeUpsample, namespace fade, version 1", "it needs a plugin that is not loaded"),
        (
            "The engine plan file is generated on an incompatible device, expecting compute 8.6 got compute 9.0",
            "another GPU",
        ),
        (
            "Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed.Version tag does not match",
            "another version",
        ),
        ("Serialization assertion magicTagRead == kMAGIC_TAG failed.Magic tag does not match", "is no engine of this"),
        ("Cuda error: out of memory", "too little memory"),
        ("something new", "expected the engine of its manifest: build it again"),
    ],
)
def test_tensorrts_own_refusal_is_one_line(tmp_path, tensorrt, said, meaning):
    tensorrt.said = ["first", said]
    message = refusal(written(tmp_path))
    assert meaning in message
    assert said in message


@needs_rtx
@pytest.mark.parametrize("change", ["other bytes at its head", "cut short"])
def test_what_tensorrt_rtx_itself_says_of_a_damaged_engine_is_understood(tiny_onnx, tmp_path, change):
    """It says so without a GPU, too."""
    options = EngineOptions(
        flavour=Flavour.RTX, profile=ShapeProfile.parse("1x32x32"), compute_capabilities=("8.6",), plugin="none"
    )
    path = export_engine(tiny_onnx, tmp_path / "tiny.engine", options).path
    data = path.read_bytes()
    path.write_bytes(b"else" + data[4:] if change != "cut short" else data[: len(data) // 2])
    said = subprocess.run(
        [sys.executable, "-c", DESERIALIZED, str(path)], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    message = str(tensorrt_refusal(path, read_manifest(path), said.strip(), version="1.7.1"))
    assert "it is no engine of this TensorRT, or is damaged" in message


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"picture": np.zeros((1, 3, 64, 64), np.float32)}, "given the inputs picture, expected image"),
        ({"image": np.zeros((1, 3, 64, 64))}, "input 'image' is float64, expected float32"),
        ({"image": np.zeros((1, 3, 32, 64), np.float32)}, r"input 'image' is \[1, 3, 32, 64\], the engine takes"),
        ({"image": np.zeros((3, 64, 64), np.float32)}, r"input 'image' is \[3, 64, 64\], the engine takes"),
    ],
)
def test_a_wrong_input_is_one_line(tmp_path, inputs, message):
    profile = SimpleNamespace(
        get_tensor_profile_shape=lambda name, index: ((1, 3, 64, 64), (1, 3, 128, 128), (2, 3, 256, 256))
    )
    manifest = json.loads(manifest_of(written(tmp_path)).read_text())
    loaded = engine.LoadedEngine(engine=profile, manifest=manifest, logger=None, runner=None)
    with pytest.raises(InputError, match=message):
        loaded.run(inputs)


def test_outputs_stay_as_they_are_when_the_engine_runs_again(tmp_path):
    """Polygraphy's runner returns views of buffers that its next run overwrites."""
    buffer = np.zeros((1, 2), np.float32)

    def infer(given: dict[str, Any]) -> dict[str, Any]:
        buffer[:] = given["image"].flat[0]
        return {"logits": buffer[:]}

    profile = SimpleNamespace(get_tensor_profile_shape=lambda name, index: ((1, 3, 1, 1),) * 3)
    manifest = json.loads(manifest_of(written(tmp_path)).read_text())
    runner = SimpleNamespace(infer=infer)
    loaded = engine.LoadedEngine(engine=profile, manifest=manifest, logger=None, runner=runner)
    first, _ = (loaded.run({"image": np.full((1, 3, 1, 1), value, np.float32)}) for value in (1, 2))
    assert first["logits"].tolist() == [[1, 1]]
