"""Checkpoints, exported files and engines timed beside each other, with what they take and how far they are apart."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fade_deploy import artefact
from fade_deploy.api.bench.against import compared_with
from fade_deploy.api.bench.checks import check_comparable, check_files, check_options, check_shared
from fade_deploy.api.bench.files import loaded_files, timed_shapes
from fade_deploy.api.bench.options import BenchOptions
from fade_deploy.api.bench.processes import fresh_process
from fade_deploy.api.bench.ways import Loaded, placement_of
from fade_deploy.api.verify.runners import Kind, kind_of
from fade_deploy.errors import MissingDependency
from fade_deploy.optional import require
from fade_deploy.provider import Provider
from fade_deploy.recipe import Shape
from fade_deploy.timing.accuracy import Accuracy, accuracy_of
from fade_deploy.timing.against import Against, earlier_benchmark
from fade_deploy.timing.benchmark import FORM, Benchmark, Candidate, CaseTimes, Memory, Placement
from fade_deploy.timing.bound_run import BoundSession
from fade_deploy.timing.machine import cores, is_busy, load_average, this_machine, versions
from fade_deploy.timing.polygraphy_times import PolygraphyTimes, polygraphy_times
from fade_deploy.timing.rounds import Round, interleaved, paired_ratios, periods_of, warmed_up

__all__ = ["Against", "BenchOptions", "Benchmark", "Candidate", "CaseTimes", "bench"]

logger = logging.getLogger(__name__)

_FEWEST, _MOST = 5, 1000  # runs of each at a shape
_POLYGRAPHY_SHARE = 4  # of the seconds: a quarter for each .onnx candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timed:
    """What one shape gave, by candidate."""

    rounds: list[Round]
    accuracy: Mapping[str, Accuracy]


def bench(files: Sequence[Path | str], options: BenchOptions | None = None) -> Benchmark:
    """Time every way to run some files, interleaved in this process.

    Each ``.onnx`` file runs on each of ``options.on`` in standard operators and, where they are installed, in native
    ones; checkpoints in eager PyTorch on the CPU; engines on their GPU. Inputs and outputs lie where it is computed, so
    times are of computing alone. Memory and load times come from a process for each candidate and shape.

    Args:
        files: Checkpoints, ``.onnx`` files and engines, of one task.
        options: See :class:`BenchOptions`.

    Returns:
        What was measured; ``passed`` is False where something got slower than in ``options.against``.

    Raises:
        FadeDeployError: The user can mend it.
    """
    options = options or BenchOptions()
    names = [str(file) for file in files]
    check_files(names)
    check_options(names, options)
    if options.against is None:
        return _measured(names, options, None)
    earlier = earlier_benchmark(options.against, form=FORM)
    result = _measured(names, options, earlier)
    return dataclasses.replace(result, against=compared_with(earlier, result, options))


def _measured(names: Sequence[str], options: BenchOptions, earlier: Mapping[str, Any] | None) -> Benchmark:
    machine, load, threads = this_machine(), load_average(), options.threads or cores()
    if earlier is not None:
        check_comparable(earlier, options, machine, threads)
    with _torch_threads_kept(names):
        start = time.perf_counter()
        loaded = loaded_files(names, options, threads)
        logger.info("load: %d candidates (%.1f s)", len(loaded), time.perf_counter() - start)
        placements = {name: placement_of(one) for name, one in loaded.items()}
        if options.providers:
            _check_told(loaded, placements)
        shapes = timed_shapes(list(loaded.values()), options)
        if earlier is not None:
            check_shared(earlier, loaded, shapes, options)
        timed = {shape: _timed(loaded, shape, options.seconds) for shape in shapes}
        beside, notes = _polygraphy(loaded, shapes[0], options.seconds / _POLYGRAPHY_SHARE)
    baseline = next(name for name, one in loaded.items() if one.way.file == (options.baseline or names[0]))
    if is_busy(load, machine.cores):
        notes.insert(
            0,
            f"this machine was busy: a load of {load:.1f} on {machine.cores} cores in the minute before; times of an "
            "idle machine are shorter and closer together",
        )
    return Benchmark(
        candidates=tuple(_candidate(name, one, baseline, timed, placements[name]) for name, one in loaded.items()),
        baseline=baseline,
        reference=next(iter(loaded)),
        shapes=shapes,
        threads=threads,
        budget=options.seconds,
        machine=machine,
        load=load,
        versions=versions(),
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        polygraphy=beside,
        notes=tuple(notes),
    )


def _timed(loaded: Mapping[str, Loaded], shape: Shape, seconds: float) -> _Timed:
    start = time.perf_counter()
    bound = {name: one.explained(shape, partial(one.ready, shape)) for name, one in loaded.items()}
    runs = {name: partial(one.explained, shape, bound[name].run) for name, one in loaded.items()}
    each = warmed_up(runs)
    periods, count = periods_of(each, seconds=seconds, fewest=_FEWEST, most=_MOST)
    rounds = interleaved(runs, periods, count)
    outputs: dict[str, NDArray[Any]] = {name: run.output() for name, run in bound.items()}
    reference = next(iter(loaded))
    accuracy = {
        name: accuracy_of(output, outputs[reference], loaded[name].head, loaded[reference].head)
        for name, output in outputs.items()
    }
    logger.info("time: %s, %d rounds (%.1f s)", shape, count, time.perf_counter() - start)
    return _Timed(rounds=rounds, accuracy=accuracy)


def _polygraphy(
    loaded: Mapping[str, Loaded], shape: Shape, seconds: float
) -> tuple[tuple[PolygraphyTimes, ...], list[str]]:
    """Polygraphy's times of the .onnx candidates, and a note where it is not there."""
    start = time.perf_counter()
    found = []
    for name, one in loaded.items():
        if one.session is None:
            continue
        inputs = one.inputs(shape)
        bound = BoundSession(one.session, inputs, one.head.output, Provider(one.way.provider))
        bound.run()
        try:
            times = polygraphy_times(
                one.session, bound, inputs, name=name, shape=str(shape), seconds=seconds, fewest=_FEWEST, most=_MOST
            )
        except MissingDependency as error:
            return (), [f"not timed beside Polygraphy: {error}"]
        found.append(times)
    if found:
        logger.info("polygraphy: %d candidates (%.1f s)", len(found), time.perf_counter() - start)
    return tuple(found), []


