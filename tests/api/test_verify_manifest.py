"""An artefact is verified again from its manifest alone, where there is no PyTorch, and a change of it is seen."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import pytest

from fade_deploy import artefact
from fade_deploy.api.verify.checkpoint import deployed_checkpoint, golden_outputs
from fade_deploy.api.verify.options import Backend, VerifyOptions
from fade_deploy.api.verify.verify import verify
from fade_deploy.errors import InputError
from fade_deploy.runtimes.native_libraries import NONE, NativeLibrary
from fade_deploy.tolerances import tolerance
from tests.api.planted_faults import with_weights

WITHOUT_ALL_BUT_ORT_CPU = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "onnx", "onnx_ir", "onnxscript", "polygraphy", "safetensors"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
sys.argv[0] = "fade-verify"
from fade_deploy.cli.verify import main
main()
"""


@pytest.fixture(scope="module")
def manifest(tiny_onnx: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny_onnx`` and its manifest, with golden outputs of its checkpoint."""
    folder = tmp_path_factory.mktemp("golden")
    for name in ("tiny.onnx", "tiny.json"):
        shutil.copy(tiny_onnx.with_name(name), folder)
    path = folder / "tiny.json"
    document = json.loads(path.read_text())
    model = deployed_checkpoint(tiny_checkpoint, document, VerifyOptions())
    deployed = model.deployed(model.model, model.head, embed_preprocess=False)
    document["golden"] = golden_outputs(deployed, tolerance("ORT_CPU_FP32"), None)
    path.write_bytes(artefact.json_bytes(document))
    return path


def copied(manifest: Path, folder: Path, change: Callable[[Any], None] = lambda document: None) -> Path:
    """The artefact and its manifest, which says something else."""
    shutil.copy(manifest.with_suffix(".onnx"), folder)
    document = json.loads(manifest.read_text())
    change(document)
    (folder / "tiny.json").write_text(json.dumps(document))
    return folder / "tiny.json"


def test_the_artefact_agrees_in_every_way_that_it_runs(manifest: Path) -> None:
    result = verify([manifest])
    assert result.passed
    ways = ["tiny.onnx cpu", *(["tiny.onnx cpu native"] if NativeLibrary.ONNXRUNTIME_CPU.installed else [])]
    assert [run.name for run in result.runs] == ways
    assert [str(used.shape) for used in result.inputs] == ["1x128x224", "2x96x64", "1x224x160"]
    for found in result.comparisons:
        assert found.measures is not None
        assert 0 < found.measures.max_error < 1e-4
    assert result.reference.runtime.startswith("PyTorch ")


def test_a_manifest_stays_small(manifest: Path) -> None:
    assert manifest.stat().st_size < 100_000


def test_it_needs_nothing_but_onnxruntime(manifest: Path, tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", WITHOUT_ALL_BUT_ORT_CPU, str(manifest), "--json", "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["status"] == "passed"


def test_a_file_that_was_changed_is_told_by_its_hash(manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "with a blank"
    folder.mkdir()
    path = copied(manifest, folder)
    with path.with_suffix(".onnx").open("ab") as file:
        file.write(b"\x00")
    result = verify([path])
    assert not result.passed
    assert "sha256 is" in result.comparisons[0].reason
    assert [(run.name, run.runtime) for run in result.runs] == [("tiny.onnx", "not run")]
    assert result.inputs == ()
    assert shlex.split(result.command) == ["fade-verify", str(path)]


def test_another_file_under_the_manifests_hash_is_told_by_its_outputs(manifest: Path, tmp_path: Path) -> None:
    path = copied(manifest, tmp_path)
    file = path.with_suffix(".onnx")
    with_weights(file, file, {"backbone.block2.0.attn.sr.weight": lambda values: values * np.float32(1.1)})
    document = json.loads(path.read_text())
    document["artefact"]["sha256"] = artefact.sha256_of(file)
    path.write_text(json.dumps(document))
    result = verify([path], VerifyOptions(library=NONE))
    assert [found.passed for found in result.comparisons] == [False] * 3
    assert shlex.split(result.command) == ["fade-verify", str(path), "--library", "none"]
    assert verify([path], VerifyOptions(library=NONE, tolerance="10")).passed


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.pop("golden"), "has no golden outputs"),
        (lambda d: d.pop("artefact"), "names no artefact"),
        (lambda d: d["artefact"].update(file="../tiny.onnx"), "expected a file beside it"),
        (lambda d: d["artefact"].update(file="other.onnx"), "is not there, expected the artefact beside"),
        (lambda d: d["agreement"].pop("tolerance"), "states no tolerance"),
        (lambda d: d.update(agreement=[]), "states no tolerance"),
        (lambda d: d.pop("mean"), "does not describe its model: 'mean' is missing"),
        (lambda d: d.update(task="poetry"), "does not describe its model: 'task' is"),
        (lambda d: d.update(tensorrt={}), "is the manifest of an engine, which carries no golden outputs"),
        (lambda d: d["artefact"].update(file=""), "names the artefact , expected a file beside it"),
    ],
)
def test_a_manifest_that_does_not_do_is_refused(manifest: Path, tmp_path: Path, change: Any, says: str) -> None:
    with pytest.raises(InputError) as raised:
        verify([copied(manifest, tmp_path, change)])
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (VerifyOptions(seed=1), "--seed means nothing for a manifest"),
        (VerifyOptions(ema=True), "--ema means nothing for a manifest"),
        (VerifyOptions(on=(Backend.OPENVINO,)), "--on openvino is not for a manifest"),
    ],
)
def test_options_that_a_manifest_settles_are_refused(manifest: Path, options: VerifyOptions, says: str) -> None:
    with pytest.raises(InputError, match=says):
        verify([manifest], options)


def test_a_manifest_is_verified_alone(manifest: Path, tiny_checkpoint: Path) -> None:
    with pytest.raises(InputError, match="a manifest is verified on its own"):
        verify([manifest, tiny_checkpoint])


@pytest.mark.parametrize(("content", "says"), [("{", "is not JSON"), ("[]", "names no artefact")])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(InputError, match=says):
        verify([tmp_path / "m.json"])
    with pytest.raises(InputError, match="can't be read"):
        verify([tmp_path / "missing.json"])


def test_what_is_not_finite_is_named(manifest: Path, tmp_path: Path) -> None:
    path = copied(manifest, tmp_path)
    file = path.with_suffix(".onnx")
    with_weights(file, file, {"decode_head.classes.bias": lambda values: values * np.float32(np.nan)})
    document = json.loads(path.read_text())
    document["artefact"]["sha256"] = artefact.sha256_of(file)
    path.write_text(json.dumps(document))
    assert re.match(r"\d+ NaN and 0 infinite values", verify([path], VerifyOptions(library=NONE)).comparisons[0].reason)


def test_too_little_memory_is_one_line(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fade_deploy.api.verify import manifest as verifying

    def full(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(verifying, "output_of", full)
    with pytest.raises(InputError, match=r"tiny.onnx cpu takes more memory at 1x128x224 than this machine has"):
        verify([manifest])


def test_a_library_that_would_do_nothing_is_refused(manifest: Path, tmp_path: Path) -> None:
    path = copied(manifest, tmp_path)
    file = path.with_suffix(".onnx")
    onnx.save(onnx.inliner.inline_local_functions(onnx.load(file)), file)
    document = json.loads(path.read_text())
    document["artefact"]["sha256"] = artefact.sha256_of(file)
    path.write_text(json.dumps(document))
    (tmp_path / "library.so").touch()
    with pytest.raises(InputError, match=r"has no fade operator, so --library .* does nothing"):
        verify([path], VerifyOptions(library=str(tmp_path / "library.so")))
    assert [run.name for run in verify([path]).runs] == ["tiny.onnx cpu"]
