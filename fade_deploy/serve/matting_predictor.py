"""From a picture and a trimap to an alpha matte through an exported matting file, as the demo of A2U matting does it.

Source: demo.py of A2U matting: trimap values other than 0 and 255 become 128; image and trimap are padded bottom and
right by reflection up to a multiple of the stride; the output is clipped to 0..1, scaled to 0..255, cropped, replaced
by the trimap where that is known, and truncated to whole levels. Needs numpy and onnxruntime; never torch or onnx.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.contract import UNKNOWN, Task
from fade_deploy.errors import InputError
from fade_deploy.provider import Provider
from fade_deploy.runtimes.native_libraries import AUTOMATIC
from fade_deploy.serve.deployed_file import DeployedFile, check_picture

__all__ = ["MattingPredictor", "three_levels"]


class MattingPredictor:
    """A loaded matting file. Holds no state between pictures, so threads may share one.

    A dynamic file gets each picture at its own size, padded to the next multiple that the network takes; a file of
    static shape gets it padded to that shape.

    Attributes:
        metadata: What fade-export wrote into the file.
    """

    def __init__(
        self,
        model: Path | str | DeployedFile,
        *,
        threads: int = 0,
        provider: Provider | str = Provider.CPU,
        library: Path | str = AUTOMATIC,
    ) -> None:
        """Load ``model``.

        Args:
            model: An ``.onnx`` file that fade-export wrote, with any head, with or without embedded pre-processing; its
                path, or already loaded.
            threads: Threads of onnxruntime; 0 leaves the number to it. A loaded file keeps its own, and its provider
                and library.
            provider: Where to compute: ``cpu``, ``cuda`` or ``tensorrt``.
            library: Native operators: ``auto``, the installed ones, if there are; ``none``; or a library's path.

        Raises:
            InputError: The file can't be loaded, takes or returns something else than the files of fade-export, is not
                for matting, or takes batches of a fixed size above 1; or the provider or library can't run
                it as promised.
            MissingDependency: onnxruntime or the provider is not installed.
        """
        self._file = (
            model
            if isinstance(model, DeployedFile)
            else DeployedFile(model, threads=threads, provider=provider, library=library)
        )
        self._file.require(Task.MATTING)
        self.metadata = self._file.metadata

    def predict(self, picture: NDArray[np.uint8], trimap: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The alpha matte of one picture: ``trimap`` where it is 0 or 255, elsewhere ``255 * clip(output, 0, 1)``.

        Args:
            picture: uint8 [H, W, 3], RGB, of any size; see :func:`fade_deploy.serve.pictures.read_picture`.
            trimap: uint8 [H, W]: 0 is background, 255 foreground, any other value unknown; see
                :func:`fade_deploy.serve.matting_pictures.read_trimap`.

        Returns:
            uint8 [H, W]; 0 is background, 255 foreground; whole levels by truncation.

        Raises:
            InputError: ``picture`` or ``trimap`` has another shape or dtype, their sizes disagree, they are larger than
                a file of static shape takes, the memory does not suffice, or the file fails at them.
        """
        check_picture(picture)
        if not isinstance(trimap, np.ndarray) or trimap.ndim != 2 or trimap.dtype != np.uint8:
            raise InputError(
                f"the trimap is {_described(trimap)}, expected uint8 [height, width]: "
                "read it with fade_deploy.serve.matting_pictures.read_trimap"
            )
        height, width = trimap.shape
        if picture.shape[:2] != trimap.shape:
            raise InputError(
                f"the trimap has {width}x{height} pixels, expected {picture.shape[1]}x{picture.shape[0]} as the "
                "picture has (width x height): give the trimap of this picture, at its size"
            )
        with self._file.enough_memory(picture):
            return self._alpha(picture, trimap)

    def _alpha(self, picture: NDArray[np.uint8], trimap: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = trimap.shape
        below, beside = self._padding(height, width)
        levels = three_levels(trimap)
        output = self._file.run(
            image=self._file.image_input(np.pad(picture, (below, beside, (0, 0)), mode="reflect")),
            trimap=self._trimap_input(np.pad(levels, (below, beside), mode="reflect")),
        )
        alpha = np.clip(output[0, :height, :width], 0, 1) * 255
        return np.where(levels == UNKNOWN, alpha.astype(np.uint8), levels)

    def _padding(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows (above, below) and columns (left, right) that a picture lacks for the network."""
        multiple = self.metadata["size_multiple"]
        padded_height, padded_width = (
            static or -(-side // multiple) * multiple
            for static, side in ((self._file.height, height), (self._file.width, width))
        )
        if padded_height < height or padded_width < width:
            raise InputError(
                f"the picture has {width}x{height} pixels, {self._file.name} takes at most "
                f"{self._file.width or 'any'}x{self._file.height or 'any'} (width x height): "
                "scale picture and trimap down, or export the model without --shape"
            )
        return (0, padded_height - height), (0, padded_width - width)

    def _trimap_input(self, levels: NDArray[np.uint8]) -> NDArray[Any]:
        if self._file.embed_preprocess:
            return levels[None, :, :, None]
        return (levels.astype(np.float32) / 255)[None, None]


def three_levels(trimap: NDArray[Any]) -> NDArray[np.uint8]:
    """A trimap with every value other than 0 and 255 made 128, which is unknown; uint8 of the same shape."""
    return np.where((trimap == 0) | (trimap == 255), trimap, UNKNOWN).astype(np.uint8)


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return f"of type {type(value).__name__}"
