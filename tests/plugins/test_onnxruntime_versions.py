"""One library on several ONNX Runtime versions, each installed into a folder of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from tests.cases import OPERATOR_CASES
from tests.plugins.one_node import bare_node_model, session
from tests.runtimes.test_onnxruntime_versions import VERSIONS, installed  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow

PROGRAM = """
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


def test_one_library_serves_every_version(native, models, installed):  # noqa: F811
    version, folder = installed
    assert version in VERSIONS
    arguments = [sys.executable, "-c", PROGRAM, folder, version, native, models]
    finished = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    names = sorted(models.glob("*.onnx"))
    assert names
    for path in names:
        given, here = np.load(path.with_suffix(".out.npy")), np.load(path.with_suffix(".npy"))
        np.testing.assert_array_equal(given, here, err_msg=path.name)
        path.with_suffix(".out.npy").unlink()
