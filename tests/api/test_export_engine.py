"""From a checkpoint or an exported file to an engine: what is written, what is refused, what is not needed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fade_deploy.api.export.engine import export_engine
from fade_deploy.api.export.options import ExportOptions
from fade_deploy.contract import METADATA_KEY, Head
from fade_deploy.engines.options import EngineOptions
from fade_deploy.engines.profile import ShapeProfile
from fade_deploy.errors import ExportError, InputError, MissingDependency, OutputError
from fade_deploy.precision import Precision
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.engine import load_engine
from fade_deploy.runtimes.engine_flavour import Flavour
from fade_deploy.runtimes.engine_manifest import manifest_of, read_manifest
from fade_deploy.tolerances import TOLERANCES, Tolerance
from tests.command_line import contents
from tests.engines.rtx import needs_rtx

PROFILE = ShapeProfile.parse("1x64x64:1x256x256:2x512x512")
RTX = EngineOptions(flavour=Flavour.RTX, profile=PROFILE, compute_capabilities=("8.6", "12.0"))


@pytest.fixture(scope="module")
def tiny_engine(tiny_onnx, tmp_path_factory):
    """The tiny file as an engine, with nothing else in its folder."""
    return export_engine(tiny_onnx, tmp_path_factory.mktemp("engine") / "tiny.rtx.engine", RTX)


@needs_rtx
def test_exported_file_becomes_an_engine_with_its_manifest(tiny_engine):
    result, target = tiny_engine, tiny_engine.path
    assert result.passed
    assert sorted(contents(target.parent)) == ["tiny.rtx.engine", "tiny.rtx.engine.json"]
    document = read_manifest(target)
    assert document == result.document
    assert document["tensorrt"]["flavour"] == "tensorrt-rtx"
    assert document["tensorrt"]["compute_capabilities"] == ["8.6", "12.0"]
    assert document["profile"] == {"min": "1x64x64", "opt": "1x256x256", "max": "2x512x512"}
    assert document["inputs"] == [{"name": "image", "dtype": "float32", "shape": [-1, 3, -1, -1]}]
    assert [entry["name"] for entry in document["outputs"]] == ["logits"]
    assert document["metadata"]["classes"] == ["sky", "sea", "sand", "rock"]
    assert document["read_from"] == "network"
    assert document["network"]["count"] == len(document["network"]["each"])
    assert document["plugin"] is None
    assert document["artefact"]["bytes"] == target.stat().st_size
    assert str(target.parent) not in json.dumps(document)
    assert document["reproduce"] == (
        "fade-export tiny.onnx --format tensorrt-rtx --profile 1x64x64:1x256x256:2x512x512 "
        "--compute-capability 8.6,12.0 -o tiny.rtx.engine"
    )


@pytest.mark.slow
@needs_rtx
def test_checkpoint_becomes_an_engine_in_fp16(tiny_checkpoint, tmp_path):
    target = tmp_path / "tiny.engine"
    options = ExportOptions(precision=Precision.FP16, full_verification=False)
    result = export_engine(tiny_checkpoint, target, RTX, options)
    assert result.passed
    assert result.document["precisions"] == ["fp32", "fp16"]
    counts = result.document["network"]["by_precision"]
    assert counts["fp16"] > 0
    assert "--precision fp16" in result.document["reproduce"]
    assert sorted(contents(tmp_path)) == ["tiny.engine", "tiny.engine.json"]


@needs_rtx
def test_file_of_fixed_size_needs_no_profile(tiny_checkpoint, tmp_path):
    options = ExportOptions(shape=Shape(1, 64, 96), full_verification=False)
    rtx = EngineOptions(flavour=Flavour.RTX, compute_capabilities=("8.6",))
    result = export_engine(tiny_checkpoint, tmp_path / "tiny.engine", rtx, options)
    assert result.document["profile"] is None
    assert result.document["inputs"][0]["shape"] == [1, 3, 64, 96]


@needs_rtx
def test_exported_file_needs_no_pytorch(tiny_onnx, tmp_path):
    script = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {{"torch", "onnxscript", "onnxruntime", "polygraphy"}}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
from pathlib import Path
from fade_deploy.api.export.engine import export_engine
from fade_deploy.api.export.options import ExportOptions
from fade_deploy.engines.options import EngineOptions
from fade_deploy.precision import Precision
from fade_deploy.runtimes.engine_flavour import Flavour
options = EngineOptions(flavour=Flavour.RTX, compute_capabilities=("8.6",))
result = export_engine({str(tiny_onnx)!r}, Path("tiny.engine"), options, ExportOptions(precision=Precision.FP16))
print(result.document["precisions"])
"""
    finished = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "['fp32', 'fp16']"


