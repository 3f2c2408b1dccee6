"""An artefact against the golden outputs in the manifest beside it: on the target machine, without PyTorch."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy import artefact
from fade_deploy.api.verify.options import Backend, VerifyOptions, stated_tolerance
from fade_deploy.api.verify.runners import stated_precisions
from fade_deploy.contract import Head, Task
from fade_deploy.errors import FadeDeployError, InputError
from fade_deploy.precision import Precision, lowest_of
from fade_deploy.provider import Provider
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.native_libraries import NONE, NativeLibrary, library_for
from fade_deploy.runtimes.ort import ort_version, output_of, session_from_onnx
from fade_deploy.tolerances import Tolerance
from fade_deploy.verification.agreement import Agreement
from fade_deploy.verification.comparing import worst_of
from fade_deploy.verification.golden import GoldenCase, golden_cases, golden_inputs
from fade_deploy.verification.measures import measures_of
from fade_deploy.verification.verification import Comparison, Run, UsedInput, Verification, measured_on

__all__ = ["verify_manifest"]

logger = logging.getLogger(__name__)

_RUNTIMES = {Backend.CPU: Provider.CPU, Backend.CUDA: Provider.CUDA, Backend.TENSORRT: Provider.TENSORRT}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """One way to run the artefact."""

    label: str
    runtime: str
    run: Callable[[str, Mapping[str, NDArray[Any]]], NDArray[Any]]  # output's name, inputs -> output


def verify_manifest(path: Path, options: VerifyOptions) -> Verification:
    """Check the artefact's hash, then its outputs at the places that the manifest has.

    Needs numpy and onnxruntime, for an engine TensorRT; never torch, onnx or polygraphy.

    Raises:
        InputError: The manifest can't be read or carries no golden outputs, its artefact is missing, or an option is
            given that means nothing here.
    """
    _check_options(options)
    manifest = _read(path)
    file = path.with_name(str(manifest["artefact"]["file"]))
    if not file.is_file():
        raise InputError(f"{file} is not there, expected the artefact beside its manifest {path}: copy both files")
    cases = golden_cases(manifest.get("golden"), name=str(path))
    facts = manifest.get("metadata", manifest)  # an engine's manifest holds its model's under that name
    cases = _within_profile(cases, manifest, path)
    bound, title = _bound(path, manifest, options)
    sha256 = artefact.sha256_of(file)
    changed = sha256 != manifest["artefact"]["sha256"]
    ways = [] if changed else list(_ways(file, facts, options))
    try:
        task, head = Task(facts["task"]), Head(facts["head"])
        mean, std, embed = (facts[field] for field in ("mean", "std", "embed_preprocess"))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} does not describe its model ({error}), expected a manifest of fade-export") from error
    inputs = golden_inputs(task, [case.shape for case in cases], mean=mean, std=std, embed_preprocess=bool(embed))
    comparisons = [_changed(file, head, sha256, manifest)] if changed else []
    for case, (shape, tensors) in zip(cases, inputs, strict=True):
        for way in ways:
            start = time.perf_counter()
            found = _compared(case, way, f"{file.name} {way.label}", tensors, bound)
            comparisons.append(found)
            verdict = "agrees" if found.passed else f"DISAGREES: {found.reason}"
            logger.info("verify: %s, %s %s (%.1f s)", shape, way.label, verdict, time.perf_counter() - start)
    worst = worst_of(comparisons)
    runs = tuple(
        Run(
            name=f"{file.name} {way.label}",
            file=str(file),
            runtime=way.runtime,
            sha256=sha256,
            precision=str(lowest_of([Precision.FP32, *map(Precision, stated_precisions(facts, "nodes"))])),
            tolerance=title,
        )
        for way in ways
    )
    return Verification(
        task=str(task),
        head=str(head),
        reference=Run(
            name="golden outputs",
            file=str(path),
            runtime=str(manifest.get("agreement", {}).get("reference", "as exported")),
            sha256=artefact.sha256_of(path),
        ),
        runs=runs,
        inputs=tuple(UsedInput(name=str(case.shape), shape=case.shape, source="seed 0") for case in cases),
        comparisons=tuple(comparisons),
        bounds={run.name: bound for run in runs},
        worst=worst,
        command="" if worst is None or worst.passed else f"fade-verify {path}",
        notes=("errors are those at the places whose values the manifest has",),
        classes=tuple(facts.get("classes", ())),
        about=measured_on(),
    )


def _check_options(options: VerifyOptions) -> None:
    plain = VerifyOptions()
    for name in ("shapes", "seed", "images", "labels", "trimaps", "alphas", "max_miou_drop", "save_outputs", "recipe"):
        if getattr(options, name) != getattr(plain, name):
            raise InputError(
                f"--{name.replace('_', '-')} means nothing for a manifest, which brings its own inputs: leave it out"
            )
    if odd := [backend for backend in options.on if backend not in _RUNTIMES]:
        raise InputError(f"--on {odd[0]} is not for a manifest, expected cpu, cuda or tensorrt")


def _read(path: Path) -> dict[str, Any]:
    remedy = "give the .json file that fade-export wrote beside the artefact"
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}): {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {remedy}") from error
    stated = document.get("artefact") if isinstance(document, dict) else None
    if not isinstance(stated, dict) or not {"file", "sha256"} <= stated.keys():
        raise InputError(f"{path} names no artefact: {remedy}")
    if Path(str(stated["file"])).name != stated["file"]:
        raise InputError(f"{path} names the artefact {stated['file']}, expected a file beside it: {remedy}")
    return dict(document)


def _bound(path: Path, manifest: Mapping[str, Any], options: VerifyOptions) -> tuple[Tolerance, str]:
    if (stated := stated_tolerance(options.tolerance)) is not None:
        return stated, options.tolerance
    given = manifest.get("agreement", {}).get("tolerance")
    try:
        return Tolerance(atol=float(given["atol"]), rtol=float(given["rtol"]), why=str(given["why"])), "the manifest's"
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} states no tolerance, expected one under 'agreement': give --tolerance") from error


def _within_profile(cases: Sequence[GoldenCase], manifest: Mapping[str, Any], path: Path) -> list[GoldenCase]:
    """Those whose shape an engine takes; all of them of an .onnx file."""
    profile = manifest.get("profile")
    if not profile:
        return list(cases)
    low, high = Shape.parse(profile["min"]).sizes, Shape.parse(profile["max"]).sizes
    taken = [
        case
        for case in cases
        if all(least <= size <= most for least, size, most in zip(low, case.shape.sizes, high, strict=True))
    ]
    if not taken:
        raise InputError(
            f"{path} has golden outputs at {', '.join(str(case.shape) for case in cases)}, none of which the engine's "
            "profile takes: verify the engine against its .onnx file"
        )
    return taken


def _ways(file: Path, facts: Mapping[str, Any], options: VerifyOptions) -> list[_Way]:
    if file.suffix.lower() != ".onnx":
        from fade_deploy.runtimes.engine import load_engine

        loaded = load_engine(file, plugin=options.library)

        def run(output: str, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
            with loaded:
                return np.asarray(loaded.run(inputs)[output])

        return [_Way(label="engine", runtime=str(loaded.manifest["tensorrt"]["version"]), run=run)]
    ways = []
    for backend in options.on:
        provider = _RUNTIMES[backend]
        if provider is Provider.CPU and Precision.BF16 in stated_precisions(facts, "nodes"):
            raise InputError(
                f"{file} computes in bfloat16, for which onnxruntime has no kernels on the CPU, expected a GPU: give "
                "--on cuda, or verify it against its checkpoint, which emulates them"
            )
        if provider is not Provider.CPU:
            ways.append(_way(file, str(backend), f"{backend}", provider, options.library))
            continue
        ways.append(_way(file, "cpu", "CPU, standard operators", provider, NONE))
        native = library_for(options.library, NativeLibrary.ONNXRUNTIME_CPU)
        if native is not None and str(facts.get("operators", "")).startswith("fade"):
            ways.append(_way(file, "cpu native", "CPU, native operators", provider, str(native)))
    return ways


def _way(file: Path, label: str, where: str, provider: Provider, library: str) -> _Way:
    session = session_from_onnx(file, provider=provider, library=library)

    def run(output: str, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        # float16 where the file declares its inputs so.
        dtypes = {given.name: np.float16 if given.type == "tensor(float16)" else None for given in session.get_inputs()}
        given = {name: x.astype(dtypes[name]) if dtypes.get(name) else x for name, x in inputs.items()}
        return np.asarray(output_of(session, output, given, name=str(file)))

    return _Way(label=label, runtime=f"ONNX Runtime {ort_version()}, {where}", run=run)


def _changed(file: Path, head: Head, sha256: str, manifest: Mapping[str, Any]) -> Comparison:
    expected = str(manifest["artefact"]["sha256"])
    return Comparison(
        run=file.name,
        input="the file's bytes",
        output=head.output,
        passed=False,
        reason=f"sha256 is {sha256[:12]}, the manifest says {expected[:12]}: it is another file, or was changed",
        agreement=None,
    )


@np.errstate(invalid="ignore")
def _compared(
    case: GoldenCase, way: _Way, run: str, tensors: Mapping[str, NDArray[Any]], bound: Tolerance
) -> Comparison:
    shape = str(case.shape)
    try:
        whole = way.run(case.output, tensors)
    except FadeDeployError as error:
        return Comparison(
            run=run,
            input=shape,
            output=case.output,
            passed=False,
            reason=f"can't run it: {error}",
            agreement=None,
        )
    if whole.dtype == np.float16:
        whole = whole.astype(np.float32)
    fault = case.fault(whole, bound)
    if whole.shape != case.sizes:
        return Comparison(run=run, input=shape, output=case.output, passed=False, reason=fault, agreement=None)
    given, expected = whole.ravel()[case.positions], case.values
    is_labels = case.counts is not None
    measures = None if is_labels else measures_of(given, expected, class_axis=False)
    if is_labels:
        wrong = int((given != expected).sum())
        within = wrong == 0
        reason = f"{wrong} of {expected.size} decided labels differ"
    else:
        errors = np.abs(given - expected)
        within = bool((errors <= np.maximum(bound.atol, bound.rtol * np.abs(expected))).all())
        reason = f"max error {float(errors.max()):.1e}, tolerated {bound.atol:g} or {bound.rtol:g} of the value"
    agreement = Agreement(
        candidate=run,
        output=case.output,
        shape=shape,
        source="seed 0",
        passed=within and not fault,
        max_error=measures.max_error if measures else None,
        mean_error=measures.mean_error if measures else None,
        p999_error=measures.p999_error if measures else None,
        reference_std=case.statistics.get("std"),
        labels_compared=expected.size if is_labels else None,
        labels_agreeing=int((given == expected).sum()) if is_labels else None,
    )
    return Comparison(
        run=run,
        input=shape,
        output=case.output,
        passed=agreement.passed,
        reason="" if agreement.passed else (reason if not within else fault),
        agreement=agreement,
        measures=measures,
    )
