"""What every predictor starts from: an exported file, loaded and checked against what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.contract import Head, Task
from fade_deploy.errors import InputError
from fade_deploy.provider import Provider
from fade_deploy.runtimes.deployed_metadata import LARGEST_SIDE, deployed_metadata
from fade_deploy.runtimes.native_libraries import AUTOMATIC
from fade_deploy.runtimes.ort import output_of, session_from_onnx

__all__ = ["DeployedFile", "check_picture"]

_INPUTS = {Task.SEGMENTATION: {"image": 3}, Task.MATTING: {"image": 3, "trimap": 1}}  # with their channels
_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
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

    def __init__(
        self,
        path: Path | str,
        *,
        threads: int = 0,
        provider: Provider | str = Provider.CPU,
        library: Path | str = AUTOMATIC,
    ) -> None:
        """Load ``path``.

        Args:
            path: An ``.onnx`` file that fade-export wrote.
            threads: Threads of onnxruntime; 0 leaves the number to it.
            provider: Where to compute: ``cpu``, ``cuda`` or ``tensorrt``.
            library: Native operators: ``auto``, the installed ones, if there are; ``none``; or a library's path.

        Raises:
            InputError: The file can't be loaded, takes or returns something else than the files of fade-export, or
                takes batches of a fixed size above 1; or the provider or library can't run it as promised.
            MissingDependency: onnxruntime or the provider is not installed.
        """
        self.name = str(path)
        self._session = session_from_onnx(Path(path), threads=threads, provider=provider, library=library)
        self.metadata: dict[str, Any] = deployed_metadata(self._session, name=self.name)
        self.task = Task(self.metadata["task"])
        self.head = Head(self.metadata["head"])
        self.embed_preprocess: bool = self.metadata["embed_preprocess"]
        inputs = self._session.get_inputs()
        if [given.name for given in inputs] != list(_INPUTS[self.task]):
            raise self._foreign(
                f"has the inputs {', '.join(given.name for given in inputs)}", ", ".join(_INPUTS[self.task])
            )
        sides = [self._declared_sides(given) for given in inputs]
        self._dtypes = {given.name: _FLOATS.get(given.type, np.uint8) for given in inputs}
        if sides.count(sides[0]) != len(sides):
            raise self._foreign("has inputs of different sizes", "equal ones")
        self.height: int | None = sides[0][0]
        self.width: int | None = sides[0][1]
        kinds = ["tensor(int64)"] if self.head is Head.LABELS else list(_FLOATS)
        given = next(output for output in self._session.get_outputs() if output.name == self.head.output)
        if given.type not in kinds:
            raise self._foreign(f"has an output '{given.name}' of {given.type}", " or ".join(kinds))

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
        """The output for one picture, without its batch axis; floats as float32, whatever the file's own type.

        Raises:
            InputError: The file can't compute it, or returns another shape than its head has, numbers that are not
                finite, or labels without a class.
        """
        feed = {name: value.astype(self._dtypes[name], copy=False) for name, value in inputs.items()}
        output = output_of(self._session, self.head.output, feed, name=self.name)
        expected = self._output_shape(*self._sides(inputs["image"].shape))
        if not isinstance(output, np.ndarray) or not _fits(output.shape, expected):
            shape = list(output.shape) if isinstance(output, np.ndarray) else "no array"
            wanted = ", ".join(str(size or "any") for size in expected)
            raise self._foreign(f"returned {shape} as '{self.head.output}'", f"[{wanted}]")
        if self.head is Head.LABELS:
            classes = len(self.metadata["classes"])
            if output.min() < 0 or output.max() >= classes:
                raise self._foreign(f"returned labels from {output.min()} to {output.max()}", f"0 to {classes - 1}")
        elif not np.isfinite(output).all():
            raise InputError(
                f"{self.name} returned NaN or infinity for this picture, expected numbers: export it again from "
                "weights of before the training diverged"
            )
        result: NDArray[Any] = output[0]
        return result.astype(np.float32) if result.dtype == np.float16 else result

    @contextmanager
    def enough_memory(self, picture: NDArray[np.uint8]) -> Iterator[None]:
        """Turn a MemoryError inside into one line.

        Raises:
            InputError: There was one.
        """
        try:
            yield
        except MemoryError as error:
            height, width = picture.shape[:2]
            fixed = f" (made for {self.width or 'any'}x{self.height or 'any'})" if self.height or self.width else ""
            raise InputError(
                f"the memory does not suffice for a picture of {width}x{height} pixels through {self.name}{fixed}: "
                "give a smaller picture, or export the model with a smaller --shape"
            ) from error

    def _declared_sides(self, given: Any) -> tuple[int | None, int | None]:
        """Height and width of an input, None where open, after a check of everything else that it declares."""
        kinds = ["tensor(uint8)"] if self.embed_preprocess else list(_FLOATS)
        if given.type not in kinds:
            raise self._foreign(f"has an input '{given.name}' of {given.type}", " or ".join(kinds))
        if len(given.shape) != 4:
            raise self._foreign(f"has an input '{given.name}' of {len(given.shape)} axes", "4")
        # onnxruntime gives the name of a dimension that is left open.
        batch, *others = [size if isinstance(size, int) else None for size in given.shape]
        if batch not in (None, 1):
            raise InputError(
                f"{self.name} takes batches of {batch} pictures, expected 1 or any: export it with a batch of 1"
            )
        channels = others[2] if self.embed_preprocess else others[0]
        wanted = _INPUTS[self.task][given.name]
        if channels not in (None, wanted):
            raise self._foreign(f"has an input '{given.name}' of {channels} channels", str(wanted))
        height, width = self._sides([batch, *others])
        for side in (height, width):
            if side is not None and not 0 < side <= LARGEST_SIDE:
                raise self._foreign(f"has an input '{given.name}' with a side of {side}", f"1 to {LARGEST_SIDE} pixels")
        return height, width

    def _sides(self, shape: Sequence[Any]) -> tuple[Any, Any]:
        """Height and width of an input's shape."""
        return (shape[1], shape[2]) if self.embed_preprocess else (shape[2], shape[3])

    def _output_shape(self, height: int, width: int) -> tuple[int | None, ...]:
        """Of the head at an input of that size; None where any will do, since logits are resized anyway."""
        match self.head:
            case Head.LOGITS:
                return 1, len(self.metadata["classes"]), None, None
            case Head.PROBS:
                return 1, len(self.metadata["classes"]), height, width
            case Head.LABELS:
                return 1, height, width
            case Head.ALPHA | Head.RAW:
                return 1, 1, height, width

    def _foreign(self, given: str, expected: str) -> InputError:
        return InputError(f"{self.name} {given}, expected {expected}: export it again with fade-export")


def _fits(shape: Sequence[int], expected: Sequence[int | None]) -> bool:
    return len(shape) == len(expected) and all(
        size == wanted if wanted is not None else size > 0 for size, wanted in zip(shape, expected, strict=True)
    )


def check_picture(picture: NDArray[Any]) -> None:
    """Refuse any array but a picture.

    Raises:
        InputError: It is not uint8 [H, W, 3], or empty.
    """
    if not isinstance(picture, np.ndarray):
        raise InputError(
            f"the picture is of type {type(picture).__name__}, expected a numpy array, uint8 [height, width, 3]: of a "
            "Pillow image, np.asarray(image.convert('RGB'))"
        )
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or picture.size == 0:
        raise InputError(
            f"the picture is {picture.dtype} {list(picture.shape)}, expected uint8 [height, width, 3] in RGB: "
            "read it with fade_deploy.serve.pictures.read_picture"
        )
