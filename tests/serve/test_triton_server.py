"""Repositories of the python backend, loaded and asked by a real Triton server on the CPU."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fade_deploy.api.export.options import ExportOptions
from fade_deploy.api.export.triton import TritonResult, export_triton
from fade_deploy.contract import Head
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.native_libraries import NONE, NativeLibrary
from fade_deploy.runtimes.ort import session_from_onnx
from fade_deploy.serve.triton_options import Backend, TritonOptions
from fade_deploy.tolerances import tolerance
from tests.serve.matting_file import matting_file
from tests.serve.triton_server import Environment, Server, environment, serving

pytestmark = pytest.mark.slow

SAMPLES = Path(__file__).parents[2] / "samples"
SHAPES = SAMPLES / "01_train_shapes"
MATTING = SAMPLES / "02_train_matting"
PROTOCOLS = ("http", "grpc")
DELAY = 500_000  # microseconds; far longer than the requests of one client take to arrive


@dataclass(frozen=True, slots=True)
class Case:
    """A shipped checkpoint as it is exported and served."""

    name: str
    checkpoint: Path
    options: ExportOptions
    inputs: dict[str, tuple[int, ...]]  # of a request


CASES = (
    Case("logits", SHAPES / "shapes_fade.pth", ExportOptions(), {"image": (2, 3, 64, 96)}),
    Case(
        "labels",
        SHAPES / "shapes_fade.pth",
        ExportOptions(head=Head.LABELS, embed_preprocess=True),
        {"image": (1, 64, 96, 3)},
    ),
    Case(
        "odd",
        SHAPES / "shapes_fade.pth",
        ExportOptions(head=Head.PROBS, shape=Shape(1, 125, 157)),
        {"image": (1, 3, 125, 157)},
    ),
    Case("alpha", MATTING / "matting_fade.pth", ExportOptions(), {"image": (1, 3, 64, 96), "trimap": (1, 1, 64, 96)}),
    Case(
        "bytes",
        MATTING / "matting_fade.pth",
        ExportOptions(head=Head.RAW, embed_preprocess=True),
        {"image": (2, 48, 80, 3), "trimap": (2, 48, 80, 1)},
    ),
)


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest) -> Environment:
    return environment(request.config.cache)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TritonResult]:
    """Every case's checkpoint, exported into a repository of its own."""
    folder = tmp_path_factory.mktemp("repositories")
    results = {}
    for case in CASES:
        delay = 0 if case.options.shape else DELAY  # of a fixed batch nothing is joined
        options = TritonOptions(backend=Backend.PYTHON, name=case.name, threads=1, queue_delay_us=delay)
        quick = ExportOptions(
            **{name: getattr(case.options, name) for name in ("head", "embed_preprocess", "shape")},
            full_verification=False,
        )
        results[case.name] = export_triton(case.checkpoint, folder / case.name, options, quick)
        assert results[case.name].passed
    return results


@pytest.fixture(scope="module")
def server(
    made: Environment, exported: dict[str, TritonResult], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    repositories = [result.path for result in exported.values()]
    with serving(made, tmp_path_factory.mktemp("server"), repositories) as started:
        yield started


def request_for(case: Case) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    if case.options.embed_preprocess:
        tensors = {name: rng.integers(0, 256, shape).astype(np.uint8) for name, shape in case.inputs.items()}
        levels = np.array([0, 128, 255], np.uint8)
    else:
        tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in case.inputs.items()}
        levels = np.array([0, 128 / 255, 1], np.float32)
    if "trimap" in tensors:
        tensors["trimap"] = rng.choice(levels, case.inputs["trimap"])
    return tensors


def onnxruntime_s(
    case: Case, exported: dict[str, TritonResult], tensors: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    path = exported[case.name].path / case.name / "1" / "model.onnx"
    session = session_from_onnx(path, threads=1, library=NONE)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, tensors), strict=True))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_server_answers_what_onnxruntime_computes(
    server: Server, exported: dict[str, TritonResult], case: Case, protocol: str
) -> None:
    tensors = request_for(case)
    (found,) = server.infer(protocol, case.name, tensors)
    expected = onnxruntime_s(case, exported, tensors)
    assert found.keys() == expected.keys()
    for name, output in expected.items():
        assert found[name].dtype == output.dtype
        np.testing.assert_array_equal(found[name], output)  # the same file, version and threads: bit by bit
        assert len(np.unique(output)) > 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_server_tells_what_the_repository_says(
    server: Server, exported: dict[str, TritonResult], case: Case
) -> None:
    document = exported[case.name].document
    told = server.get(f"v2/models/{case.name}")
    kinds = {"float32": "FP32", "uint8": "UINT8", "int64": "INT64"}
    for side in ("inputs", "outputs"):
        assert told[side] == [
            {"name": tensor["name"], "datatype": kinds[tensor["dtype"]], "shape": list(tensor["shape"])}
            for tensor in document[side]
        ]
    config = server.get(f"v2/models/{case.name}/config")
    assert config["max_batch_size"] == document["max_batch_size"] == (0 if case.name == "odd" else 8)
    assert len(config["model_warmup"]) == len(document["warmup"]) == (1 if case.name == "odd" else 2)


