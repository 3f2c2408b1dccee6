"""What is timed: one object for each runtime, its inputs in place, so that ``run`` does nothing but run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fade_deploy.optional import require
from fade_deploy.provider import Provider

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["BoundEngine", "BoundModule", "BoundRun", "BoundSession", "Inputs"]

Inputs = Mapping[str, NDArray[Any]]


class BoundRun(Protocol):
    """One run at a time; ``output`` copies that of the last one."""

    def run(self) -> None: ...

    def output(self) -> NDArray[Any]: ...


class BoundSession:
    """A session of onnxruntime with inputs and output bound to memory where it computes.

    The first run allocates the output; later ones write into the same memory.

    Args:
        session: From :func:`fade_deploy.runtimes.ort.session_from_onnx`.
        inputs: By name.
        output: The one to compute.
        provider: The session's; anything but the CPU has its inputs and output on the GPU.
    """

    def __init__(self, session: onnxruntime.InferenceSession, inputs: Inputs, output: str, provider: Provider) -> None:
        self._ort = require("onnxruntime", extra="ort-cpu")
        self._session = session
        self._device = "cpu" if provider is Provider.CPU else "cuda"
        self._inputs = inputs  # on the CPU the binding uses this memory, and does not keep it alive
        self._name = output
        self._output: Any = None
        self._binding = session.io_binding()
        for name, array in inputs.items():
            self._binding.bind_ortvalue_input(name, self._ort.OrtValue.ortvalue_from_numpy(array, self._device, 0))
        self._binding.bind_output(output, self._device)

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)
        if self._device != "cpu":
            self._binding.synchronize_outputs()
        if self._output is None:
            (self._output,) = self._binding.get_outputs()
            self._binding.bind_ortvalue_output(self._name, self._output)

    def output(self) -> NDArray[Any]:
        return np.array(self._output.numpy())

    def copy(self) -> None:
        """What a run without binding copies besides: the output, and from and to a GPU the inputs, too."""
        if self._device != "cpu":
            for array in self._inputs.values():
                self._ort.OrtValue.ortvalue_from_numpy(array, self._device, 0)
        self.output()


class BoundModule:
    """A PyTorch module in inference mode; the number of threads is the process's.

    Args:
        module: Takes the inputs as tensors by name, returns one tensor.
        inputs: By name; their memory is shared.
    """

    def __init__(self, module: Callable[..., Any], inputs: Inputs) -> None:
        self._torch = require("torch", extra="export")
        self._module = module
        self._inputs = {name: self._torch.from_numpy(array) for name, array in inputs.items()}
        self._output: Any = None

    def run(self) -> None:
        with self._torch.inference_mode():
            self._output = self._module(**self._inputs)

    def output(self) -> NDArray[Any]:
        return np.array(self._output.numpy())


class BoundEngine:
    """A TensorRT engine with its inputs on the GPU, where its outputs stay.

    Args:
        runner: Polygraphy's, activated.
        inputs: By name.
        output: The one to give back.
    """

    def __init__(self, runner: Any, inputs: Inputs, output: str) -> None:
        cuda = require("polygraphy.cuda", extra="tensorrt")
        self._runner = runner
        self._inputs = {
            name: cuda.DeviceArray(shape=array.shape, dtype=array.dtype).copy_from(array)
            for name, array in inputs.items()
        }
        self._name = output

    def run(self) -> None:
        self._runner.infer(self._inputs, check_inputs=False, copy_outputs_to_host=False)  # waits for its stream

    def output(self) -> NDArray[Any]:
        return np.array(self._runner.infer(self._inputs, check_inputs=False)[self._name])
