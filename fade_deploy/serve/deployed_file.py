"""What every predictor starts from: an exported file, loaded and checked against what it says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.contract import Head, Task
from fade_deploy.errors import InputError
from fade_deploy.runtimes.ort import deployed_metadata, session_from_onnx

__all__ = ["DeployedFile", "check_picture"]

_INPUTS = {Task.SEGMENTATION: ["image"], Task.MATTING: ["image", "trimap"]}
_PREDICTORS = {Task.SEGMENTATION: "Predictor", Task.MATTING: "MattingPredictor"}


class DeployedFile:
    """A loaded file of either task. Holds no state between pictures, so threads may share one.

    Attributes:
        name: The path as it was given.
        metadata: What fade-export wrote into the file.
        task: What the model is for.
        head: What the file returns.
        embed_preprocess: Whether it takes uint8 and normalises inside.
        height: Of its inputs; None where the file leaves it open.
        width: Likewise.
    """

    def __init__(self, path: Path | str, *, threads: int = 0) -> None:
        """Load ``path``.

        Args:
            path: An ``.onnx`` file that fade-export wrote.
            threads: Threads of onnxruntime; 0 leaves the number to it.

        Raises:
            InputError: The file can't be loaded, is not of fade-export, or takes batches of a fixed size above 1.
            MissingDependency: onnxruntime is not installed.
        """
        self.name = str(path)
        self._session = session_from_onnx(Path(path), threads=threads)
        self.metadata: dict[str, Any] = deployed_metadata(self._session, name=self.name)
        self.task = Task(self.metadata["task"])
        self.head = Head(self.metadata["head"])
        self.embed_preprocess: bool = self.metadata["embed_preprocess"]
        inputs = {given.name: given.shape for given in self._session.get_inputs()}
        if list(inputs) != _INPUTS[self.task]:
            raise InputError(
                f"{path} has the inputs {', '.join(inputs)}, expected {', '.join(_INPUTS[self.task])}: "
                "export it again with fade-export"
            )
        for name, shape in inputs.items():
            if len(shape) != 4:
                raise InputError(
                    f"{path} has an input '{name}' of {len(shape)} axes, expected 4: export it again with fade-export"
                )
        batch, *sides = inputs["image"]
        if isinstance(batch, int) and batch != 1:
            raise InputError(
                f"{path} takes batches of {batch} pictures, expected 1 or any: export it with a batch of 1"
            )
        # onnxruntime gives the name of a dimension that is left open.
        height, width = sides[:2] if self.embed_preprocess else sides[1:]
        self.height: int | None = height if isinstance(height, int) else None
        self.width: int | None = width if isinstance(width, int) else None

    def require(self, task: Task) -> None:
        """Refuse a model of another task.

        Raises:
            InputError: The message names the predictor that takes this one.
        """
        if self.task is not task:
            raise InputError(
                f"{self.name} is a {self.task} model, {_PREDICTORS[task]} takes a {task} model: "
                f"load it with {_PREDICTORS[self.task]}"
            )

    def image_input(self, picture: NDArray[np.uint8]) -> NDArray[Any]:
        """A picture uint8 [H, W, 3] as the file takes it: as it is, or normalised to float32 [1, 3, H, W]."""
        if self.embed_preprocess:
            return picture[None]
        mean = np.asarray(self.metadata["mean"], np.float32)
        std = np.asarray(self.metadata["std"], np.float32)
        return np.ascontiguousarray(((picture - mean) / std).transpose(2, 0, 1)[None])

    def run(self, **inputs: NDArray[Any]) -> NDArray[Any]:
        """The output for one picture, without its batch axis."""
        (output,) = self._session.run([self.head.output], inputs)
        result: NDArray[Any] = output[0]
        return result


def check_picture(picture: NDArray[Any]) -> None:
    """Refuse any array but a picture.

    Raises:
        InputError: It is not uint8 [H, W, 3], or empty.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or picture.size == 0:
        raise InputError(
            f"the picture is {picture.dtype} {list(picture.shape)}, expected uint8 [height, width, 3] in RGB: "
            "read it with fade_deploy.serve.pictures.read_picture"
        )
