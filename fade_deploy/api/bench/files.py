"""The files of a benchmark, each in every way that it is run, and the shapes that all of them take."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

from fade_deploy.api.bench.loading import load, native_way
from fade_deploy.api.bench.options import BenchOptions
from fade_deploy.api.bench.ways import Loaded, Way
from fade_deploy.api.verify.runners import Kind, kind_of
from fade_deploy.errors import InputError
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.native_libraries import NONE

__all__ = ["loaded_files", "timed_shapes"]

_DEFAULT_BATCHES = (1, 4)
_DEFAULT_SIDE = 512  # what both models are trained at


def loaded_files(names: Sequence[str], options: BenchOptions, threads: int) -> dict[str, Loaded]:
    """Load every file in every way that was asked for, by names of their own, in the files' order.

    Raises:
        FadeDeployError: One can't be loaded, or they are not of one task.
    """
    titles = {name: Path(name).name for name in names}
    short = list(titles.values())
    titles = {name: title if short.count(title) == 1 else name for name, title in titles.items()}
    found: dict[str, list[Loaded]] = {}
    checkpoints = [name for name in names if kind_of(Path(name)) is Kind.CHECKPOINT]
    for name in names:
        if name not in checkpoints:
            found[name] = _loaded_file(name, options, threads)
    exported = next((one for ones in found.values() for one in ones), None)
    for name in checkpoints:
        way = Way(file=name, threads=threads, recipe=options.recipe, ema=options.ema)
        if exported is not None:
            way = dataclasses.replace(way, head=str(exported.head), embed_preprocess=exported.embed_preprocess)
        found[name] = [load(way)]
    ordered = [one for name in names for one in found[name]]
    for one in ordered[1:]:
        if one.task is not ordered[0].task:
            raise InputError(
                f"{ordered[0].way.file} is for {ordered[0].task}, {one.way.file} for {one.task}: give files of one task"
            )
    return {f"{titles[one.way.file]} {one.label}": one for one in ordered}


def _loaded_file(name: str, options: BenchOptions, threads: int) -> list[Loaded]:
    if kind_of(Path(name)) is not Kind.ONNX:
        return [load(Way(file=name, threads=threads, plugin=options.plugin))]
    found = []
    for provider in options.on:
        standard = load(Way(file=name, threads=threads, provider=provider, library=NONE))
        native = native_way(standard, options.library)
        found += [standard] if native is None else [standard, load(native)]
    return found


def timed_shapes(loaded: Sequence[Loaded], options: BenchOptions) -> tuple[Shape, ...]:
    """Sizes times batches, those that were asked for or, of the usual ones, those that every file takes.

    Raises:
        InputError: A file does not take one that was asked for, or the files have none in common.
    """
    sizes = options.sizes or (_default_size(loaded),)
    batches = options.batches or _DEFAULT_BATCHES
    fixed = next((one.sizes[0] for one in loaded if one.sizes[0] is not None), None)
    if not options.batches and fixed is not None:
        batches = (fixed,)
    wanted = [Shape(batch, height, width) for batch, (height, width) in itertools.product(batches, sizes)]
    refused = {
        shape: f"{one.way.file} does not take {shape} ({why})"
        for shape in wanted
        for one in loaded
        if (why := one.refusal(shape))
    }
    kept = tuple(shape for shape in wanted if shape not in refused)
    sizes_kept = {(shape.height, shape.width) for shape in kept}
    for shape, reason in refused.items():  # one of the usual batches may be left out, a size or a stated batch may not
        if options.batches or (shape.height, shape.width) not in sizes_kept:
            raise InputError(
                f"{reason}, expected a size that every file takes: give --shapes and --batches for that, or leave the "
                "file out"
            )
    return kept


def _default_size(loaded: Sequence[Loaded]) -> tuple[int, int]:
    for one in loaded:
        _, height, width = one.sizes
        if height is not None and width is not None:
            return height, width
    best = next((one.profile[1] for one in loaded if one.profile), None)
    return (_DEFAULT_SIDE, _DEFAULT_SIDE) if best is None else (best.height, best.width)