@needs_rtx
def test_an_rtx_engine_is_refused_without_its_gpu(tiny_engine):
    with pytest.raises((MissingDependency, InputError), match=r"needs an NVIDIA GPU|is for compute capability"):
        load_engine(tiny_engine.path)


@pytest.fixture(scope="module")
def small_recipe(tmp_path_factory):
    """The recipe of the tiny model, compared with PyTorch at two small sizes."""
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text('extends = "segformer"\n[verify]\nquick = ["1x32x32", "2x64x96"]\n')
    return str(path)


@needs_rtx
@pytest.mark.parametrize(
    "options",
    [
        ExportOptions(head=Head.LABELS, embed_preprocess=True),
        ExportOptions(head=Head.PROBS),
        ExportOptions(opset=23, precision=Precision.BF16, io_precision=Precision.FP16),
        ExportOptions(fuse=False, precision=Precision.FP16),
        ExportOptions(standard_ops=True),
    ],
    ids=["labels, pictures in", "probs", "opset 23, bf16, io fp16", "not fused, fp16", "standard operators"],
)
@pytest.mark.parametrize("shape", [Shape(1, 64, 96), pytest.param(None, marks=pytest.mark.slow)], ids=["fixed", "any"])
def test_every_form_of_a_file_is_built(tiny_checkpoint, small_recipe, tmp_path, options, shape):
    rtx = EngineOptions(flavour=Flavour.RTX, profile=None if shape else PROFILE, compute_capabilities=("8.6",))
    asked = replace(options, full_verification=False, recipe=small_recipe, shape=shape)
    result = export_engine(tiny_checkpoint, tmp_path / "tiny.engine", rtx, asked)
    given, returned = result.document["inputs"][0], result.document["outputs"][0]
    io = "float16" if options.io_precision is Precision.FP16 else "float32"
    assert given["dtype"] == ("uint8" if options.embed_preprocess else io)
    assert returned["dtype"] == ("int64" if options.head is Head.LABELS else io)
    assert returned["name"] == (options.head or Head.LOGITS).output


@needs_rtx
def test_a_stopped_command_leaves_nothing(tiny_onnx, tmp_path):
    """As the commands do on SIGTERM: staged files are discarded and the process ends at once, unwinding nothing."""
    script = f"""
import os, signal
from pathlib import Path
from fade_deploy import artefact
from fade_deploy.api.export.engine import export_engine
from fade_deploy.engines.options import EngineOptions
from fade_deploy.runtimes.engine_flavour import Flavour
def stop(*_):
    artefact.discard_staged()
    os._exit(143)
signal.signal(signal.SIGTERM, stop)
export_engine(Path({str(tiny_onnx)!r}), Path("tiny.engine"), EngineOptions(flavour=Flavour.RTX))
"""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".tiny.engine.*/engine")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    time.sleep(1)  # what an orphan might still write
    assert contents(tmp_path) == {}


@needs_rtx
def test_a_file_on_which_the_runtimes_disagree_is_kept_and_not_built(tiny_checkpoint, tmp_path, monkeypatch):
    exact = Tolerance(atol=0.0, why="no two runtimes agree to the last bit")
    monkeypatch.setitem(TOLERANCES, "ORT_CPU_FP32", exact)
    result = export_engine(tiny_checkpoint, tmp_path / "tiny.engine", RTX, ExportOptions(full_verification=False))
    assert not result.passed
    assert result.path == tmp_path / "tiny.unverified.onnx"
    assert sorted(contents(tmp_path)) == ["tiny.unverified.json", "tiny.unverified.onnx"]


def refused(
    source: Path, target: Path, options: EngineOptions = RTX, export_options: ExportOptions | None = None
) -> str:
    before = contents(target.parent)
    with pytest.raises((ExportError, InputError, OutputError, MissingDependency)) as error:
        export_engine(source, target, options, export_options)
    assert contents(target.parent) == before
    message = str(error.value)
    assert "\n" not in message
    return message


def test_an_existing_engine_or_manifest_needs_force(tiny_onnx, tmp_path):
    target = tmp_path / "tiny.engine"
    for path in (target, manifest_of(target)):
        path.write_text("mine")
        assert f"{path} exists; give another name with -o, or --force" in refused(tiny_onnx, target)
        path.unlink()


