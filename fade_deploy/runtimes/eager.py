"""Eager PyTorch as a Polygraphy runner: the reference of every comparison."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from polygraphy.backend.base import BaseRunner
from polygraphy.common import TensorMetadata

__all__ = ["EagerRunner"]


class EagerRunner(BaseRunner):  # type: ignore[misc] # polygraphy ships no types
    """Runs a function of one image on the CPU (Polygraphy's own PyTorch runner wants CUDA).

    Args:
        function: Image tensor -> outputs by name.
        dtype: Of the input image.
        shape: Of the input image; -1 where it is dynamic.
    """

    def __init__(
        self,
        function: Callable[[torch.Tensor], Mapping[str, torch.Tensor]],
        *,
        dtype: np.dtype[np.generic],
        shape: tuple[int, ...],
    ) -> None:
        super().__init__(name="pytorch", prefix="pytorch")
        self.function = function
        self.input_metadata = TensorMetadata().add("image", dtype=dtype, shape=shape)

    def get_input_metadata_impl(self) -> TensorMetadata:
        return self.input_metadata

    def infer_impl(self, feed_dict: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        image = torch.from_numpy(feed_dict["image"])
        start = time.perf_counter()
        with torch.no_grad():
            results = {name: tensor.numpy() for name, tensor in self.function(image).items()}
        self.inference_time = time.perf_counter() - start
        return results
