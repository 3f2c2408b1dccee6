"""One exported file or checkpoint as the things that run it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy import artefact
from fade_deploy.api.verify.options import Backend, VerifyOptions, stated_tolerance
from fade_deploy.contract import DOMAIN, METADATA_KEY, Head
from fade_deploy.errors import InputError
from fade_deploy.optional import require
from fade_deploy.precision import Precision, lowest_of
from fade_deploy.provider import Provider
from fade_deploy.recipe import Recipe, Shape
from fade_deploy.runtimes.deployed_metadata import deployed_metadata
from fade_deploy.runtimes.native_libraries import AUTOMATIC, NONE, NativeLibrary, library_for
from fade_deploy.runtimes.ort import ort_version, session_from_onnx
from fade_deploy.tolerances import Tolerance, tolerance
from fade_deploy.verification.shapes import Bounds
from fade_deploy.verification.verification import Run

__all__ = [
    "UNLIMITED",
    "Candidate",
    "ExportedFile",
    "Kind",
    "candidates_of",
    "eager_candidate",
    "exported_file",
    "kind_of",
    "stated_precisions",
]

UNLIMITED = Shape(1024, 16_384, 16_384)  # of a dynamic file: more than fits any memory
_ENGINES = frozenset({".engine", ".plan"})


class Kind(StrEnum):
    """What a file is, by its ending."""

    CHECKPOINT = "checkpoint"
    ONNX = "onnx"
    ENGINE = "engine"
    MANIFEST = "manifest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to run one file."""

    run: Run
    runner: Any  # of Polygraphy
    bound: Tolerance
    backend: Backend | None  # None: the file chooses
    io: Precision  # of its floating inputs and outputs
    renewed: Callable[[], Any] | None = None  # makes another runner, of a runtime that keeps something between runs

    def run_on(self, tensors: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Outputs by name, in float32 whatever the file's own are.

        Raises:
            RunFailure: The runtime can't compute this input.
        """
        from fade_deploy.verification.running import run_one

        if self.io is Precision.FP32:
            return run_one(self.runner, tensors)
        lowered = {name: x.astype(np.float16) if x.dtype == np.float32 else x for name, x in tensors.items()}
        outputs = run_one(self.runner, lowered)
        return {name: x.astype(np.float32) if x.dtype == np.float16 else x for name, x in outputs.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFile:
    """An exported file, loaded, before it is decided where it runs."""

    file: str
    path: Path
    title: str  # of its own in this verification
    facts: Mapping[str, Any]
    bounds: Bounds
    profile: tuple[Shape, ...]  # an engine's edges
    session: Any  # of onnxruntime, in standard operators; None of an engine
    engine: Any  # loaded; None of an .onnx file

    @property
    def precision(self) -> Precision:
        """The lowest that it computes in."""
        return lowest_of([Precision.FP32, *(Precision(name) for name in stated_precisions(self.facts, "nodes"))])

    @property
    def io(self) -> Precision:
        """Of its floating inputs and outputs."""
        (io,) = stated_precisions(self.facts, "io") or (Precision.FP32,)
        return Precision(io)


def stated_precisions(facts: Mapping[str, Any], field: str) -> list[str]:
    """The precisions that a file names under ``precision``; none where it has another kind of thing there."""
    precision = facts.get("precision")
    named = precision.get(field, ()) if isinstance(precision, dict) else ()
    return [name for name in ([named] if isinstance(named, str) else named) if name in list(Precision)]


def kind_of(path: Path) -> Kind:
    """What the file is, by its ending; whatever is none of ours is a checkpoint."""
    ending = path.suffix.lower()
    if ending == ".json":
        return Kind.MANIFEST
    if ending == ".onnx":
        return Kind.ONNX
    return Kind.ENGINE if ending in _ENGINES else Kind.CHECKPOINT


def exported_file(file: str, path: Path, title: str, options: VerifyOptions) -> ExportedFile:
    """Load an ``.onnx`` file or an engine.

    Raises:
        FadeDeployError: It can't be loaded, or fade-export did not write it.
    """
    if kind_of(path) is Kind.ENGINE:
        return _engine_file(file, path, title, options)
    session = _standard_session(path)
    facts = deployed_metadata(session, name=file)
    return ExportedFile(
        file=file,
        path=path,
        title=title,
        facts=facts,
        bounds=_bounds(file, session, facts),
        profile=(),
        session=session,
        engine=None,
    )


def _engine_file(file: str, path: Path, title: str, options: VerifyOptions) -> ExportedFile:
    from fade_deploy.runtimes.engine import load_engine

    loaded = load_engine(path, plugin=options.library)
    facts = dict(loaded.manifest["metadata"])
    profile = loaded.manifest.get("profile")
    edges = tuple(Shape.parse(profile[name]) for name in ("min", "opt", "max")) if profile else ()
    fixed = Shape.parse(facts["shape"]) if not edges else edges[0]
    bounds = Bounds(smallest=fixed, largest=edges[-1] if edges else fixed, multiple=int(facts["size_multiple"]))
    return ExportedFile(
        file=file, path=path, title=title, facts=facts, bounds=bounds, profile=edges, session=None, engine=loaded
    )


def _standard_session(path: Path) -> Any:
    """On the CPU in standard operators; of a bfloat16 file a float32 twin that rounds wherever the file does, since
    onnxruntime has no kernels for it there.
    """
    if not _has_bfloat16(path):
        return session_from_onnx(path, library=NONE)
    ir = require("onnx_ir", extra="export")
    from fade_deploy.graph.emulation import emulate_low_types

    twin = ir.load(path)
    emulate_low_types(twin)
    with tempfile.TemporaryDirectory() as folder:
        emulated = Path(folder) / path.name
        emulated.write_bytes(ir.serde.serialize_model(twin).SerializeToString())
        return session_from_onnx(emulated, library=NONE)


def _has_bfloat16(path: Path) -> bool:
    onnx = require("onnx", extra="verify")
    try:
        properties = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
        facts = json.loads(properties.get(METADATA_KEY, "{}"))
    except Exception:  # whatever is wrong with the file, the session says it better
        return False
    return isinstance(facts, dict) and Precision.BF16 in stated_precisions(facts, "nodes")


def _bounds(file: str, session: Any, facts: Mapping[str, Any]) -> Bounds:
    """What an .onnx file declares; a dynamic size goes from one multiple to more than fits any memory."""
    image = next((given for given in session.get_inputs() if given.name == "image"), None)
    if image is None or len(image.shape) != 4:
        raise InputError(f"{file} has no input 'image' of 4 axes, expected a file of fade-export: export it again")
    rows, columns = (1, 2) if facts["embed_preprocess"] else (2, 3)
    declared = [image.shape[0], image.shape[rows], image.shape[columns]]
    multiple = int(facts["size_multiple"])
    smallest, largest = Shape(1, multiple, multiple), UNLIMITED
    sizes = zip(declared, smallest.sizes, largest.sizes, strict=True)
    pairs = [(size, size) if isinstance(size, int) else (low, high) for size, low, high in sizes]
    return Bounds(
        smallest=Shape(*(low for low, _ in pairs)), largest=Shape(*(high for _, high in pairs)), multiple=multiple
    )


def eager_candidate(
    file: str, title: str, deployed: Any, head: Head, recipe: Recipe, options: VerifyOptions, *, embed_preprocess: bool
) -> Candidate:
    """A checkpoint, as :func:`fade_deploy.api.verify.checkpoint.deployed_checkpoint` reads it, in eager PyTorch."""
    from fade_deploy.api.verify.checkpoint import eager_runner

    name = f"{title} pytorch"
    torch = require("torch", extra="export")
    bound, title = _bound(head, recipe, Precision.FP32, options)
    return Candidate(
        run=Run(
            name=name,
            file=file,
            runtime=f"PyTorch {torch.__version__}, eager, CPU",
            sha256=deployed.sha256,
            tolerance=title,
        ),
        runner=eager_runner(deployed.deployed(deployed.model, head, embed_preprocess=embed_preprocess), name=name),
        bound=bound,
        backend=None,
        io=Precision.FP32,
    )


def candidates_of(one: ExportedFile, head: Head, recipe: Recipe, options: VerifyOptions) -> list[Candidate]:
    """Every way to run a file that was asked for."""
    if one.engine is not None:
        stated = one.engine.manifest["tensorrt"]
        runtime = f"{stated['flavour']} {stated['version']}"
        return [_candidate(one, "engine", runtime, one.engine.runner, None, head, recipe, options)]
    found = []
    for backend in options.on:
        for label, runtime, runner in _runners(one, backend, options):
            found.append(_candidate(one, label, runtime, runner, backend, head, recipe, options))
    return found


def _candidate(
    one: ExportedFile,
    label: str,
    runtime: str,
    runner: Any,
    backend: Backend | None,
    head: Head,
    recipe: Recipe,
    options: VerifyOptions,
) -> Candidate:
    lowest = lowest_of([one.precision, one.io])
    bound, title = _bound(head, recipe, lowest, options)
    name = f"{one.title} {label}"
    runner.name = name
    return Candidate(
        run=Run(
            name=name,
            file=one.file,
            runtime=runtime,
            sha256=artefact.sha256_of(one.path),
            precision=str(one.precision),
            tolerance=title,
        ),
        runner=runner,
        bound=bound,
        backend=backend,
        io=one.io,
        renewed=(lambda: _runners(one, backend, options)[0][2]) if backend is Backend.OPENVINO else None,
    )


def _runners(one: ExportedFile, backend: Backend, options: VerifyOptions) -> list[tuple[str, str, Any]]:
    """(label, runtime, runner) of each way that a backend runs an .onnx file."""
    if backend is Backend.REFERENCE:
        from fade_deploy.runtimes.reference import ReferenceRunner

        onnx = require("onnx", extra="verify")
        return [("reference", f"onnx {onnx.__version__} ReferenceEvaluator", ReferenceRunner(one.path, name="onnx"))]
    if backend is Backend.OPENVINO:
        from fade_deploy.runtimes.openvino import OpenVinoRunner, openvino_version

        return [("openvino", f"OpenVINO {openvino_version()}, CPU", OpenVinoRunner(one.path, name="openvino"))]
    runner = require("polygraphy.backend.onnxrt", extra="verify").OnnxrtRunner
    title = f"ONNX Runtime {ort_version()}"
    if backend is not Backend.CPU:
        session = session_from_onnx(one.path, provider=Provider(str(backend)), library=options.library)
        return [(str(backend), f"{title}, {backend}", runner(session))]
    if one.precision is Precision.BF16:
        return [("cpu emulated", f"{title}, CPU, bfloat16 emulated in float32", runner(one.session))]
    native = library_for(options.library, NativeLibrary.ONNXRUNTIME_CPU)
    found = [("cpu", f"{title}, CPU, standard operators", runner(one.session))]
    if native is not None and one.facts.get("operators", "").startswith(DOMAIN):
        session = session_from_onnx(one.path, library=native)
        found.append(("cpu native", f"{title}, CPU, native operators", runner(session)))
    elif str(options.library) not in (AUTOMATIC, NONE):
        raise InputError(f"{one.file} has no fade operator, so --library {options.library} does nothing: leave it out")
    return found


def _bound(head: Head, recipe: Recipe, precision: Precision, options: VerifyOptions) -> tuple[Tolerance, str]:
    """What a run of that precision is held to, and its name."""
    if (stated := stated_tolerance(options.tolerance)) is not None:
        return stated, options.tolerance
    name = recipe.probs_tolerance if head is Head.PROBS else recipe.tolerance
    return tolerance(name, precision), name.replace("FP32", precision.upper())