def _candidate(
    name: str, one: Loaded, baseline: str, timed: Mapping[Shape, _Timed], placement: Placement | None
) -> Candidate:
    """What was timed of one, with what it takes in processes of its own."""
    file = Path(one.way.file)
    taken = {shape: _taken(name, one, shape) for shape in timed}
    return Candidate(
        name=name,
        file=one.way.file,
        runtime=one.runtime,
        precision=str(one.precision),
        sha256=artefact.sha256_of(file),
        file_bytes=file.stat().st_size,
        load_seconds=tuple(seconds for seconds, _ in taken.values()),
        placement=placement,
        cases=tuple(
            CaseTimes(
                shape=shape,
                seconds=tuple(entry[name] for entry in found.rounds if name in entry),
                ratios=tuple(paired_ratios(found.rounds, name, baseline)),
                memory=taken[shape][1],
                accuracy=found.accuracy[name],
            )
            for shape, found in timed.items()
        ),
    )


def _taken(name: str, one: Loaded, shape: Shape) -> tuple[float, Memory]:
    start = time.perf_counter()
    found = fresh_process(one.way, shape)
    logger.info("memory: %s at %s (%.1f s)", name, shape, time.perf_counter() - start)
    return found


def _check_told(loaded: Mapping[str, Loaded], placements: Mapping[str, Placement | None]) -> None:
    for name, one in loaded.items():
        if one.session is not None and placements[name] is None:
            raise MissingDependency(
                f"--providers: {one.runtime.partition(',')[0]} can't tell where {one.way.file} runs its nodes, "
                "expected 1.24 or newer: pip install -U onnxruntime"
            )


@contextlib.contextmanager
def _torch_threads_kept(names: Sequence[str]) -> Iterator[None]:
    """PyTorch's number of threads is the process's; it is given back as it was."""
    if not any(kind_of(Path(name)) is Kind.CHECKPOINT for name in names):
        yield
        return
    torch = require("torch", extra="export")
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
