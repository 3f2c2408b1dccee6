"""What a benchmark refuses before it measures anything."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fade_deploy.api.bench.options import BenchOptions
from fade_deploy.api.verify.runners import Kind, kind_of
from fade_deploy.errors import InputError
from fade_deploy.provider import Provider
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.native_libraries import AUTOMATIC
from fade_deploy.timing.against import MARGIN, earlier_times
from fade_deploy.timing.machine import Machine

__all__ = ["check_comparable", "check_files", "check_options", "check_shared"]


def check_files(names: Sequence[str]) -> None:
    """Refuse files that are missing or given twice.

    Raises:
        InputError: The message names the first.
    """
    expected = "expected a checkpoint, an .onnx file or an engine"
    if not names:
        raise InputError(f"no file is given, {expected}: give one or more")
    if len(set(names)) < len(names):
        raise InputError(f"{max(names, key=names.count)} is given twice, expected different files: leave one out")
    for name in names:
        if not _is_file(Path(name)):
            raise InputError(f"{name} is no file that can be read, {expected}: check the name")


def check_options(names: Sequence[str], options: BenchOptions) -> None:
    """Refuse options that have no meaning, or none for these files.

    Raises:
        InputError: The message names the first.
    """
    if not 0 < options.seconds < math.inf:  # which NaN isn't either
        raise InputError(f"--seconds is {options.seconds}, expected a number above 0, for example 10")
    if not 0 <= options.margin < math.inf:
        raise InputError(f"--margin is {options.margin}, expected a share of 0 or more, for example 0.1")
    if options.baseline and options.baseline not in names:
        raise InputError(f"--baseline {options.baseline} is none of the files, expected one of {', '.join(names)}")
    kinds = {kind_of(Path(name)) for name in names}
    a_checkpoint, an_onnx_file = ("a checkpoint", Kind.CHECKPOINT in kinds), ("an .onnx file", Kind.ONNX in kinds)
    an_engine, an_earlier_one = ("an engine", Kind.ENGINE in kinds), ("--against", options.against is not None)
    for option, is_given, (needed, is_there) in (
        ("--recipe", bool(options.recipe), a_checkpoint),
        ("--ema", options.ema, a_checkpoint),
        ("--on", options.on != BenchOptions().on, an_onnx_file),
        ("--library", options.library != AUTOMATIC, an_onnx_file),
        ("--library", options.library != AUTOMATIC, ("--on cpu or cuda", set(options.on) != {Provider.TENSORRT})),
        ("--providers", options.providers, an_onnx_file),
        ("--plugin", options.plugin != AUTOMATIC, an_engine),
        ("--margin", options.margin != MARGIN, an_earlier_one),
        ("--other-machine", options.other_machine, an_earlier_one),
    ):
        if is_given and not is_there:
            raise InputError(f"{option} means nothing without {needed}, and none is given: leave it out")


def check_comparable(earlier: Mapping[str, Any], options: BenchOptions, machine: Machine, threads: int) -> None:
    """Refuse an earlier benchmark of another machine or number of threads, unless that is asked for.

    Raises:
        InputError: The message names every difference.
    """
    differences = machine.differences(earlier["machine"])
    if earlier["threads"] != threads:
        differences.append(f"threads: {earlier['threads']}, here {threads}")
    if differences and not options.other_machine:
        raise InputError(
            f"--against {options.against} was measured otherwise ({'; '.join(differences)}), expected the same machine "
            "and number of threads: measure both here, or compare all the same with --other-machine"
        )


def check_shared(
    earlier: Mapping[str, Any], names: Iterable[str], shapes: Sequence[Shape], options: BenchOptions
) -> None:
    """Refuse an earlier benchmark that shares no candidate and shape with this one.

    Raises:
        InputError: The message names what it has.
    """
    before = earlier_times(earlier)
    if not any((name, str(shape)) in before for name in names for shape in shapes):
        raise InputError(
            f"--against {options.against} has none of these candidates at these shapes, it has "
            f"{', '.join(f'{name} at {shape}' for name, shape in before)}: give the same files, --shapes and --batches"
        )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be searched
        return False
