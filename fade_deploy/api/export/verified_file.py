"""The end of every export: a staged file, compared with PyTorch, that gets its name only where both agree."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from polygraphy.backend.onnxrt import OnnxrtRunner

from fade_deploy import artefact, contract
from fade_deploy.api.export.manifest import manifest_document
from fade_deploy.errors import ExportError, InputError
from fade_deploy.graph.emulation import emulate_low_types
from fade_deploy.graph.precision import Typing
from fade_deploy.precision import Precision, lowest_of
from fade_deploy.runtimes.eager import EagerRunner
from fade_deploy.runtimes.native_libraries import NONE, NativeLibrary, library_for
from fade_deploy.runtimes.ort import ort_version, session_from_onnx
from fade_deploy.tolerances import Tolerance
from fade_deploy.verification.agreement import Agreement, compare
from fade_deploy.verification.inputs import VerificationInput

__all__ = ["ExportResult", "check_target", "publish_verified"]

STANDARD_OPERATORS, NATIVE_OPERATORS = "standard operators", "native operators"
# What onnxruntime and our native operators take on the CPU: of bfloat16 it has hardly any operator.
_COMPUTED = (Precision.FP32, Precision.FP16)

logger = logging.getLogger(__name__)

# A verification input's tensors by name -> the reference's outputs by name.
Eager = Callable[..., Mapping[str, torch.Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What was written and what was measured."""

    path: Path
    manifest: Path
    passed: bool
    agreements: tuple[Agreement, ...]
    document: dict[str, Any]  # the manifest's content
    notes: tuple[str, ...]  # what was left out of the checkpoint, and other things to know


def check_target(target: Path, *, opset: int, library: str, force: bool) -> None:
    """Refuse, before anything else is done, what can't be written or verified.

    Raises:
        ExportError: An opset that we don't write, or a name without ``.onnx``.
        OutputError: Something is there already, or the folder takes no files.
        InputError: The library of native operators is not there.
    """
    library_for(library, NativeLibrary.ONNXRUNTIME_CPU)
    if opset not in contract.LOWEST_ONNXRUNTIME:
        first, *_, last = contract.LOWEST_ONNXRUNTIME
        raise ExportError(
            f"opset {opset!r} is not supported: give --opset {first} to {last} (in Python, opset={first} to {last})"
        )
    if target.suffix != ".onnx":
        raise ExportError(
            f"{target} does not end in .onnx, which runtimes expect; give another name with -o (in Python, output)"
        )
    for path in (target, _unverified(target)):
        artefact.check_target(path, force=force)
        artefact.check_target(path.with_suffix(".json"), force=force)


def publish_verified(
    graph: ir.Model,
    facts: dict[str, Any],
    asked: Path,
    *,
    eager: Eager,
    outputs: Sequence[str],
    inputs: Iterable[VerificationInput],
    bound: Tolerance,
    library: str,
    manifest_facts: Mapping[str, Any],
    typing: Typing | None = None,
    notes: tuple[str, ...] = (),
) -> ExportResult:
    """Write ``graph`` with ``facts`` inside, compare the very file with PyTorch, and give it its name and manifest.

    Args:
        graph: The model.
        facts: Its metadata.
        asked: The file's name; another one, ``STEM.unverified.onnx``, where the runtimes disagree.
        eager: The reference.
        outputs: Which of its outputs to compare.
        inputs: What to run both on.
        bound: The tolerated error.
        library: Native operators to compare, too: ``auto``, the installed ones, if there are; ``none``; or a path.
        manifest_facts: What only the manifest says: ``verification``, ``reproduce`` and, of our models, ``golden``.
        typing: How the graph was typed; None for float32.
        notes: For the result.
    """
    graph.metadata_props[contract.METADATA_KEY] = json.dumps(facts, sort_keys=True, ensure_ascii=False)
    data = ir.serde.serialize_model(graph).SerializeToString(deterministic=True)
    onnx.checker.check_model(data, full_check=True)
    with artefact.staged(asked, data) as staged:
        has_ours = any(node.domain == contract.DOMAIN for node in graph.graph)
        low = lowest_of(typing.nodes) if typing else Precision.FP32
        native = library_for(library, NativeLibrary.ONNXRUNTIME_CPU) if has_ours and low in _COMPUTED else None
        sessions = _sessions(staged, native) if low in _COMPUTED else {}
        if low is not Precision.FP32:
            sessions[f"{low.type_name} emulated in float32"] = _emulating_session(staged)
        agreements = _verify(sessions, eager, outputs, inputs, bound)
        passed = all(agreement.passed for agreement in agreements)
        target = asked if passed else _unverified(asked)
        if low not in _COMPUTED:
            notes = (
                *notes,
                f"onnxruntime can't run {low.type_name} on the CPU: a float32 twin of the file was compared, with its "
                "weights, rounded where it rounds",
            )
        if not passed and all(agreement.passed for agreement in agreements if agreement.candidate != NATIVE_OPERATORS):
            notes = (*notes, f"only {native} disagrees: --library none exports for standard operators")
        if not passed and asked.exists():
            notes = (*notes, f"{asked} is of an earlier export and was left as it is")
        manifest = target.with_suffix(".json")
        document = manifest_document(
            facts, staged, target, bound, agreements, passed, native, typing.plan if typing else None, **manifest_facts
        )
        with artefact.staged(manifest, artefact.json_bytes(document)) as staged_manifest:
            artefact.publish(staged, target)
            artefact.publish(staged_manifest, manifest)
    return ExportResult(
        path=target, manifest=manifest, passed=passed, agreements=tuple(agreements), document=document, notes=notes
    )


