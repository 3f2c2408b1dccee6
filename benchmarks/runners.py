"""What is timed: one object for each runtime, with its inputs and output in place, so that ``run`` only runs."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

__all__ = [
    "Inputs",
    "LeftOut",
    "OnnxRuntimeRunner",
    "OpenVinoRunner",
    "Runner",
    "TorchRunner",
    "check_openvino",
    "compiled",
]

Inputs = Mapping[str, NDArray[np.float32]]

_ERRORS = 3  # onnxruntime logs errors only


class LeftOut(Exception):
    """Something can't be measured here; the text is the reason that the report gives."""


class Runner(Protocol):
    """One run at a time; ``output`` is that of the last one."""

    def run(self) -> None: ...

    def output(self) -> NDArray[np.float32]: ...


class OnnxRuntimeRunner:
    """A session on ONNX Runtime's CPU provider, inputs and output bound to memory that is there.

    Args:
        path: The ``.onnx`` file; one output.
        inputs: Name -> values.
        output_shape: Of the file's output.
        threads: Of the session.
        library: Custom-op library; None runs the function bodies.
    """

    def __init__(
        self, path: Path, inputs: Inputs, output_shape: Sequence[int], *, threads: int, library: Path | None = None
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS
        options.intra_op_num_threads = threads
        # Else the workers of one session spin while the next session runs: medians were up to 5x wrong.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if library is not None:
            options.register_custom_ops_library(str(library))
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._inputs = inputs  # the binding does not keep them alive
        self._output = np.full(output_shape, np.nan, dtype=np.float32)  # written, so that its pages exist
        self._binding = self._session.io_binding()
        for name, array in inputs.items():
            self._binding.bind_cpu_input(name, array)
        (output,) = self._session.get_outputs()
        self._binding.bind_output(
            output.name, "cpu", 0, np.float32, self._output.shape, self._output.__array_interface__["data"][0]
        )

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def output(self) -> NDArray[np.float32]:
        return self._output


class TorchRunner:
    """A module in inference mode; torch's number of threads is the process's, set by :mod:`benchmarks.measure`."""

    def __init__(self, module: nn.Module, inputs: Inputs) -> None:
        self._module = module
        self._inputs = [torch.from_numpy(array) for array in inputs.values()]
        self._output = torch.empty(0)

    def run(self) -> None:
        with torch.inference_mode():
            self._output = self._module(*self._inputs)

    def output(self) -> NDArray[np.float32]:
        return self._output.numpy()


def compiled(module: nn.Module) -> nn.Module:
    """``torch.compile`` with its default backend, for the sizes that it is first called with.

    Raises:
        LeftOut: There is no C++ compiler.
    """
    if not any(shutil.which(name) for name in ("g++", "clang++")):
        raise LeftOut("torch.compile's inductor needs a C++ compiler (g++ or clang++), and none is installed")
    module.compile(dynamic=False)
    return module


def check_openvino() -> None:
    """Refuse what needs OpenVINO where it is not installed.

    Raises:
        LeftOut: It is not.
    """
    if importlib.util.find_spec("openvino") is None:
        raise LeftOut("OpenVINO is not installed (pip install openvino)")


class OpenVinoRunner:
    """A request on OpenVINO's CPU device in float32, for fixed sizes.

    Args:
        path: The ``.onnx`` file; standard operators only.
        inputs: Name -> values.
        output_shape: Of the file's output.
        threads: Of the request.
    """

    def __init__(self, path: Path, inputs: Inputs, output_shape: Sequence[int], *, threads: int) -> None:
        import openvino  # type: ignore[import-not-found]  # not a dependency

        core = openvino.Core()
        model = core.read_model(path)
        model.reshape({name: list(array.shape) for name, array in inputs.items()})
        settings: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",  # it takes bfloat16 by default where the CPU has it
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # pinned threads would hinder whoever runs next
        }
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        self._inputs = inputs  # the request does not keep them alive either
        self._output = np.full(output_shape, np.nan, dtype=np.float32)
        for name, array in inputs.items():
            self._request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
        self._request.set_output_tensor(openvino.Tensor(self._output, shared_memory=True))

    def run(self) -> None:
        self._request.infer()

    def output(self) -> NDArray[np.float32]:
        return self._output
