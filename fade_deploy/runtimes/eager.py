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
    """Runs a function on the CPU (Polygraphy's own PyTorch runner wants CUDA).

    Args:
        function: Input tensors by name -> outputs by name.
        inputs: Name -> dtype and shape of each input; -1 where a size is dynamic.
    """

    def __init__(
        self,
        function: Callable[..., Mapping[str, torch.Tensor]],
        inputs: Mapping[str, tuple[np.dtype[np.generic], tuple[int, ...]]],
    ) -> None:
        super().__init__(name="pytorch", prefix="pytorch")
        self.function = function
        self.input_metadata = TensorMetadata()
        for name, (dtype, shape) in inputs.items():
            self.input_metadata.add(name, dtype=dtype, shape=shape)

    def get_input_metadata_impl(self) -> TensorMetadata:
        return self.input_metadata

    def infer_impl(self, feed_dict: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        # Copies: the function may work in place, and the other runner is fed the same arrays.
        inputs = {name: torch.from_numpy(array.copy()) for name, array in feed_dict.items()}
        start = time.perf_counter()
        with torch.no_grad():
            results = {name: tensor.detach().numpy() for name, tensor in self.function(**inputs).items()}
        self.inference_time = time.perf_counter() - start
        return results
