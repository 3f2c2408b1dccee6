"""An exported file against the golden outputs in the manifest beside it: on the target machine, without PyTorch."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy import artefact
from fade_deploy.api.verify.options import Backend, VerifyOptions, check_unused, reproducing_command, stated_tolerance
from fade_deploy.api.verify.runners import own_module, precision_of
from fade_deploy.contract import OWN_MODULE, Head, Task
from fade_deploy.errors import FadeDeployError, InputError
from fade_deploy.precision import Precision
from fade_deploy.provider import Provider
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.deployed_metadata import metadata_fault
from fade_deploy.runtimes.native_libraries import AUTOMATIC, NONE, NativeLibrary, library_for
from fade_deploy.runtimes.native_operators import has_native_operators
from fade_deploy.runtimes.ort import ort_version, output_of, session_from_onnx
from fade_deploy.tolerances import Tolerance
from fade_deploy.verification.agreement import Agreement
from fade_deploy.verification.comparing import worst_of
from fade_deploy.verification.golden import GoldenCase, golden_cases, golden_inputs
from fade_deploy.verification.measures import Measures, measures_of
from fade_deploy.verification.verification import Comparison, Run, UsedInput, Verification, measured_on

__all__ = ["verify_manifest"]

logger = logging.getLogger(__name__)

_RUNTIMES = {Backend.CPU: Provider.CPU, Backend.CUDA: Provider.CUDA, Backend.TENSORRT: Provider.TENSORRT}
_SETTLED = (
    *("shapes", "seed", "images", "labels", "trimaps", "alphas", "max_miou_drop", "save_outputs", "recipe", "ema"),
    "plugin",
)

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manifest:
    """What a manifest says, checked."""

    path: Path
    file: Path  # the artefact
    sha256: str  # of the artefact, as stated
    facts: Mapping[str, Any]
    agreement: Mapping[str, Any]
    cases: list[GoldenCase]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """One way to run the artefact."""

    name: str
    runtime: str
    run: Callable[[str, Arrays], NDArray[Any]]  # output's name, inputs -> output


def verify_manifest(path: Path, options: VerifyOptions) -> Verification:
    """Check the artefact's hash, then its outputs at the places that the manifest has.

    Needs numpy and onnxruntime; never torch, onnx or polygraphy.

    Raises:
        InputError: The manifest can't be read or carries no golden outputs, its artefact is missing, or an option is
            given that means nothing here.
    """
    check_unused(options, _SETTLED, "for a manifest, which brings its own inputs")
    if odd := [backend for backend in options.on if backend not in _RUNTIMES]:
        raise InputError(f"--on {odd[0]} is not for a manifest, expected cpu, cuda or tensorrt")
    manifest = _read(path)
    if not manifest.file.is_file():
        raise InputError(
            f"{manifest.file} is not there, expected the artefact beside its manifest {path}: copy both files"
        )
    bound, title = _bound(manifest, options)
    sha256 = artefact.sha256_of(manifest.file)
    if sha256 != manifest.sha256:
        # What another file computes says nothing about this one, so it is not run.
        runs = [_run(manifest, manifest.file.name, "not run", sha256, title)]
        return _verification(manifest, options, runs, bound, [], [_changed(manifest, sha256)])
    ways = _ways(manifest, options)
    comparisons = []
    for case, (shape, tensors) in zip(manifest.cases, _inputs(manifest), strict=True):
        for way in ways:
            start = time.perf_counter()
            found = _compared(case, way, tensors, bound)
            comparisons.append(found)
            verdict = "agrees" if found.passed else f"DISAGREES: {found.reason}"
            logger.info("verify: %s, %s %s (%.1f s)", shape, way.name, verdict, time.perf_counter() - start)
    runs = [_run(manifest, way.name, way.runtime, sha256, title) for way in ways]
    return _verification(manifest, options, runs, bound, manifest.cases, comparisons)


def _read(path: Path) -> _Manifest:
    remedy = "give the .json file that fade-export wrote beside an .onnx file"
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}): {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {remedy}") from error
    stated = document.get("artefact") if isinstance(document, dict) else None
    if not isinstance(stated, dict) or not {"file", "sha256"} <= stated.keys():
        raise InputError(f"{path} names no artefact: {remedy}")
    name = str(stated["file"])
    if not name or Path(name).name != name:
        raise InputError(f"{path} names the artefact {name}, expected a file beside it: {remedy}")
    if "tensorrt" in document:
        raise InputError(
            f"{path} is the manifest of an engine, which carries no golden outputs, expected that of an .onnx file: "
            f"compare the engine, where TensorRT is, with its checkpoint or .onnx file (fade-verify {name} model.pth)"
        )
    if document.get("task") == OWN_MODULE:
        raise own_module(str(path))
    if fault := metadata_fault(document):
        raise InputError(f"{path} does not describe its model: {fault}; {remedy}")
    agreement = document.get("agreement")
    return _Manifest(
        path=path,
        file=path.with_name(name),
        sha256=str(stated["sha256"]),
        facts=document,
        agreement=agreement if isinstance(agreement, dict) else {},
        cases=golden_cases(document.get("golden"), name=str(path)),
    )


def _bound(manifest: _Manifest, options: VerifyOptions) -> tuple[Tolerance, str]:
    if (stated := stated_tolerance(options.tolerance)) is not None:
        return stated, options.tolerance
    given: Any = manifest.agreement.get("tolerance")
    try:
        return Tolerance(atol=float(given["atol"]), rtol=float(given["rtol"]), why=str(given["why"])), "the manifest's"
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{manifest.path} states no tolerance, expected one under 'agreement': give --tolerance"
        ) from error


def _ways(manifest: _Manifest, options: VerifyOptions) -> list[_Way]:
    ways = []
    for backend in options.on:
        provider = _RUNTIMES[backend]
        if provider is not Provider.CPU:
            ways.append(_way(manifest.file, str(backend), str(backend), provider, options.library))
            continue
        if precision_of(manifest.facts) is Precision.BF16:
            raise InputError(
                f"{manifest.file} computes in bfloat16, for which onnxruntime has no kernels on the CPU, expected a "
                "GPU: give --on cuda, or verify it against its checkpoint, which emulates them"
            )
        ways.append(_way(manifest.file, "cpu", "CPU, standard operators", provider, NONE))
        native = library_for(options.library, NativeLibrary.ONNXRUNTIME_CPU)
        if native is not None and has_native_operators(manifest.file):
            ways.append(_way(manifest.file, "cpu native", "CPU, native operators", provider, str(native)))
        elif str(options.library) not in (AUTOMATIC, NONE):
            raise InputError(
                f"{manifest.file} has no fade operator, so --library {options.library} does nothing: leave it out"
            )
    return ways


def _way(file: Path, label: str, where: str, provider: Provider, library: str) -> _Way:
    session = session_from_onnx(file, provider=provider, library=library)

    def run(output: str, inputs: Arrays) -> NDArray[Any]:
        # float16 where the file declares its inputs so.
        dtypes = {given.name: np.float16 if given.type == "tensor(float16)" else None for given in session.get_inputs()}
        given = {name: x.astype(dtypes[name]) if dtypes.get(name) else x for name, x in inputs.items()}
        return np.asarray(output_of(session, output, given, name=str(file)))

    return _Way(name=f"{file.name} {label}", runtime=f"ONNX Runtime {ort_version()}, {where}", run=run)


def _inputs(manifest: _Manifest) -> Iterator[tuple[Shape, dict[str, NDArray[Any]]]]:
    facts = manifest.facts
    return golden_inputs(
        Task(facts["task"]),
        [case.shape for case in manifest.cases],
        mean=facts["mean"],
        std=facts["std"],
        embed_preprocess=facts["embed_preprocess"],
    )


def _changed(manifest: _Manifest, sha256: str) -> Comparison:
    return Comparison(
        run=manifest.file.name,
        input="the file's bytes",
        output=Head(manifest.facts["head"]).output,
        passed=False,
        reason=f"sha256 is {sha256[:12]}, the manifest says {manifest.sha256[:12]}: it is another file, or was changed",
        agreement=None,
    )


@np.errstate(invalid="ignore")
def _compared(case: GoldenCase, way: _Way, tensors: Arrays, bound: Tolerance) -> Comparison:
    shape = str(case.shape)

    def failed(reason: str) -> Comparison:
        return Comparison(run=way.name, input=shape, output=case.output, passed=False, reason=reason, agreement=None)

    try:
        whole = way.run(case.output, tensors)
    except MemoryError as error:
        raise InputError(
            f"{way.name} takes more memory at {shape} than this machine has: free some, or take a machine with more"
        ) from error
    except FadeDeployError as error:
        return failed(f"can't run it: {error}")
    if whole.dtype == np.float16:
        whole = whole.astype(np.float32)
    fault = case.fault(whole, bound)
    if whole.shape != case.sizes:
        return failed(fault)
    given, expected = whole.ravel()[case.positions], case.values
    measures = measures_of(given, expected, class_axis=False) if case.counts is None else None
    reason = _fault_at_places(given, expected, bound, measures) or fault
    agreement = Agreement(
        candidate=way.name,
        output=case.output,
        shape=shape,
        source="seed 0",
        passed=not reason,
        max_error=measures.max_error if measures else None,
        mean_error=measures.mean_error if measures else None,
        p999_error=measures.p999_error if measures else None,
        reference_std=case.statistics.get("std"),
        labels_compared=None if measures else expected.size,
        labels_agreeing=None if measures else int((given == expected).sum()),
    )
    return Comparison(
        run=way.name,
        input=shape,
        output=case.output,
        passed=not reason,
        reason=reason,
        agreement=agreement,
        measures=measures,
    )


def _fault_at_places(given: NDArray[Any], expected: NDArray[Any], bound: Tolerance, measures: Measures | None) -> str:
    """What is wrong with the values that the manifest has; empty where nothing is."""
    if measures is None:
        wrong = int((given != expected).sum())
        return f"{wrong} of {expected.size} decided labels differ" if wrong else ""
    if measures.nan + measures.inf:
        return f"{measures.nan} NaN and {measures.inf} infinite values"
    errors = np.abs(given - expected)
    if (errors <= np.maximum(bound.atol, bound.rtol * np.abs(expected))).all():
        return ""
    return f"max error {measures.max_error:.1e}, tolerated {bound.atol:g} or {bound.rtol:g} of the value"


def _run(manifest: _Manifest, name: str, runtime: str, sha256: str, tolerance: str) -> Run:
    return Run(
        name=name,
        file=str(manifest.file),
        runtime=runtime,
        sha256=sha256,
        precision=str(precision_of(manifest.facts)),
        tolerance=tolerance,
    )


def _verification(
    manifest: _Manifest,
    options: VerifyOptions,
    runs: list[Run],
    bound: Tolerance,
    cases: list[GoldenCase],
    comparisons: list[Comparison],
) -> Verification:
    worst = worst_of(comparisons)
    command = ""
    if worst is not None and not worst.passed:
        command = reproducing_command([str(manifest.path)], options, on=options.on, shapes=[], picture=None)
    return Verification(
        task=str(manifest.facts["task"]),
        head=str(manifest.facts["head"]),
        reference=Run(
            name="golden outputs",
            file=str(manifest.path),
            runtime=str(manifest.agreement.get("reference", "as exported")),
            sha256=artefact.sha256_of(manifest.path),
        ),
        runs=tuple(runs),
        inputs=tuple(UsedInput(name=str(case.shape), shape=case.shape, source="seed 0") for case in cases),
        comparisons=tuple(comparisons),
        bounds={run.name: bound for run in runs},
        worst=worst,
        command=command,
        notes=("errors are those at the places whose values the manifest has",) if cases else (),
        classes=tuple(manifest.facts.get("classes", ())),
        about=measured_on(),
    )
