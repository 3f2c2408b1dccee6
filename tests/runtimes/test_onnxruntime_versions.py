"""One exported file on several ONNX Runtime versions, each installed into a folder of its own."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from fade_deploy import contract
from fade_deploy.tolerances import tolerance

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


def minor(version: str) -> tuple[int, int]:
    major, second = version.split(".")[:2]
    return int(major), int(second)


@pytest.fixture(scope="module", params=VERSIONS)
def installed(request, tmp_path_factory):
    """An ONNX Runtime of another version, without its dependencies: numpy comes from this environment."""
    folder = tmp_path_factory.mktemp(f"onnxruntime_{request.param}")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*command, f"onnxruntime=={request.param}"], check=True)
    return request.param, folder


@pytest.fixture(scope="module")
def files(tmp_path_factory, tiny_checkpoint):
    """The tiny model at the opsets where the lowest ONNX Runtime changes."""
    from fade_deploy import ExportOptions, export

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
