"""From a checkpoint, a file or an engine to a repository; config.pbtxt against the file that lies in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime
import pytest

from fade_deploy.api.export.engine import EngineResult
from fade_deploy.api.export.options import ExportOptions
from fade_deploy.api.export.triton import export_triton
from fade_deploy.contract import Head
from fade_deploy.engines.options import EngineOptions
from fade_deploy.errors import ExportError, FadeDeployError, InputError, OutputError
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.engine_manifest import manifest_of
from fade_deploy.serve.triton_options import Backend, Instance, TritonOptions
from tests.command_line import contents
from tests.serve.engine_manifest import built_with, engine_files
from tests.serve.matting_file import matting_file
from tests.serve.model_config import described, parsed

if TYPE_CHECKING:
    from fade_deploy.api.export.verified_file import ExportResult

SAMPLES = Path(__file__).parents[2] / "samples"
ON_TENSORRT = TritonOptions(backend=Backend.TENSORRT, instance=Instance.GPU)
QUICK = ExportOptions(full_verification=False)
WITHOUT_TORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "onnx", "onnx_ir", "onnxscript", "polygraphy", "PIL"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from fade_deploy.api.export.triton import export_triton
print(export_triton(sys.argv[1], sys.argv[2]).document["model"])
"""


def assert_told_as_it_is(repository: Path, name: str) -> None:
    """config.pbtxt against the session of the file in the repository."""
    config = parsed(repository / name / "config.pbtxt")
    session = onnxruntime.InferenceSession(str(repository / name / "1" / "model.onnx"))
    kinds = {"tensor(float)": "TYPE_FP32", "tensor(uint8)": "TYPE_UINT8", "tensor(int64)": "TYPE_INT64"}
    first = 1 if config.max_batch_size else 0
    for tensors, values in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert described(tensors) == {
            value.name: (
                kinds[value.type],
                [size if isinstance(size, int) else -1 for size in value.shape][first:],
            )
            for value in values
        }
        assert all(isinstance(value.shape[0], str) == bool(first) for value in values)


