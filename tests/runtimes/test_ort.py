"""Sessions from good and bad files, and the metadata of a deployed file."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fade_deploy.errors import InputError, MissingDependency
from fade_deploy.runtimes.deployed_metadata import deployed_metadata
from fade_deploy.runtimes.ort import output_of, session_from_onnx

GOOD: dict[str, Any] = {
    "task": "segmentation",
    "head": "logits",
    "embed_preprocess": False,
    "classes": ["wall", "sky", "sea"],
    "palette": [[0, 0, 0], [255, 0, 9]],
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "size_multiple": 32,
    "short_side": 512,
    "long_side": 2048,
    "model": "segformer_b1_fade",
}


def model_bytes(
    operator: str = "Identity", *, domain: str = "", opset: int = 18, ir: int = 10, metadata: str | None = None
) -> bytes:
    axes = ["batch", 3, "height", "width"]
    graph = helper.make_graph(
        [helper.make_node(operator, ["image"], ["logits"], domain=domain)],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, axes)],
    )
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=ir)
    if metadata is not None:
        helper.set_model_props(model, {"fade_deploy": metadata})
    return model.SerializeToString()


def saved(folder: Path, content: bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(content)
    return path


def test_a_session_runs_on_the_cpu(tmp_path: Path) -> None:
    session = session_from_onnx(saved(tmp_path, model_bytes()), threads=1)
    assert session.get_providers() == ["CPUExecutionProvider"]
    image = np.ones((1, 3, 2, 2), np.float32)
    np.testing.assert_array_equal(session.run(None, {"image": image})[0], image)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"hello world\n" * 9, "is not ONNX or is truncated", id="text"),
        pytest.param(b"PK\x03\x04" + bytes(200), "is not ONNX or is truncated", id="checkpoint"),
        pytest.param(b"\x08\x0a", "is not ONNX or is truncated", id="no graph"),
        pytest.param(model_bytes()[:60], "is not ONNX or is truncated", id="cut in the middle"),
        pytest.param(model_bytes()[:-1], "is not ONNX or is truncated", id="cut at the end"),
        pytest.param(model_bytes(opset=99), "has opset 99 of ai.onnx, onnxruntime", id="opset"),
        pytest.param(model_bytes(ir=99), "has ONNX IR version 99, onnxruntime", id="IR version"),
        pytest.param(
            model_bytes("FadeUpsample", domain="fade"),
            "was exported without its function bodies, expected a body for FadeUpsample",
            id="no body",
        ),
        pytest.param(model_bytes("Foo", domain="bar"), "bar:Foo", id="foreign operator"),
        pytest.param(model_bytes("Fooo"), "No Op registered for Fooo", id="unknown operator"),
    ],
)
def test_a_bad_file_is_one_clear_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes, expected: str
) -> None:
    path = saved(tmp_path, content)
    with pytest.raises(InputError) as error:
        session_from_onnx(path, library="none")
    text = str(error.value)
    assert text.startswith(f"{path} ")
    assert expected in text
    assert "\n" not in text
    assert "onnxruntime_src" not in text
    assert capfd.readouterr() == ("", "")  # onnxruntime itself stays quiet


def test_a_missing_file_and_a_folder_are_one_clear_line(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no.onnx", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError, match=f"{path} can't be read \\({reason}.*fade-export"):
            session_from_onnx(path)


def test_both_onnxruntimes_at_once_are_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("onnxruntime", "onnxruntime_gpu"):
        info = tmp_path / f"{package}-1.31.1.dist-info" / "METADATA"
        info.parent.mkdir()
        info.write_text(f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: 1.31.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependency, match=r"overwrite each other.*pip uninstall -y onnxruntime onnxruntime-gpu"):
        session_from_onnx(saved(tmp_path, model_bytes()))


def test_metadata_is_given_back_whole(tmp_path: Path) -> None:
    session = session_from_onnx(saved(tmp_path, model_bytes(metadata=json.dumps(GOOD))))
    assert deployed_metadata(session) == GOOD


@pytest.mark.parametrize("metadata", [None, "", "{", "[]", "3", "[" * 100_000], ids=lambda text: str(text)[:5])
def test_a_file_of_others_is_one_clear_line(tmp_path: Path, metadata: str | None) -> None:
    session = session_from_onnx(saved(tmp_path, model_bytes(metadata=metadata)))
    with pytest.raises(InputError, match=r"^a\.onnx has .*: export it from its checkpoint with fade-export$"):
        deployed_metadata(session, name="a.onnx")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("task", "depth"),
        ("task", ["matting"]),
        ("head", "alpha"),
        ("head", ["logits"]),
        ("head", "probs"),  # a head, but this file has no such output
        ("embed_preprocess", 1),
        ("classes", 150),
        ("classes", [1, 2]),
        ("classes", []),
        ("classes", ["many"] * 65_537),
        ("palette", [[0, 0]]),
        ("palette", [[0, 0, 256]]),
        ("mean", [1, 2]),
        ("std", [1, 2, 0]),
        ("mean", [1, 2, float("inf")]),
        ("mean", [1, 2, float("nan")]),
        ("mean", [1, 2, 10**400]),  # too large for a float
        ("mean", [-(10**400), 1, 2]),
        ("mean", [1, 2, 1e39]),  # and for a float32
        ("std", [1, 2, 10**400]),
        ("std", [1, 2, 1e-320]),  # 0 in float32
        ("std", [1, 2, 1e-37]),  # not 0, but a picture divided by it is infinite
        ("size_multiple", 0),
        ("size_multiple", 1_000_000_000),  # a picture of that side would take all memory
        ("short_side", 512.5),
        ("long_side", None),
    ],
)
def test_a_wrong_or_missing_field_is_named(tmp_path: Path, key: str, value: Any) -> None:
    broken = copy.deepcopy(GOOD)
    broken[key] = value
    session = session_from_onnx(saved(tmp_path, model_bytes(metadata=json.dumps(broken))))
    with pytest.raises(InputError, match=f"'{'probs' if value == 'probs' else key}'"):
        deployed_metadata(session)
    del broken[key]
    session = session_from_onnx(saved(tmp_path, model_bytes(metadata=json.dumps(broken))))
    with pytest.raises(InputError, match=f"'{key}' is missing"):
        deployed_metadata(session)


@pytest.mark.parametrize(("mean", "std"), [(0, 1e-15), (-1e15, 1e-15), (1e15, 1e15), (123.675, 58.395)])
def test_whatever_normalisation_passes_stays_finite_in_float32(tmp_path: Path, mean: float, std: float) -> None:
    facts = json.dumps(GOOD | {"mean": [mean] * 3, "std": [std] * 3})
    found = deployed_metadata(session_from_onnx(saved(tmp_path, model_bytes(metadata=facts))))
    with np.errstate(all="raise"):
        levels = np.array([0, 255], np.uint8)
        assert np.isfinite((levels - np.float32(found["mean"][0])) / np.float32(found["std"][0])).all()


def test_an_output_is_what_the_file_computes(tmp_path: Path) -> None:
    session = session_from_onnx(saved(tmp_path, model_bytes("Neg")))
    image = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    np.testing.assert_array_equal(output_of(session, "logits", {"image": image}), -image)


@pytest.mark.parametrize(
    "image", [np.zeros((3, 2, 2), np.float32), np.zeros((1, 4, 2, 2), np.float32), np.zeros((1, 3, 2, 2))]
)
def test_what_onnxruntime_refuses_is_one_clear_line(tmp_path: Path, image: np.ndarray) -> None:
    session = session_from_onnx(saved(tmp_path, model_bytes()))
    with pytest.raises(InputError, match=r"^a\.onnx can't be run by onnxruntime .*: export it again$") as error:
        output_of(session, "logits", {"image": image}, name="a.onnx")
    assert "\n" not in str(error.value)
    assert "ONNXRuntimeError" not in str(error.value)


def test_a_module_of_the_user_is_not_to_be_exported_again(tmp_path: Path) -> None:
    session = session_from_onnx(saved(tmp_path, model_bytes(metadata='{"task": "module"}')))
    with pytest.raises(InputError, match=r"^a\.onnx is a user's own module .*: run it with onnxruntime$"):
        deployed_metadata(session, name="a.onnx")


def test_a_palette_may_be_empty(tmp_path: Path) -> None:
    session = session_from_onnx(saved(tmp_path, model_bytes(metadata=json.dumps(GOOD | {"palette": []}))))
    assert deployed_metadata(session)["palette"] == []


@pytest.mark.parametrize("classes", [["wall"], ["wall", "sky", "sea", "sand"]])
def test_another_number_of_names_than_of_outputs_is_refused(tmp_path: Path, classes: list[str]) -> None:
    session = session_from_onnx(saved(tmp_path, model_bytes(metadata=json.dumps(GOOD | {"classes": classes}))))
    with pytest.raises(InputError, match=f"3 outputs and names {len(classes)} classes"):
        deployed_metadata(session)


MATTING = {key: GOOD[key] for key in ("embed_preprocess", "mean", "std")} | {
    "task": "matting",
    "head": "raw",
    "size_multiple": 16,
}


def matting_bytes(metadata: dict[str, Any], output: str = "alpha") -> bytes:
    model = onnx.load_from_string(model_bytes(metadata=json.dumps(metadata)))
    model.graph.output[0].name = model.graph.node[0].output[0] = output
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("head", ["raw", "alpha"])
def test_a_matting_file_needs_nothing_of_segmentation(tmp_path: Path, head: str) -> None:
    metadata = MATTING | {"head": head}
    assert deployed_metadata(session_from_onnx(saved(tmp_path, matting_bytes(metadata)))) == metadata


def test_what_a_matting_file_says_of_classes_is_not_read(tmp_path: Path) -> None:
    metadata = MATTING | {"classes": 3, "palette": None}
    assert deployed_metadata(session_from_onnx(saved(tmp_path, matting_bytes(metadata)))) == metadata


@pytest.mark.parametrize(
    ("key", "value"),
    [("head", "logits"), ("embed_preprocess", None), ("mean", [1]), ("std", 0), ("size_multiple", 1.5)],
)
def test_a_wrong_or_missing_field_of_matting_is_named(tmp_path: Path, key: str, value: Any) -> None:
    session = session_from_onnx(saved(tmp_path, matting_bytes(MATTING | {key: value})))
    with pytest.raises(InputError, match=f"'{key}' is .*, expected"):
        deployed_metadata(session)
    session = session_from_onnx(saved(tmp_path, matting_bytes({k: v for k, v in MATTING.items() if k != key})))
    with pytest.raises(InputError, match=f"'{key}' is missing"):
        deployed_metadata(session)


def test_a_matting_file_calls_its_output_alpha(tmp_path: Path) -> None:
    session = session_from_onnx(saved(tmp_path, matting_bytes(MATTING, output="raw")))
    with pytest.raises(InputError, match="has the outputs raw, expected 'alpha' as its metadata says"):
        deployed_metadata(session)
