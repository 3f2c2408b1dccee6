"""From a picture to labels through an exported segmentation file, step by step as the models were tested in training.

Source: SegFormer's test pipeline (mmsegmentation): keep-ratio resize to (2048, 512), each side up to a multiple of 32
by a second resize, normalise; logits to the network's input size, then to the picture's size, then argmax.
Needs numpy and onnxruntime; never torch or onnx.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.contract import Head, Task
from fade_deploy.provider import Provider
from fade_deploy.runtimes.native_libraries import AUTOMATIC
from fade_deploy.serve.deployed_file import DeployedFile, check_picture
from fade_deploy.serve.resize import resize_bilinear, resize_nearest, resize_weights

__all__ = ["Predictor", "labels_from_scores", "network_sizes"]

# Rows of the result at a time, and columns within them: 16 x 32 x 150 classes are 300 KB, which a cache holds. Measured
# on two cores for 150 classes at 512x683: 0.06 s, as with 8..64 rows. At 64 columns the products of a thumbnail are
# just large enough for OpenBLAS to wake its threads for each: 0.8 s instead of 0.02 s.
_STRIP_ROWS = 16
_STRIP_COLUMNS = 32


class Predictor:
    """A loaded segmentation file. Holds no state between pictures, so threads may share one.

    A file of static shape gets each picture stretched straight to that shape, whatever its ratio; a dynamic one gets
    the picture at its own ratio.

    Attributes:
        metadata: What fade-export wrote into the file.
        classes: Class names, in the order of the labels.
        palette: Colours of the classes from the checkpoint; may be empty.
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
                for segmentation, or takes batches of a fixed size above 1; or the provider or library can't run
                it as promised.
            MissingDependency: onnxruntime or the provider is not installed.
        """
        self._file = (
            model
            if isinstance(model, DeployedFile)
            else DeployedFile(model, threads=threads, provider=provider, library=library)
        )
        self._file.require(Task.SEGMENTATION)
        self.metadata = self._file.metadata
        self.classes: tuple[str, ...] = tuple(self.metadata["classes"])
        self.palette: list[list[int]] = self.metadata["palette"]

    def predict(self, picture: NDArray[np.uint8]) -> NDArray[Any]:
        """Label every pixel of one picture.

        Args:
            picture: uint8 [H, W, 3], RGB, of any size; see :func:`fade_deploy.serve.pictures.read_picture`.

        Returns:
            Class numbers [H, W], uint8, or uint16 where there are more than 256 classes.

        Raises:
            InputError: ``picture`` has another shape or dtype, the memory does not suffice, or the file fails at it.
        """
        check_picture(picture)
        with self._file.enough_memory(picture):
            return self._labels(picture)

    def _labels(self, picture: NDArray[np.uint8]) -> NDArray[Any]:
        original = (picture.shape[0], picture.shape[1])
        sizes = network_sizes(
            *original,
            sides=(self.metadata["short_side"], self.metadata["long_side"]),
            multiple=self.metadata["size_multiple"],
            fixed=(self._file.height, self._file.width),
        )
        resized = picture
        for size in sizes:
            resized = resize_bilinear(resized, *size)
        output = self._file.run(image=self._file.image_input(resized))
        if self._file.head is Head.LABELS:
            labels = resize_nearest(output, *original)
            return labels.astype(_label_dtype(len(self.classes)))
        # Probabilities already have the network's size: the first of the two resizes does nothing to them.
        return labels_from_scores(output, sizes[-1], original)


def network_sizes(
    height: int,
    width: int,
    *,
    sides: tuple[int, int],
    multiple: int,
    fixed: tuple[int | None, int | None] = (None, None),
) -> list[tuple[int, int]]:
    """The sizes (height, width) that a picture takes on its way into the network, the network's own last.

    Args:
        height: Of the picture.
        width: Of the picture.
        sides: The longest that its short and its long side become, in any order.
        multiple: Of the network's sizes.
        fixed: The network's own (height, width); None where open.
    """
    own_height, own_width = fixed
    if own_height is not None and own_width is not None:
        return [(own_height, own_width)]
    short_side, long_side = sorted(sides)
    scale = min(long_side / max(height, width), short_side / min(height, width))
    # A picture so thin that a side would vanish keeps one pixel there.
    kept = max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
    aligned_height, aligned_width = (-(-side // multiple) * multiple for side in kept)
    return [kept, (own_height or aligned_height, own_width or aligned_width)]


def labels_from_scores(scores: NDArray[Any], *sizes: tuple[int, int], strip_rows: int = _STRIP_ROWS) -> NDArray[Any]:
    """Resize scores bilinearly to each of ``sizes`` in turn and take the best class of every pixel.

    The successive resizes are one matrix an axis (:func:`resize_weights`), and the result is made a strip at a time:
    150 classes of a 4000x3000 photo would be 7 GB, here they are a few MB. A row's labels don't depend on its strip.

    Args:
        scores: Logits or probabilities, [C, h, w].
        sizes: (height, width) of each resize, the result's last.
        strip_rows: Rows of the result at a time.

    Returns:
        [height, width] of the last size; uint8, or uint16 for more than 256 classes. A tie goes to the lower class.
    """
    classes, height, width = scores.shape
    down = resize_weights(height, *(size[0] for size in sizes))
    across = resize_weights(width, *(size[1] for size in sizes))
    blocks = []  # of columns, with the few input columns that they read
    for left in range(0, len(across), _STRIP_COLUMNS):
        weights = across[left : left + _STRIP_COLUMNS]
        first, last = _span(weights)
        blocks.append(
            (slice(left, left + len(weights)), slice(first, last), np.ascontiguousarray(weights[:, first:last]))
        )
    labels = np.empty((len(down), len(across)), _label_dtype(classes))
    for top in range(0, len(down), strip_rows):
        rows = slice(top, min(top + strip_rows, len(down)))
        first, last = _span(down[rows])
        source = np.ascontiguousarray(scores[:, first:last].transpose(1, 2, 0), dtype=np.float32)  # [rows read, w, C]
        strip = np.stack([_weighted_sum(weights, source) for weights in down[rows, first:last]])  # [rows, w, C]
        for columns, read, weights in blocks:
            labels[rows, columns] = np.matmul(weights, strip[:, read]).argmax(axis=-1)
    return labels


def _weighted_sum(weights: NDArray[np.float32], source: NDArray[np.float32]) -> NDArray[np.float32]:
    first, *others = np.flatnonzero(weights)
    total: NDArray[np.float32] = weights[first] * source[first]
    for index in others:
        total += weights[index] * source[index]
    return total


def _span(weights: NDArray[np.float32]) -> tuple[int, int]:
    """The first and one past the last column that has any weight."""
    used = np.flatnonzero(weights.any(axis=0))
    return int(used[0]), int(used[-1]) + 1


def _label_dtype(classes: int) -> type[np.uint8] | type[np.uint16]:
    return np.uint8 if classes <= 256 else np.uint16
