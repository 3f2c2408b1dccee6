"""One exported file, and one library of native operators, on several ONNX Runtime versions.

Each is installed into a folder of its own, from the package registry.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from fade_deploy import ExportOptions, contract, export
from fade_deploy.tolerances import tolerance
from tests.cases import OPERATOR_CASES
from tests.plugins.one_node import bare_node_model, session

pytestmark = pytest.mark.slow

VERSIONS = ("1.20.1", "1.21.1", "1.22.1", "1.23.2", "1.24.4")
RUN = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[2], providers=["CPUExecutionProvider"])
assert onnxruntime.__version__ == sys.argv[5], onnxruntime.__version__
np.save(sys.argv[4], session.run(None, {"image": np.load(sys.argv[3])})[0])
"""
RUN_NATIVE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np, onnxruntime
assert onnxruntime.__version__ == sys.argv[2], onnxruntime.__version__
folder = Path(sys.argv[4])
for path in sorted(folder.glob("*.onnx")):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.register_custom_ops_library(sys.argv[3])
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    np.save(path.with_suffix(".out.npy"), session.run(None, dict(np.load(path.with_suffix(".npz"))))[0])
wrong = {name: value[:, :-1] if value.ndim > 1 else value for name, value in np.load(path.with_suffix(".npz")).items()}
try:
    session.run(None, wrong)
except Exception as error:
    assert "expected [N," in str(error), error
else:
    raise SystemExit("a wrong shape was taken")
"""


def minor(version: str) -> tuple[int, int]:
    major, second = version.split(".")[:2]
    return int(major), int(second)


@pytest.fixture(scope="module", params=VERSIONS)
def installed(request, tmp_path_factory):
    """An ONNX Runtime of another version, without its dependencies: numpy comes from this environment."""
    folder = tmp_path_factory.mktemp(f"onnxruntime_{request.param}")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    subprocess.run([*command, "--target", str(folder), f"onnxruntime=={request.param}"], check=True)
    return request.param, folder


@pytest.fixture(scope="module")
def files(tmp_path_factory, tiny_checkpoint):
    """The tiny model at the opsets where the lowest ONNX Runtime changes."""
    folder = tmp_path_factory.mktemp("opsets")
    return {
        opset: export(
            tiny_checkpoint, folder / f"{opset}.onnx", ExportOptions(opset=opset, full_verification=False)
        ).path
        for opset in (18, 21, 22, 23)
    }


@pytest.mark.parametrize("opset", [18, 21, 22, 23])
def test_file_loads_from_the_stated_version_on_and_gives_the_same_numbers(installed, files, tmp_path, opset):
    version, folder = installed
    image = np.random.default_rng(0).standard_normal((1, 3, 64, 96)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    arguments = [str(folder), str(files[opset]), str(tmp_path / "image.npy"), str(tmp_path / "out.npy"), version]
    run = subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=False)
    loads = minor(version) >= minor(contract.LOWEST_ONNXRUNTIME[opset])
    assert (run.returncode == 0) == loads, run.stderr
    if loads:
        here = onnxruntime.InferenceSession(str(files[opset]), providers=["CPUExecutionProvider"])
        expected = here.run(None, {"image": image})[0]
        bound = tolerance("ORT_VERSIONS_FP32")
        np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=bound.atol, rtol=bound.rtol)


@pytest.fixture(scope="module")
def models(native: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every operator in both dtypes, with its inputs and what this environment's ONNX Runtime computes of them."""
    folder = tmp_path_factory.mktemp("models")
    for case in OPERATOR_CASES[::3]:
        for dtype in (np.float32, np.float16):
            half = dtype is np.float16
            model = bare_node_model(
                case.operator, case.attributes, dtype=TensorProto.FLOAT16 if half else TensorProto.FLOAT
            )
            path = folder / f"{case}-{np.dtype(dtype)}.onnx"
            path.write_bytes(model.SerializeToString())
            inputs = {name: value.astype(dtype) for name, value in case.inputs().items()}
            np.savez(path.with_suffix(".npz"), **inputs)
            np.save(path.with_suffix(".npy"), session(model, native).run(None, inputs)[0])
    return folder


def test_one_library_serves_every_version(native, models, installed):
    version, folder = installed
    arguments = [sys.executable, "-c", RUN_NATIVE, folder, version, native, models]
    finished = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    names = sorted(models.glob("*.onnx"))
    assert names
    for path in names:
        given, here = np.load(path.with_suffix(".out.npy")), np.load(path.with_suffix(".npy"))
        np.testing.assert_array_equal(given, here, err_msg=path.name)
        path.with_suffix(".out.npy").unlink()
