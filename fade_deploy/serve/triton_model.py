"""``model.py`` of Triton's python backend: one exported file on ONNX Runtime, without PyTorch.

``fade-export --format triton --backend python`` copies this file beside the model. The server's Python needs
fade_deploy and onnxruntime; triton_python_backend_utils is there from the server itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]

from fade_deploy.errors import FadeDeployError, InputError
from fade_deploy.provider import Provider
from fade_deploy.runtimes.deployed_metadata import deployed_metadata
from fade_deploy.runtimes.ort import output_of, session_from_onnx


class TritonPythonModel:
    """What Triton calls, by these names."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the file that lies beside this one."""
        config = json.loads(args["model_config"])
        settings = {key: value["string_value"] for key, value in config["parameters"].items()}
        folder = Path(args["model_repository"])
        library = settings["library"]
        self.name = args["model_name"]
        try:
            self.session = session_from_onnx(
                folder / args["model_version"] / "model.onnx",
                threads=int(settings["threads"]),
                provider=Provider.CUDA if args["model_instance_kind"] == "GPU" else Provider.CPU,
                library=folder / library if "/" in library else library,  # a path is inside the model's folder
            )
            metadata = deployed_metadata(self.session, name=self.name)
        except FadeDeployError as error:
            raise triton.TritonModelException(str(error)) from error
        self.inputs = self.session.get_inputs()
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.sides = slice(1, 3) if metadata["embed_preprocess"] else slice(2, 4)
        self.multiple = metadata["size_multiple"]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run the requests that Triton has joined, which are of equal sizes, as one batch."""
        given = [
            {value.name: triton.get_input_tensor_by_name(request, value.name).as_numpy() for value in self.inputs}
            for request in requests
        ]
        joined = {value.name: np.concatenate([tensors[value.name] for tensors in given]) for value in self.inputs}
        try:
            self.check(joined)
            results: dict[str, Any] = {
                name: output_of(self.session, name, joined, name=self.name) for name in self.outputs
            }
        except FadeDeployError as error:
            return [_failure(str(error)) for _ in requests]
        except MemoryError:
            message = f"{self.name} has not enough memory for {_shapes(joined)}: give smaller pictures or fewer at once"
            return [_failure(message) for _ in requests]
        ends = np.cumsum([len(tensors[self.inputs[0].name]) for tensors in given])
        parts = {name: np.split(result, ends[:-1]) for name, result in results.items()}
        return [
            triton.InferenceResponse([triton.Tensor(name, part[index]) for name, part in parts.items()])
            for index in range(len(requests))
        ]

    def check(self, tensors: dict[str, Any]) -> None:
        """Refuse sizes that Triton can't tell from config.pbtxt, where an open size may be any.

        Raises:
            InputError: The inputs differ in size, or an open height or width is no multiple of what the model takes.
        """
        first, *others = [tensor.shape[self.sides] for tensor in tensors.values()]
        declared = self.inputs[0].shape[self.sides]  # a name where open
        legal = all(
            isinstance(fixed, int) or side % self.multiple == 0 for side, fixed in zip(first, declared, strict=True)
        )
        if not legal or any(other != first for other in others):
            raise InputError(
                f"{self.name} was given {_shapes(tensors)}, expected inputs of one height and width, multiples of "
                f"{self.multiple}: resize or pad the picture"
            )


def _shapes(tensors: dict[str, Any]) -> str:
    return ", ".join(f"'{name}' {list(tensor.shape)}" for name, tensor in tensors.items())


def _failure(message: str) -> Any:
    return triton.InferenceResponse(error=triton.TritonError(message))