def test_requests_that_wait_are_joined_and_each_gets_its_own_answer(
    server: Server, exported: dict[str, TritonResult]
) -> None:
    case = next(case for case in CASES if case.name == "alpha")
    tensors = request_for(case)
    answers = server.infer("http", "alpha", tensors, copies=4)
    statistics = server.get("v2/models/alpha/stats")["model_stats"][0]
    assert max(batch["batch_size"] for batch in statistics["batch_stats"]) > 1
    expected = onnxruntime_s(case, exported, tensors)
    bound = tolerance("ORT_CPU_FP32_MATTE")
    for answer in answers:
        assert answer["alpha"].shape == (1, 1, 64, 96)
        np.testing.assert_allclose(answer["alpha"], expected["alpha"], atol=bound.atol, rtol=bound.rtol)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("model", "shapes", "told"),
    [
        pytest.param(
            "logits",
            {"image": (1, 3, 65, 96)},
            "logits was given 'image' [1, 3, 65, 96], expected inputs of one height and width, multiples of 32: "
            "resize or pad the picture",
            id="no multiple",
        ),
        pytest.param(
            "alpha",
            {"image": (1, 3, 64, 96), "trimap": (1, 1, 64, 80)},
            "alpha was given 'image' [1, 3, 64, 96], 'trimap' [1, 1, 64, 80], expected inputs of one height and width, "
            "multiples of 16: resize or pad the picture",
            id="another trimap",
        ),
        pytest.param("odd", {"image": (1, 3, 125, 160)}, "[1,3,125,157]", id="not the fixed size"),
        pytest.param("logits", {"image": (9, 3, 64, 96)}, "batch-size must be <= 8", id="too many"),
        pytest.param("logits", {"image": (1, 4, 64, 96)}, "[-1,3,-1,-1]", id="channels"),
        pytest.param(
            "labels", {"image": (1, 64, 96, 3)}, "data-type is 'FP32', but model 'labels' expects 'UINT8'", id="dtype"
        ),
    ],
)
def test_a_wrong_request_is_one_line_and_the_server_lives_on(
    server: Server,
    exported: dict[str, TritonResult],
    model: str,
    shapes: dict[str, tuple[int, ...]],
    told: str,
    protocol: str,
) -> None:
    error = server.infer(protocol, model, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    assert isinstance(error, str)
    assert told in error
    assert "\n" not in error
    case = next(case for case in CASES if case.name == model)
    (found,) = server.infer(protocol, model, request_for(case))
    (expected,) = onnxruntime_s(case, exported, request_for(case)).values()
    np.testing.assert_array_equal(next(iter(found.values())), expected)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_client_in_the_readme_runs(server: Server, exported: dict[str, TritonResult], case: Case) -> None:
    readme = (exported[case.name].path / "README.md").read_text()
    found = re.search(r"```python\n(.*?)```", readme, re.S)
    assert found is not None
    code = found[1].replace("localhost:8000", server.url())
    folder = SHAPES if case.checkpoint.parent == SHAPES else MATTING
    pictures = [folder / "scene.jpg", *([MATTING / "trimap.png"] if "trimap" in case.inputs else [])]
    finished = server.run_client(code, *pictures)
    assert (finished.returncode, finished.stderr) == (0, "")
    height, width = (125, 157) if case.name == "odd" else (512, 512)
    shape = {
        "logits": f"(1, 8, {height // 4}, {width // 4}) float32",
        "labels": f"(1, {height}, {width}) int64",
        "odd": f"(1, 8, {height}, {width}) float32",
        "alpha": f"(1, 1, {height}, {width}) float32",
        "bytes": f"(1, 1, {height}, {width}) float32",
    }[case.name]
    assert finished.stdout.startswith(shape)


def test_a_file_that_can_not_be_loaded_keeps_the_server_from_starting(made: Environment, tmp_path: Path) -> None:
    options = TritonOptions(backend=Backend.PYTHON, name="broken")
    export_triton(matting_file(tmp_path), tmp_path / "models", options)
    model = tmp_path / "models" / "broken" / "1" / "model.onnx"
    model.write_bytes(model.read_bytes()[:1000])
    (tmp_path / "server").mkdir()
    with pytest.raises(RuntimeError) as raised, serving(made, tmp_path / "server", [tmp_path / "models"]):
        pass
    assert f"{model} is not ONNX or is truncated, expected an .onnx file: copy it again" in str(raised.value)


def test_native_operators_that_were_copied_in_are_used(
    made: Environment, exported: dict[str, TritonResult], tmp_path: Path
) -> None:
    library = NativeLibrary.ONNXRUNTIME_CPU.installed
    if library is None:
        pytest.skip("the native operators are not built: make native")
    path = exported["alpha"].path / "alpha" / "1" / "model.onnx"
    options = TritonOptions(backend=Backend.PYTHON, name="alpha", threads=1, library=str(library))
    export_triton(path, tmp_path / "models", options)
    tensors = request_for(next(case for case in CASES if case.name == "alpha"))
    (tmp_path / "server").mkdir()
    with serving(made, tmp_path / "server", [tmp_path / "models"]) as started:
        (found,) = started.infer("grpc", "alpha", tensors)
    native, plain = (session_from_onnx(path, threads=1, library=choice) for choice in (library, NONE))
    np.testing.assert_array_equal(found["alpha"], native.run(["alpha"], tensors)[0])
    assert not np.array_equal(found["alpha"], plain.run(["alpha"], tensors)[0])  # else it tells nothing