@pytest.mark.slow
def test_a_checkpoint_and_its_export_become_equal_repositories(
    tiny_checkpoint: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    first = export_triton(tiny_checkpoint, tmp_path / "first", export_options=QUICK)
    second = export_triton(tiny_onnx, tmp_path / "second")
    assert first.made is not None
    assert (first.passed, first.made.passed, second.passed, second.made) == (True, True, True, None)
    assert (first.path, first.document["model"]) == (tmp_path / "first", "tiny")
    assert contents(first.path) == contents(second.path)
    assert_told_as_it_is(first.path, "tiny")
    assert (first.path / "tiny" / "labels.txt").read_text() == "sky\nsea\nsand\nrock\n"
    assert set(tmp_path.iterdir()) == {first.path, second.path}


def test_a_file_on_which_the_runtimes_disagree_is_kept_and_not_served(
    tiny_export: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disagreeing(_: Path, output: Path, __: object) -> ExportResult:
        path = shutil.copy(tiny_export.path, output.with_suffix(".unverified.onnx"))
        manifest = shutil.copy(tiny_export.manifest, path.with_suffix(".json"))
        return replace(tiny_export, passed=False, path=path, manifest=manifest)

    monkeypatch.setattr("fade_deploy.api.export.export.export", disagreeing)
    result = export_triton(tmp_path / "model.pth", tmp_path / "models")
    assert (result.passed, result.path, result.document) == (False, tmp_path / "model.unverified.onnx", {})
    assert result.path.read_bytes() == tiny_export.path.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"model.unverified.onnx", "model.unverified.json"}


def test_an_exported_file_needs_neither_torch_nor_onnx(tiny_onnx: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-c", WITHOUT_TORCH, str(tiny_onnx), "models"]
    finished = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "tiny\n", "")
    assert_told_as_it_is(tmp_path / "models", "tiny")


def test_an_engine_needs_its_manifest_alone(tmp_path: Path) -> None:
    result = export_triton(engine_files(tmp_path), tmp_path / "models", ON_TENSORRT)
    assert (result.path / "matting" / "1" / "model.plan").read_bytes() == b"an engine's bytes"
    assert result.document["tensorrt"] == "10.16.1.11"
    assert result.document["run_with"] is None


@pytest.mark.parametrize("embedded", [False, True], ids=["beside", "inside"])
def test_an_engine_is_built_of_an_exported_file_and_its_plugin_comes_along(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded: bool
) -> None:
    plugin = tmp_path / "libfade_tensorrt.so"
    plugin.write_bytes(b"a plugin")
    asked: list[tuple[Path, Any, Any]] = []

    def built(source: Path, output: Path, options: Any, export_options: Any) -> EngineResult:
        asked.append((source, options, export_options))
        engine = engine_files(output.parent, plugin=built_with(plugin, embedded=options.embed_plugin)).rename(output)
        manifest = manifest_of(engine.with_name("matting.engine")).rename(manifest_of(output))
        return EngineResult(path=engine, manifest=manifest, passed=True, document={}, notes=())

    monkeypatch.setattr("fade_deploy.api.export.engine.export_engine", built)  # which needs TensorRT and a GPU
    engine_options = EngineOptions(plugin=str(plugin), embed_plugin=embedded)
    result = export_triton(tiny_onnx, tmp_path / "models", ON_TENSORRT, engine_options=engine_options)
    assert asked == [(tiny_onnx, engine_options, None)]
    assert (result.path / "tiny" / "native" / plugin.name).exists() != embedded
    assert (result.path / "tiny" / "1" / "model.plan").read_bytes() == b"an engine's bytes"
    assert {path.name for path in tmp_path.iterdir()} == {"models", plugin.name}


@pytest.mark.parametrize(
    ("options", "export_options", "told"),
    [
        (replace(ON_TENSORRT, library="auto"), None, "an engine that is built brings its own plugin along, so auto"),
        (TritonOptions(library="no.so"), None, "no.so is not there"),
        (TritonOptions(queue_delay_us=9), replace(QUICK, shape=Shape(1, 64, 64)), "--queue-delay 9 means nothing"),
        (TritonOptions(warmup=(Shape(9, 64, 64),)), QUICK, "warm-up batch 9 is not within 1 to 8"),
        (TritonOptions(warmup=(Shape(1, 60, 64),)), QUICK, "the height 60, tiny.pth takes multiples of 32: give 64"),
    ],
    ids=["library of an engine", "library", "delay", "batch", "size"],
)
def test_what_does_not_fit_a_checkpoint_is_refused_before_its_export(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: TritonOptions,
    export_options: ExportOptions | None,
    told: str,
) -> None:
    for name in ("export.export", "engine.export_engine"):
        monkeypatch.setattr(f"fade_deploy.api.export.{name}", lambda *_: pytest.fail("it was exported"))
    with pytest.raises(FadeDeployError) as raised:
        export_triton(tiny_checkpoint, tmp_path / "models", options, export_options)
    assert told in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output", [None, ".", "models"], ids=["by default", "here", "named"])
def test_where_the_repository_is_written(output: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = matting_file(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    expected = {None: "matting_triton", ".": "", "models": "models"}[output]
    export_triton(source, output)
    assert (tmp_path / "here" / expected / "matting" / "config.pbtxt").is_file()


@pytest.mark.parametrize(
    ("name", "options", "export_options", "told"),
    [
        (
            "m.engine",
            TritonOptions(),
            None,
            "is an engine, which backend onnxruntime can't take: give backend tensorrt",
        ),
        ("m.plan", TritonOptions(backend=Backend.PYTHON), None, "is an engine, which backend python can't take"),
        ("m.onnx", None, QUICK, "is exported already, options of an export don't apply: give the checkpoint"),
        ("a b.onnx", None, None, "'a b' can't be a model's name, expected letters"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(
    tmp_path: Path, name: str, options: Any, export_options: Any, told: str
) -> None:
    with pytest.raises(ExportError) as raised:
        export_triton(tmp_path / name, tmp_path / "models", options, export_options)
    assert told in str(raised.value)
    assert not (tmp_path / "models").exists()


def test_a_target_that_is_there_is_refused_before_the_export(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine").write_text("")
    with pytest.raises(OutputError, match="models is a folder that fade-export did not write, and is never replaced"):
        export_triton(tmp_path / "missing.pth", tmp_path / "models", TritonOptions(force=True))


@pytest.mark.parametrize("name", ["missing.onnx", "missing.pth"])
def test_a_missing_source_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(FadeDeployError, match=name) as raised:
        export_triton(tmp_path / name, tmp_path / "models")
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_a_user_s_own_module_is_one_line(tmp_path: Path) -> None:
    source = matting_file(tmp_path, task="module")
    with pytest.raises(InputError, match="is a user's own module"):
        export_triton(source, tmp_path / "models")


SHAPES, MATTING = "01_train_shapes/shapes_fade.pth", "02_train_matting/matting_fade.pth"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("checkpoint", "head", "embed_preprocess", "shape"),
    [
        pytest.param(checkpoint, head, embed, shape, id=f"{head}-{'bytes' if embed else 'floats'}-{shape or 'dynamic'}")
        # Each head, input and kind of size once with each checkpoint; all combinations take minutes.
        for checkpoint, head, embed, shape in (
            (SHAPES, Head.LOGITS, False, None),
            (SHAPES, Head.LABELS, True, None),
            (SHAPES, Head.PROBS, False, Shape(1, 96, 64)),
            (MATTING, Head.ALPHA, True, Shape(1, 96, 64)),
            (MATTING, Head.RAW, False, None),
        )
    ],
)
def test_every_form_of_the_shipped_checkpoints_is_told_as_it_is(
    checkpoint: str, head: Head, embed_preprocess: bool, shape: Shape | None, tmp_path: Path
) -> None:
    asked = ExportOptions(head=head, embed_preprocess=embed_preprocess, shape=shape, full_verification=False)
    result = export_triton(SAMPLES / checkpoint, tmp_path / "models", TritonOptions(name="model"), asked)
    assert result.passed
    assert_told_as_it_is(result.path, "model")
    assert result.document["max_batch_size"] == (0 if shape else 8)
    sizes = [tuple(warm["image"][1:3] if embed_preprocess else warm["image"][2:]) for warm in result.document["warmup"]]
    multiple = result.document["metadata"]["size_multiple"]
    assert sizes == ([(96, 64)] if shape else [(multiple, multiple), (512, 512)])
