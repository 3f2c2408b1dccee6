"""``config.pbtxt`` says what the artefact is, read by Triton's own message and held against onnxruntime."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from fade_deploy.errors import ExportError, InputError
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.engine_manifest import manifest_of
from fade_deploy.serve.triton_config import config_text
from fade_deploy.serve.triton_engine import interface_of_engine
from fade_deploy.serve.triton_onnx import interface_of_onnx
from fade_deploy.serve.triton_options import Backend, Instance, TritonOptions
from tests.serve.engine_manifest import engine_files
from tests.serve.foreign_file import SEGMENTATION, foreign_file
from tests.serve.matting_file import matting_file
from tests.serve.model_config import described, parameters, parsed, warmed

GPU = TritonOptions(instance=Instance.GPU)
ENGINE = TritonOptions(backend=Backend.TENSORRT, instance=Instance.GPU)


def config_of(path: Path, options: TritonOptions | None = None, **keywords: Any) -> Any:
    """The parsed configuration of an ``.onnx`` file or an engine."""
    options = options or TritonOptions()
    read = interface_of_engine if path.suffix == ".engine" else interface_of_onnx
    return parsed(config_text("model", read(path, options.warmup), options, **keywords))


def segmentation(folder: Path, **changes: Any) -> Path:
    """A file of three classes whose logits are a quarter of the input's size."""
    text = "logits = MaxPool<kernel_shape = [4, 4], strides = [4, 4]>(image)"
    text = f"(float[n,3,h,w] image) => (float[n,3,h4,w4] logits) {{ {text} }}"
    return foreign_file(folder / "segmentation.onnx", text, facts=SEGMENTATION, **changes)


def test_a_dynamic_file_of_logits(tmp_path: Path) -> None:
    config = config_of(segmentation(tmp_path))
    assert (config.name, config.backend, config.max_batch_size) == ("model", "onnxruntime", 8)
    assert described(config.input) == {"image": ("TYPE_FP32", [3, -1, -1])}
    assert described(config.output) == {"logits": ("TYPE_FP32", [3, -1, -1])}
    assert warmed(config) == [(1, {"image": [3, 16, 16]}), (1, {"image": [3, 512, 512]})]
    assert [group.kind for group in config.instance_group] == [config.instance_group[0].KIND_CPU]
    assert config.instance_group[0].count == 1
    assert config.HasField("dynamic_batching")
    assert list(config.dynamic_batching.preferred_batch_size) == []
    assert parameters(config) == {
        "intra_op_thread_count": "0",
        "task": "segmentation",
        "head": "logits",
        "size_multiple": "16",
        "mean": json.dumps(SEGMENTATION["mean"]),
        "std": json.dumps(SEGMENTATION["std"]),
        "labels": "labels.txt",
    }


def test_labels_of_a_file_are_no_labels_of_a_classification(tmp_path: Path) -> None:
    assert [output.label_filename for output in config_of(segmentation(tmp_path)).output] == [""]


@pytest.mark.parametrize("head", ["alpha", "raw"])
@pytest.mark.parametrize("embed_preprocess", [False, True], ids=["floats", "bytes"])
@pytest.mark.parametrize(
    "shape", [("n", "h", "w"), (1, 32, 48), (2, 32, 48), ("n", 32, 48), (1, "h", "w")], ids=lambda shape: f"{shape}"
)
@pytest.mark.parametrize("backend", [Backend.ONNXRUNTIME, Backend.PYTHON])
def test_every_matting_file_is_described_as_onnxruntime_sees_it(
    tmp_path: Path, head: str, embed_preprocess: bool, shape: tuple[Any, ...], backend: Backend
) -> None:
    path = matting_file(tmp_path, head=head, embed_preprocess=embed_preprocess, shape=shape)
    config = config_of(path, TritonOptions(backend=backend))
    session = onnxruntime.InferenceSession(str(path))
    kinds = {"tensor(float)": "TYPE_FP32", "tensor(uint8)": "TYPE_UINT8"}
    first = 1 if shape[0] == "n" else 0  # Triton adds the batch axis itself where it may join requests
    for tensors, values in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        sizes = {value.name: [size if isinstance(size, int) else -1 for size in value.shape] for value in values}
        assert described(tensors) == {value.name: (kinds[value.type], sizes[value.name][first:]) for value in values}
    assert config.max_batch_size == (8 if shape[0] == "n" else 0)
    assert config.HasField("dynamic_batching") == (shape[0] == "n")
    expected = [
        (shape[0] if shape[0] != "n" else 1, *(free if isinstance(side, str) else side for side in shape[1:]))
        for free in (16, 512)
    ]
    found = []
    for batch, dims in warmed(config):
        image = dims["image"] if first == 0 else [batch, *dims["image"]]
        found.append((image[0], *(image[1:3] if embed_preprocess else image[2:])))
        assert batch == (found[-1][0] if first else 1)
    assert found == list(dict.fromkeys(expected))


