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

__all__ = ["MattingPredictor", "padded", "three_levels"]


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
        levels = three_levels(trimap)
        large_picture, large_levels = padded(
            picture,
            levels,
            multiple=self.metadata["size_multiple"],
            fixed=(self._file.height, self._file.width),
            network=self._file.name,
        )
        output = self._file.run(image=self._file.image_input(large_picture), trimap=self._trimap_input(large_levels))
        alpha = np.clip(output[0, :height, :width], 0, 1) * 255
        return np.where(levels == UNKNOWN, alpha.astype(np.uint8), levels)

    def _trimap_input(self, levels: NDArray[np.uint8]) -> NDArray[Any]:
        if self._file.embed_preprocess:
            return levels[None, :, :, None]
        return (levels.astype(np.float32) / 255)[None, None]


def padded(
    picture: NDArray[np.uint8],
    levels: NDArray[np.uint8],
    *,
    multiple: int,
    fixed: tuple[int | None, int | None] = (None, None),
    name: str = "the picture",
    network: str = "the network",
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Picture [H, W, 3] and trimap [H, W] with rows below and columns beside, by reflection, up to the network's size.

    Args:
        picture: As it is.
        levels: Its trimap.
        multiple: Of the network's sizes.
        fixed: The network's own (height, width); None where open.
        name: How an error calls the picture.
        network: How an error calls the network.

    Raises:
        InputError: The picture is larger than the network takes.
    """
    height, width = levels.shape
    large_height, large_width = (
        own or -(-side // multiple) * multiple for own, side in zip(fixed, levels.shape, strict=True)
    )
    if large_height < height or large_width < width:
        own_height, own_width = fixed
        raise InputError(
            f"{name} has {width}x{height} pixels, {network} takes at most {own_width or 'any'}x{own_height or 'any'} "
            "(width x height): scale picture and trimap down, or export the model without --shape"
        )
    below, beside = (0, large_height - height), (0, large_width - width)
    return (
        np.pad(picture, (below, beside, (0, 0)), mode="reflect"),
        np.pad(levels, (below, beside), mode="reflect"),
    )


def three_levels(trimap: NDArray[Any]) -> NDArray[np.uint8]:
    """A trimap with every value other than 0 and 255 made 128, which is unknown; uint8 of the same shape."""
    return np.where((trimap == 0) | (trimap == 255), trimap, UNKNOWN).astype(np.uint8)


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return f"of type {type(value).__name__}"
