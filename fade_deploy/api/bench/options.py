"""What a user can ask of a benchmark."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fade_deploy.errors import InputError
from fade_deploy.provider import Provider
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.native_libraries import AUTOMATIC
from fade_deploy.timing.against import MARGIN

__all__ = ["BenchOptions", "batches_of", "providers_of", "sizes_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """How to measure; the fields are the command's options."""

    on: tuple[Provider, ...] = (Provider.CPU,)  # where .onnx files run
    sizes: tuple[tuple[int, int], ...] = ()  # (height, width); none: what the files are for, else 512x512
    batches: tuple[int, ...] = ()  # none: 1 and 4, of these what the files take
    seconds: float = 10.0  # for the timed runs of one shape, all candidates together
    threads: int = 0  # of each run; 0: as many as this process has cores
    baseline: str = ""  # a file, whose first candidate the ratios are to; empty: the first file
    providers: bool = False  # refuse what can't show which provider runs each node
    against: Path | None = None  # an earlier benchmark
    margin: float = MARGIN  # what the machine alone may do between the two, as a share
    other_machine: bool = False  # compare with another machine or number of threads all the same
    recipe: str = ""  # of checkpoints, as in fade_deploy.export
    ema: bool = False  # of checkpoints
    library: str = AUTOMATIC  # of native operators, of .onnx files
    plugin: str = AUTOMATIC  # of TensorRT, of engines


def providers_of(text: str) -> tuple[Provider, ...]:
    """Read ``cpu,cuda``.

    Raises:
        InputError: There is another word, or none.
    """
    words = [word.strip() for word in text.split(",")]
    if wrong := [word for word in words if word not in list(Provider)]:
        raise InputError(f"--on has '{wrong[0]}', expected a list of {', '.join(Provider)}, for example cpu,cuda")
    return tuple(dict.fromkeys(Provider(word) for word in words))


def batches_of(text: str) -> tuple[int, ...]:
    """Read ``1,4,8``; empty for none.

    Raises:
        InputError: One is no batch size.
    """
    words = [word.strip() for word in text.split(",")] if text else []
    if wrong := [word for word in words if not (word.isascii() and word.isdigit() and 0 < int(word) < 10_000)]:
        raise InputError(f"--batches has '{wrong[0]}', expected numbers of 1 or more, for example 1,4,8")
    return tuple(dict.fromkeys(int(word) for word in words))


def sizes_of(text: str) -> tuple[tuple[int, int], ...]:
    """Read ``512x512,256x384`` (HxW); empty for none.

    Raises:
        InputError: One is no size.
    """
    words = [word.strip() for word in text.split(",")] if text else []
    if wrong := [word for word in words if re.fullmatch(r"[1-9][0-9]{0,5}x[1-9][0-9]{0,5}", word) is None]:
        raise InputError(
            f"--shapes has '{wrong[0]}', expected HxW, for example 512x512; how many at a time is told with --batches"
        )
    shapes = [Shape.parse(f"1x{word}") for word in words]
    return tuple(dict.fromkeys((shape.height, shape.width) for shape in shapes))