def test_warm_up_sizes_are_those_asked_for_and_have_run(tmp_path: Path) -> None:
    options = TritonOptions(warmup=(Shape(1, 32, 48), Shape(3, 64, 16)))
    assert warmed(config_of(matting_file(tmp_path), options)) == [
        (1, {"image": [3, 32, 48], "trimap": [1, 32, 48]}),
        (3, {"image": [3, 64, 16], "trimap": [1, 64, 16]}),
    ]


@pytest.mark.parametrize(
    ("shape", "size", "told"),
    [
        pytest.param(("n", "h", "w"), Shape(1, 32, 50), "can't be run at 'image' [1, 3, 32, 50], ", id="no multiple"),
        pytest.param(
            (1, 32, 32), Shape(1, 32, 48), "makes 'image' [1, 3, 32, 48], expected [1, 3, 32, 32]", id="fixed"
        ),
        pytest.param(("n", "h", "w"), Shape(9, 32, 32), "warm-up batch 9 is not within 1 to 8", id="batch"),
    ],
)
def test_a_warm_up_size_that_would_keep_the_server_from_starting_is_refused(
    tmp_path: Path, shape: tuple[Any, ...], size: Shape, told: str
) -> None:
    path = matting_file(tmp_path, shape=shape)
    with pytest.raises(ExportError) as raised:
        config_of(path, TritonOptions(warmup=(size,)))
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_batches_instances_and_delay_are_as_asked_for(tmp_path: Path) -> None:
    options = TritonOptions(
        max_batch_size=16, preferred_batch_sizes=(4, 16), queue_delay_us=500, instances=2, threads=3
    )
    config = config_of(segmentation(tmp_path), options)
    assert config.max_batch_size == 16
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 16]
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    assert config.instance_group[0].count == 2
    assert parameters(config)["intra_op_thread_count"] == "3"


def test_one_request_at_a_time_needs_no_batcher(tmp_path: Path) -> None:
    config = config_of(segmentation(tmp_path), TritonOptions(max_batch_size=1))
    assert (config.max_batch_size, config.HasField("dynamic_batching")) == (1, False)
    assert described(config.input) == {"image": ("TYPE_FP32", [3, -1, -1])}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (TritonOptions(preferred_batch_sizes=(2,)), "preferred_batch_sizes (2,) means nothing where the batch is"),
        (TritonOptions(max_batch_size=8), "--max-batch-size 8 means nothing where the batch is fixed or starts"),
        (TritonOptions(queue_delay_us=100), "--queue-delay 100 means nothing where the batch is fixed"),
    ],
    ids=["preferred", "largest", "delay"],
)
def test_what_shapes_batches_is_refused_for_a_fixed_batch(tmp_path: Path, options: TritonOptions, told: str) -> None:
    path = matting_file(tmp_path, shape=(1, 32, 32))
    with pytest.raises(ExportError) as raised:
        config_of(path, options)
    assert told in str(raised.value)


def test_a_delay_is_refused_where_no_request_waits(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="--queue-delay 100 means nothing where the largest batch is 1"):
        config_of(segmentation(tmp_path), TritonOptions(max_batch_size=1, queue_delay_us=100))


def test_onnxruntime_on_a_gpu_computes_in_float32(tmp_path: Path) -> None:
    config = config_of(segmentation(tmp_path), GPU)
    assert config.instance_group[0].kind == config.instance_group[0].KIND_GPU
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert (accelerator.name, dict(accelerator.parameters)) == ("cuda", {"use_tf32": "0"})
    assert not config_of(segmentation(tmp_path)).HasField("optimization")


def test_model_py_gets_its_settings_and_the_first_gpu(tmp_path: Path) -> None:
    options = replace(GPU, backend=Backend.PYTHON, threads=2)
    config = config_of(segmentation(tmp_path), options, library="native/libfade.so")
    assert list(config.instance_group[0].gpus) == [0]
    assert not config.HasField("optimization")
    assert not config.HasField("model_operations")
    found = parameters(config)
    assert (found["threads"], found["library"]) == ("2", "native/libfade.so")


def test_a_library_of_custom_operators_is_named_by_where_the_server_sees_it(tmp_path: Path) -> None:
    options = TritonOptions(server_folder="/srv/repository/")
    config = config_of(segmentation(tmp_path), options, library="native/libfade.so")
    assert list(config.model_operations.op_library_filename) == ["/srv/repository/model/native/libfade.so"]


