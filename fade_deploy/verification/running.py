"""Polygraphy at work: its Comparator runs the runners, its files keep what they gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from polygraphy.backend.base import BaseRunner
from polygraphy.comparator import Comparator, RunResults
from polygraphy.exception import PolygraphyException
from polygraphy.json import save_json
from polygraphy.logger import G_LOGGER

from fade_deploy.errors import FadeDeployError, InputError

__all__ = ["RunFailure", "run_all", "run_one", "save_inputs", "save_outputs"]

Arrays = Mapping[str, NDArray[Any]]


class RunFailure(Exception):
    """A runtime could not compute an input; the message is its reason, on one line."""


def run_all(runners: Sequence[BaseRunner], tensors: Arrays) -> list[dict[str, NDArray[Any]]]:
    """Outputs by name of each runner, in order."""
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL):  # Polygraphy logs to standard output
        results = Comparator.run(list(runners), data_loader=[dict(tensors)])
    return [dict(outputs.items()) for _, (outputs,) in results.items()]


def run_one(runner: BaseRunner, tensors: Arrays) -> dict[str, NDArray[Any]]:
    """Outputs by name of one runner.

    Raises:
        RunFailure: The runtime says that it can't compute this input.
        InputError: There is too little memory.
    """
    try:
        (outputs,) = run_all([runner], tensors)
    except Exception as error:  # onnxruntime's own exceptions have no common parent below it
        reason = " ".join(str(error).split())
        if isinstance(error, MemoryError) or "allocate memory" in reason:
            shapes = ", ".join(str(list(array.shape)) for array in tensors.values())
            raise InputError(
                f"{runner.name} takes more memory at {shapes} than this machine has: give smaller --shapes"
            ) from error
        if isinstance(error, FadeDeployError | PolygraphyException) or type(error).__module__.startswith("onnxruntime"):
            raise RunFailure(reason) from error
        raise
    return outputs


def save_inputs(path: Path, tensors: Arrays) -> None:
    """Write one input, as ``polygraphy run --load-inputs`` reads it."""
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
        save_json([dict(tensors)], str(path))


def save_outputs(path: Path, outputs: Mapping[str, Arrays]) -> None:
    """Write what each runner gave for one input, as ``polygraphy inspect data`` and ``polygraphy run`` read it."""
    results = RunResults()
    for runner, arrays in outputs.items():
        # No name of ours that only the reference has, see agreement.SCORES.
        results.add([{name: array for name, array in arrays.items() if name.isprintable()}], runner_name=runner)
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
        results.save(str(path))
