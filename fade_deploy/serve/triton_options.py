"""What a user can ask of a Triton model repository."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from fade_deploy.errors import ExportError
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.native_libraries import NONE

__all__ = ["Backend", "Instance", "TritonOptions", "model_name"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Backend(StrEnum):
    """What runs the model inside Triton."""

    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"
    PYTHON = "python"  # a model.py on fade_deploy.runtimes, without PyTorch


class Instance(StrEnum):
    """Where the model's instances compute."""

    CPU = "cpu"
    GPU = "gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonOptions:
    """How a model is served."""

    backend: Backend = Backend.ONNXRUNTIME
    name: str = ""  # of the model; empty: the source's stem
    instance: Instance = Instance.CPU
    instances: int = 1  # copies of the model that compute at the same time
    max_batch_size: int | None = None  # None: the usual one of a file that takes any batch; an engine's profile has its
    preferred_batch_sizes: tuple[int, ...] = ()  # empty: the batcher takes what waits; an engine's optimum is its own
    queue_delay_us: int = 0  # how long a request may wait for others to join its batch
    # Sizes that run before the server reports ready. Empty: the smallest and the usual size of a dynamic file, the one
    # size of a static file, the smallest and the optimum of an engine.
    warmup: tuple[Shape, ...] = ()
    threads: int = 0  # of ONNX Runtime within one operator; 0: one a core
    # Native operators, or the plugin of an engine, to copy beside the model: none, auto (the installed one) or a path.
    # With backend python, auto is the one that is installed in the server.
    library: str = NONE
    server_folder: str = "/models"  # where the server sees the repository
    force: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that no server takes, and what means nothing for the backend.

        Raises:
            ExportError: The message names the option.
        """
        for name, value, least in (
            ("instances", self.instances, 1),
            ("max_batch_size", self.max_batch_size, 1),
            ("queue_delay_us", self.queue_delay_us, 0),
            ("threads", self.threads, 0),
        ):
            if value is not None and value < least:
                raise ExportError(f"{name} is {value}, expected {least} or more")
        if self.backend is Backend.TENSORRT:
            if self.instance is Instance.CPU:
                raise ExportError("backend tensorrt runs on a GPU, instance is cpu: give instance gpu")
            # An engine's profile has the largest batch, and no threads compute it.
            for flag, value in (("--max-batch-size", self.max_batch_size), ("--threads", self.threads)):
                if value:
                    raise ExportError(
                        f"{flag} means nothing for --backend tensorrt, only for onnxruntime, python: leave it out"
                    )
        if not self.server_folder.startswith("/"):
            raise ExportError(
                f"server_folder is '{self.server_folder}', expected an absolute path: give the one under which the "
                "server sees the repository"
            )


def model_name(given: str) -> str:
    """A model's name, which is a folder's name, a part of the server's addresses and a word of its commands.

    Raises:
        ExportError: It has other characters than these allow.
    """
    if not _NAME.fullmatch(given):
        raise ExportError(
            f"'{given}' can't be a model's name, expected letters, digits, '_', '-' and '.': give one with --name "
            "(in Python, name)"
        )
    return given