def test_an_engine_is_described_by_its_profile(tmp_path: Path) -> None:
    config = config_of(engine_files(tmp_path), ENGINE)
    assert (config.backend, config.max_batch_size) == ("tensorrt", 8)
    assert described(config.input) == {"image": ("TYPE_FP32", [3, -1, -1]), "trimap": ("TYPE_FP32", [1, -1, -1])}
    assert described(config.output) == {"alpha": ("TYPE_FP16", [1, -1, -1])}
    assert list(config.dynamic_batching.preferred_batch_size) == [4]
    assert warmed(config) == [
        (1, {"image": [3, 256, 256], "trimap": [1, 256, 256]}),
        (4, {"image": [3, 512, 512], "trimap": [1, 512, 512]}),
    ]
    assert config.instance_group[0].kind == config.instance_group[0].KIND_GPU


def test_an_engine_that_takes_no_single_picture_gets_no_batcher(tmp_path: Path) -> None:
    profile = {"min": "2x256x256", "opt": "4x512x512", "max": "8x1024x1024"}
    config = config_of(engine_files(tmp_path, profile=profile), ENGINE)
    assert (config.max_batch_size, config.HasField("dynamic_batching")) == (0, False)
    assert described(config.output) == {"alpha": ("TYPE_FP16", [-1, 1, -1, -1])}
    assert warmed(config)[0] == (1, {"image": [2, 3, 256, 256], "trimap": [2, 1, 256, 256]})


def test_an_engine_of_one_size_has_no_profile(tmp_path: Path) -> None:
    inputs = [
        {"name": "image", "dtype": "float32", "shape": [2, 3, 48, 64]},
        {"name": "trimap", "dtype": "float32", "shape": [2, 1, 48, 64]},
    ]
    outputs = [{"name": "alpha", "dtype": "float32", "shape": [2, 1, 48, 64]}]
    config = config_of(engine_files(tmp_path, profile=None, inputs=inputs, outputs=outputs), ENGINE)
    assert config.max_batch_size == 0
    assert described(config.input) == {
        "image": ("TYPE_FP32", [2, 3, 48, 64]),
        "trimap": ("TYPE_FP32", [2, 1, 48, 64]),
    }
    assert warmed(config) == [(1, {"image": [2, 3, 48, 64], "trimap": [2, 1, 48, 64]})]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"tensorrt": {"version": "1.7.1", "flavour": "tensorrt-rtx"}},
            "was built by TensorRT-RTX 1.7.1, expected an engine of TensorRT, which is what Triton's tensorrt backend",
        ),
        ({"profile": {"min": "1x256x256"}}, "describes no engine of fade-export (KeyError('opt')): build the engine"),
        ({"profile": None}, "describes no engine of fade-export (ValueError('open sizes, and no profile'))"),
        ({"inputs": [], "profile": None}, "describes no engine of fade-export"),
        ({"inputs": None}, "lacks 'inputs', expected a manifest that fade-export wrote"),
        ({"metadata": {"task": "matting"}}, "has metadata of the model in which 'head' is missing: build the engine"),
        (
            {"inputs": [{"name": "image", "dtype": "float32", "shape": [3]}]},
            "ValueError('inputs that are no pictures')",
        ),
        ({"outputs": [{"name": 5, "dtype": "float32", "shape": [3]}]}, "does not name the engine's inputs and outputs"),
    ],
    ids=["rtx", "profile", "no profile", "no inputs", "inputs of no kind", "foreign model", "no picture", "no name"],
)
def test_a_manifest_that_tells_too_little_is_one_line(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    path = engine_files(tmp_path, **changes)
    with pytest.raises(InputError) as raised:
        interface_of_engine(path)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_engine_without_its_manifest_is_one_line(tmp_path: Path) -> None:
    path = engine_files(tmp_path)
    manifest_of(path).unlink()
    with pytest.raises(InputError, match=r"matting.engine.json can't be read \(No such file or directory\), expected"):
        interface_of_engine(path)


def test_a_warm_up_size_that_an_engine_does_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="1x128x256 is outside the engine's profile, 1x256x256 to 8x1024x1024"):
        interface_of_engine(engine_files(tmp_path), (Shape(1, 128, 256),))
    with pytest.raises(ExportError, match="1x256x300 has a side that is no multiple of 16, which the model takes"):
        interface_of_engine(engine_files(tmp_path), (Shape(1, 256, 300),))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"instances": 0}, "instances is 0, expected 1 or more"),
        ({"max_batch_size": 0}, "max_batch_size is 0, expected 1 or more"),
        ({"queue_delay_us": -1}, "queue_delay_us is -1, expected 0 or more"),
        ({"threads": -1}, "threads is -1"),
        ({"server_folder": "models"}, "server_folder is 'models', expected an absolute path"),
        ({"backend": Backend.TENSORRT}, "backend tensorrt runs on a GPU, instance is cpu: give instance gpu"),
        (
            {"backend": Backend.TENSORRT, "instance": Instance.GPU, "max_batch_size": 4},
            "--max-batch-size means nothing for --backend tensorrt",
        ),
    ],
    ids=str,
)
def test_options_that_no_server_takes_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ExportError) as raised:
        TritonOptions(**changes)
    assert told in str(raised.value)