def test_a_name_that_no_engine_has_is_refused(tiny_onnx, tmp_path):
    assert "does not end in .engine or .plan" in refused(tiny_onnx, tmp_path / "tiny.onnx")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (ExportOptions(head=Head.PROBS), "'head'"),
        (ExportOptions(embed_preprocess=True), "'embed_preprocess'"),
        (ExportOptions(shape=Shape(1, 64, 64)), "'shape'"),
    ],
)
def test_what_an_exported_file_has_settled_can_not_be_chosen(tiny_onnx, tmp_path, options, named):
    message = refused(tiny_onnx, tmp_path / "tiny.engine", export_options=options)
    assert f"is exported already, so its {named} can't be chosen here" in message


def test_a_file_that_is_no_onnx_is_one_line(tmp_path):
    path = tmp_path / "in" / "tiny.onnx"
    path.parent.mkdir()
    assert "is not a file" in refused(path, tmp_path / "tiny.engine")
    path.write_bytes(b"nothing of the kind")
    assert "is not a readable ONNX file" in refused(path, tmp_path / "tiny.engine")


def test_a_file_of_others_is_one_line(tiny_onnx, tmp_path):
    import onnx

    proto = onnx.load(tiny_onnx)
    del proto.metadata_props[:]
    path = tmp_path / "foreign.onnx"
    onnx.save(proto, path)
    assert "has no metadata 'fade_deploy'" in refused(path, tmp_path / "tiny.engine")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("size_multiple", 0, "'size_multiple' is 0, expected an integer from 1"),
        ("size_multiple", "x", """'size_multiple' is "x", expected an integer"""),
        ("task", "song", """'task' is "song", expected one of"""),
    ],
)
def test_metadata_of_another_kind_is_one_line(tiny_onnx, tmp_path, field, value, told):
    import onnx

    proto = onnx.load(tiny_onnx)
    (entry,) = (entry for entry in proto.metadata_props if entry.key == METADATA_KEY)
    entry.value = json.dumps({**json.loads(entry.value), field: value})
    path = tmp_path / "changed.onnx"
    onnx.save(proto, path)
    assert told in refused(path, tmp_path / "tiny.engine")


def test_an_engine_is_not_built_of_an_engine(tmp_path):
    assert "is an engine, expected the checkpoint or .onnx file" in refused(tmp_path / "a.plan", tmp_path / "b.engine")


def test_a_profile_that_does_not_fit_is_one_line(tiny_onnx, tmp_path):
    options = EngineOptions(flavour=Flavour.RTX, profile=ShapeProfile.parse("1x250x256"))
    assert "the height 250, tiny.onnx takes multiples of 32: give 256" in refused(
        tiny_onnx, tmp_path / "tiny.engine", options
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"profile": ShapeProfile.parse("1x250x256")}, "the height 250, tiny.pth takes multiples of 32: give 256"),
        ({"embed_plugin": True, "plugin": "none"}, "--embed-plugin has nothing to embed"),
        ({"compute_capabilities": ("9.0",)}, "can't build for compute capability 9.0, expected some of 7.5"),
        ({"plugin": __file__}, "can't be loaded by TensorRT"),
        ({"flavour": Flavour.TENSORRT, "timing_cache": Path("no/cache")}, "no does not exist; create the folder"),
    ],
    ids=["profile", "plugin to embed", "compute capability", "plugin", "timing cache"],
)
@needs_rtx
def test_what_can_not_be_built_is_told_before_the_export(tiny_checkpoint, tmp_path, monkeypatch, options, told):
    monkeypatch.setattr("fade_deploy.api.export.export.export", lambda *_: pytest.fail("it was exported"))
    given = EngineOptions(**{"flavour": Flavour.RTX, **options})
    assert told in refused(tiny_checkpoint, tmp_path / "tiny.engine", given)


def test_a_file_that_would_be_kept_is_never_overwritten(tiny_checkpoint, tmp_path):
    (tmp_path / "tiny.unverified.onnx").write_text("mine")
    assert "tiny.unverified.onnx exists; give another name" in refused(tiny_checkpoint, tmp_path / "tiny.engine")


def test_tensorrt_that_is_not_installed_is_one_line(tiny_onnx, tmp_path):
    import importlib.util

    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed here")
    message = refused(tiny_onnx, tmp_path / "tiny.engine", EngineOptions(profile=PROFILE))
    assert "tensorrt is not installed; install it with: pip install 'fade-deploy[tensorrt]'" in message