def _unverified(target: Path) -> Path:
    return target.with_suffix(".unverified.onnx")


def _sessions(path: Path, native: Path | None) -> dict[str, Any]:
    """In standard operators, which is what any runtime has, and with those of the library ``native``, because sessions
    on this machine use them.
    """
    try:
        sessions = {STANDARD_OPERATORS: session_from_onnx(path, library=NONE)}
    except InputError as error:  # it speaks of a file that a user gave
        raise ExportError(
            f"ONNX Runtime {ort_version()} can't load the file: {_reason(error.__cause__ or error)}; expected "
            "operations and dtypes that it has on the CPU: export a float32 module, or give another opset"
        ) from error
    if native is not None:
        sessions[NATIVE_OPERATORS] = session_from_onnx(path, library=native)
    return sessions


def _emulating_session(path: Path) -> Any:
    """Of a float32 twin made from the file's bytes, which rounds wherever the file does.

    Of a float16 file onnxruntime drops, on the CPU, the casts between the operators that it computes in float32 (1.31,
    at every optimisation level): there nothing is rounded but weights, and nothing overflows.
    """
    twin = ir.load(path)
    emulate_low_types(twin)
    data = ir.serde.serialize_model(twin).SerializeToString()
    with artefact.staged(path.with_suffix(".emulated.onnx"), data) as staged:
        return session_from_onnx(staged, library=NONE)


def _verify(
    sessions: Mapping[str, Any],
    eager: Eager,
    outputs: Sequence[str],
    inputs: Iterable[VerificationInput],
    bound: Tolerance,
) -> list[Agreement]:
    """Compare the file on disk with the eager module, one line of log for each output and shape."""
    candidates = [OnnxrtRunner(session, name=name) for name, session in sessions.items()]
    agreements: list[Agreement] = []
    for batch in inputs:
        # A dynamic size is -1; the dtype is what the batch has.
        metadata = {
            given.name: (
                np.dtype(batch.tensors[given.name].dtype),
                tuple(size if isinstance(size, int) else -1 for size in given.shape),
            )
            for given in next(iter(sessions.values())).get_inputs()
        }
        start = time.perf_counter()
        try:
            found = compare(EagerRunner(eager, metadata), candidates, [batch], outputs=outputs, tolerance=bound)
        except Exception as error:  # onnxruntime's own exceptions have no common parent below it
            if isinstance(error, MemoryError) or "allocate memory" in str(error):
                raise ExportError(
                    f"comparing with PyTorch at {batch.shape} takes more memory than this machine has: give a smaller "
                    "--shape, or a recipe that verifies at smaller ones (in Python, also a smaller example)"
                ) from error
            if not type(error).__module__.startswith("onnxruntime"):
                raise
            raise ExportError(
                f"ONNX Runtime {ort_version()} can't run the file at {batch.shape}, which PyTorch runs: "
                f"{_reason(error)}; expected one graph for all sizes: keep the size fixed, or mend what depends on it"
            ) from error
        agreements += found
        for agreement in found:
            logger.info("verify: %s", _line(agreement))
        logger.info("verify: %s took %.1f s", batch.shape, time.perf_counter() - start)
    return agreements


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())


def _line(agreement: Agreement) -> str:
    verdict = "agrees" if agreement.passed else "DISAGREES"
    measured = []
    if agreement.max_error is not None:
        measured.append(f"max error {agreement.max_error:.1e}")
    if agreement.labels_compared is not None:
        measured.append(f"labels {agreement.labels_agreeing} of {agreement.labels_compared}")
    return f"{agreement.shape}, {agreement.candidate} {verdict}: {', '.join(measured)}"
