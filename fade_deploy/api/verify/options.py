"""What a user can ask of a verification, and the command line that asks it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from fade_deploy.errors import InputError
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.native_libraries import AUTOMATIC
from fade_deploy.tolerances import Tolerance, tolerance

__all__ = [
    "Backend",
    "VerifyOptions",
    "backends",
    "check_unused",
    "reproducing_command",
    "shapes_of",
    "stated_tolerance",
]


class Backend(StrEnum):
    """Where an ``.onnx`` file is run."""

    CPU = "cpu"  # ONNX Runtime, in standard operators and, where they are installed, native ones
    CUDA = "cuda"
    TENSORRT = "tensorrt"  # ONNX Runtime's provider
    REFERENCE = "reference"  # onnx's ReferenceEvaluator
    OPENVINO = "openvino"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """How to verify; the fields are the command's options."""

    on: tuple[Backend, ...] = (Backend.CPU,)
    shapes: tuple[Shape, ...] = ()  # none: what the recipe or the engine's profile covers
    seed: int | None = None  # pictures made of this number; None: the recipe's
    images: Path | None = None  # a folder of pictures, or one
    labels: Path | None = None  # of segmentation: the truth, by the pictures' names
    trimaps: Path | None = None  # of matting, likewise
    alphas: Path | None = None  # of matting: the truth, likewise
    tolerance: str = ""  # a name or a number; empty: the recipe's
    max_miou_drop: float | None = None  # 0..1; needs labels
    save_outputs: Path | None = None  # a folder
    recipe: str = ""  # as in fade_deploy.export
    ema: bool = False
    library: str = AUTOMATIC  # of native operators, for onnxruntime
    plugin: str = AUTOMATIC  # of native operators, for engines


def backends(text: str) -> tuple[Backend, ...]:
    """Read ``cpu,reference``.

    Raises:
        InputError: There is another word, or none.
    """
    words = [word.strip() for word in text.split(",")]
    if wrong := [word for word in words if word not in list(Backend)]:
        raise InputError(f"--on has '{wrong[0]}', expected a list of {', '.join(Backend)}, for example cpu,reference")
    return tuple(dict.fromkeys(Backend(word) for word in words))


def shapes_of(text: str) -> tuple[Shape, ...]:
    """Read ``1x512x512,2x256x384``; empty for none.

    Raises:
        RecipeError: One is no shape.
    """
    return tuple(Shape.parse(word.strip()) for word in text.split(",")) if text else ()


def stated_tolerance(text: str) -> Tolerance | None:
    """Read ``--tolerance``: a name of :mod:`fade_deploy.tolerances`, or a number; None where it is empty.

    Raises:
        RecipeError: No tolerance has that name.
        InputError: The number is negative or not finite.
    """
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        return tolerance(text)
    if not 0 <= number < float("inf"):
        raise InputError(f"--tolerance is {text}, expected a number of 0 or more, or the name of a tolerance")
    return Tolerance(atol=number, why="given with --tolerance")


def check_unused(options: VerifyOptions, names: Sequence[str], reason: str) -> None:
    """Refuse what was asked for and would do nothing.

    Args:
        options: Of the verification.
        names: Fields that have to stand at their default.
        reason: Why they mean nothing, as "without an engine".

    Raises:
        InputError: One does not.
    """
    plain = VerifyOptions()
    for name in names:
        if getattr(options, name) != getattr(plain, name):
            raise InputError(f"--{name.replace('_', '-')} means nothing {reason}: leave it out")


def reproducing_command(
    files: Sequence[str],
    options: VerifyOptions,
    *,
    on: Sequence[Backend],
    shapes: Sequence[Shape],
    picture: Path | None,
) -> str:
    """The command that compares these files on one input, or at a few shapes.

    Args:
        files: As they were given.
        options: Of the verification.
        on: The backends that are compared, the reference's first; none where the files choose.
        shapes: Of the inputs; none where the picture decides.
        picture: The input, or a folder of them; None for the recipe's or the seed's.
    """
    words = ["fade-verify", *files]
    for flag, value in (
        ("--on", "" if set(on) <= {Backend.CPU} else ",".join(dict.fromkeys(on))),
        ("--shapes", ",".join(map(str, shapes))),
        ("--seed", "" if options.seed is None else str(options.seed)),
        ("--images", "" if picture is None else str(picture)),
        ("--trimaps", "" if picture is None else str(options.trimaps or "")),
        # A truth is of a picture at its own size.
        ("--labels", "" if shapes else str(options.labels or "")),
        ("--alphas", "" if shapes else str(options.alphas or "")),
        ("--max-miou-drop", "" if shapes or options.max_miou_drop is None else str(options.max_miou_drop)),
        ("--tolerance", options.tolerance),
        ("--recipe", options.recipe),
        ("--library", "" if options.library == AUTOMATIC else str(options.library)),
        ("--plugin", "" if options.plugin == AUTOMATIC else str(options.plugin)),
    ):
        if value:
            words += [flag, value]
    if options.ema:
        words.append("--ema")
    return shlex.join(words)
