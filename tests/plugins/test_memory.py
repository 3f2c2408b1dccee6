"""What a run takes beyond its inputs and its output, as Linux counts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from fade_deploy import contract
from tests.cases import OperatorCase
from tests.graph.test_function_bodies import one_node_model
from tests.plugins.one_node import bare_node_model


class WideHead(OperatorCase):
    """The head of SegFormer B1 for ADE20K: 64 encoder channels, 150 classes."""

    def _head_shapes(self) -> dict[str, tuple[int, ...]]:
        encoder = (self.batch, 64, self.scale * self.height, self.scale * self.width)
        classes = 150
        return super()._head_shapes() | {
            "encoder": encoder,
            "encoder_weight": (self.channels, 4 * 64 + 3),
            "class_weight": (classes, self.channels),
            "class_bias": (classes,),
        }


PROGRAM = """
import re, sys
import numpy as np, onnxruntime
def kibibytes(name):
    return int(re.search(name + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[3])
if sys.argv[2]:
    options.register_custom_ops_library(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
inputs = dict(np.load(sys.argv[4]))
output = np.ones([int(size) for size in sys.argv[5].split("x")], np.float32)
small = {name: np.load(sys.argv[6])[name] for name in inputs}
session.run(None, small)  # threads, code and whatever a first run needs
binding = session.io_binding()
for name, value in inputs.items():
    binding.bind_cpu_input(name, value)
binding.bind_output("output", "cpu", 0, np.float32, list(output.shape), output.ctypes.data)
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
before = kibibytes("VmRSS")
session.run_with_iobinding(binding)
print((kibibytes("VmHWM") - before) * 1024 / output.nbytes)
"""


pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peak memory is read as Linux counts it"
)


def taken(case: OperatorCase, model: onnx.ModelProto, library: Path | None, threads: int, folder: Path) -> float:
    """Growth of a fresh process's peak memory during one run, in sizes of the output."""
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    small = OperatorCase(case.operator, batch=1, channels=case.lanes, height=4, width=4, lanes=case.lanes)
    inputs = {name: value.astype(np.float32) for name, value in case.inputs().items()}
    np.savez(folder / "inputs.npz", **inputs)
    np.savez(folder / "small.npz", **{name: value.astype(np.float32) for name, value in small.inputs().items()})
    channels = case.channels // (case.lanes if case.operator is contract.ACCUMULATE else 1)
    if case.operator is contract.HEAD:
        channels = len(inputs["class_bias"])
    output = f"{case.batch}x{channels}x{case.scale * case.height}x{case.scale * case.width}"
    arguments = [
        folder / "model.onnx",
        library or "",
        str(threads),
        folder / "inputs.npz",
        output,
        folder / "small.npz",
    ]
    finished = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return float(finished.stdout)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "case",
    [
        OperatorCase(contract.UPSAMPLE, batch=1, channels=256, height=64, width=64),
        OperatorCase(contract.UPSAMPLE_ADD, batch=1, channels=64, height=128, width=128),
        OperatorCase(contract.ACCUMULATE, batch=1, channels=3 * 256, height=64, width=64, lanes=3),
        OperatorCase(contract.REASSEMBLE, batch=1, channels=64, height=128, width=128),
        WideHead(contract.HEAD, batch=1, channels=256, height=64, width=64),
    ],
    ids=str,
)
def test_a_run_takes_a_fifth_of_its_output_at_most(native, case, threads, tmp_path):
    model = bare_node_model(case.operator, case.attributes)
    model.graph.node.pop()  # its copy would count
    model.graph.node[0].output[0] = "output"
    growth = taken(case, model, native, threads, tmp_path)
    print(f"{case}, {threads} threads: {growth:.3f} of the output")
    assert growth <= 0.2


def test_the_measurement_sees_what_the_body_takes(tmp_path):
    case = OperatorCase(contract.UPSAMPLE, batch=1, channels=256, height=64, width=64)
    assert taken(case, one_node_model(case), None, 1, tmp_path) > 1
