"""One exported file as the things that run it."""

from __future__ import annotations

import dataclasses
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
from fade_deploy.contract import METADATA_KEY, OWN_MODULE, Head
from fade_deploy.errors import InputError
from fade_deploy.optional import require
from fade_deploy.precision import Precision, lowest_of
from fade_deploy.provider import Provider
from fade_deploy.recipe import Recipe, Shape
from fade_deploy.runtimes.deployed_metadata import deployed_metadata, metadata_fault
from fade_deploy.runtimes.engine_manifest import ENGINE_ENDINGS
from fade_deploy.runtimes.native_libraries import AUTOMATIC, NONE, NativeLibrary, library_for
from fade_deploy.runtimes.native_operators import has_native_operators
from fade_deploy.runtimes.ort import ort_version, session_from_onnx
from fade_deploy.tolerances import Tolerance, tolerance
from fade_deploy.verification.shapes import Bounds
from fade_deploy.verification.verification import Run

__all__ = [
    "UNLIMITED",
    "Candidate",
    "ExportedFile",
    "Kind",
    "bound_of",
    "candidates_of",
    "exported_file",
    "kind_of",
    "own_module",
    "precision_of",
]

UNLIMITED = Shape(1024, 16_384, 16_384)  # of a dynamic file: more than fits any memory


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

    def with_model(self, data: bytes) -> Candidate:
        """The same with another model in the file's place, on onnxruntime's CPU in standard operators."""
        runner = require("polygraphy.backend.onnxrt", extra="verify").OnnxrtRunner
        return dataclasses.replace(self, runner=runner(_session_of(data), name=self.run.name), renewed=None)


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
        return precision_of(self.facts)

    @property
    def io(self) -> Precision:
        """Of its floating inputs and outputs."""
        (io,) = _stated_precisions(self.facts, "io") or (Precision.FP32,)
        return Precision(io)


def _stated_precisions(facts: Mapping[str, Any], field: str) -> list[str]:
    """The precisions that a file names under ``precision``; none where it has another kind of thing there."""
    precision = facts.get("precision")
    named = precision.get(field) if isinstance(precision, dict) else None
    names = named if isinstance(named, list | dict) else [named]
    return [name for name in names if name in list(Precision)]


def precision_of(facts: Mapping[str, Any]) -> Precision:
    """The lowest that a file says it computes in."""
    return lowest_of([Precision.FP32, *map(Precision, _stated_precisions(facts, "nodes"))])


def kind_of(path: Path) -> Kind:
    """What the file is, by its ending; whatever is none of ours is a checkpoint."""
    ending = path.suffix.lower()
    if ending == ".json":
        return Kind.MANIFEST
    if ending == ".onnx":
        return Kind.ONNX
    return Kind.ENGINE if ending in ENGINE_ENDINGS else Kind.CHECKPOINT


def exported_file(file: str, path: Path, title: str, options: VerifyOptions) -> ExportedFile:
    """Load an ``.onnx`` file or an engine.

    Raises:
        FadeDeployError: It can't be loaded, or fade-export did not write it.
    """
    if kind_of(path) is Kind.ENGINE:
        return _engine_file(file, path, title, options)
    session = _standard_session(file, path)
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

    loaded = load_engine(path, plugin=options.plugin)
    facts = dict(loaded.manifest["metadata"])
    if facts.get("task") == OWN_MODULE:
        raise own_module(file)
    if fault := metadata_fault(facts):
        raise InputError(f"the manifest of {file} does not describe its model: {fault}; build the engine again")
    profile = loaded.manifest.get("profile")
    edges = tuple(Shape.parse(profile[name]) for name in ("min", "opt", "max")) if profile else ()
    fixed = edges[0] if edges else Shape.parse(str(facts.get("shape")))
    bounds = Bounds(smallest=fixed, largest=edges[-1] if edges else fixed, multiple=int(facts["size_multiple"]))
    return ExportedFile(
        file=file, path=path, title=title, facts=facts, bounds=bounds, profile=edges, session=None, engine=loaded
    )


def own_module(name: str) -> InputError:
    """What to say of a file of a user's own module, or of its manifest."""
    return InputError(
        f"{name} is of a user's own module (fade_deploy.export_module), expected a model for segmentation or matting, "
        "whose inputs are known here: compare such files with polygraphy run, or call export_module on this machine, "
        "which compares the module with its file"
    )


def _standard_session(file: str, path: Path) -> Any:
    """On the CPU in standard operators; of a bfloat16 file a float32 twin that rounds wherever the file does, since
    onnxruntime has no kernels for it there.
    """
    facts = _stated_facts(path)
    if facts.get("task") == OWN_MODULE:
        raise own_module(file)
    if precision_of(facts) is not Precision.BF16:
        return session_from_onnx(path, library=NONE)
    ir = require("onnx_ir", extra="export")
    from fade_deploy.graph.emulation import emulate_low_types

    twin = ir.load(path)
    emulate_low_types(twin)
    return _session_of(ir.serde.serialize_model(twin).SerializeToString())


def _session_of(model: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        return session_from_onnx(path, library=NONE)


def _stated_facts(path: Path) -> dict[str, Any]:
    """The file's metadata, unchecked; empty where it can't be read: whatever is wrong, the session says it better."""
    onnx = require("onnx", extra="verify")
    try:
        properties = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
        facts = json.loads(properties.get(METADATA_KEY, "{}"))
    except Exception:  # protobuf's, onnx's, json's and the system's share no public parent
        return {}
    return facts if isinstance(facts, dict) else {}


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
    bound, tolerance_name = bound_of(head, recipe, lowest, options)
    name = f"{one.title} {label}"
    runner.name = name
    return Candidate(
        run=Run(
            name=name,
            file=one.file,
            runtime=runtime,
            sha256=artefact.sha256_of(one.path),
            precision=str(one.precision),
            tolerance=tolerance_name,
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
    if native is not None and has_native_operators(one.path):
        session = session_from_onnx(one.path, library=native)
        found.append(("cpu native", f"{title}, CPU, native operators", runner(session)))
    elif str(options.library) not in (AUTOMATIC, NONE):
        raise InputError(f"{one.file} has no fade operator, so --library {options.library} does nothing: leave it out")
    return found


def bound_of(head: Head, recipe: Recipe, precision: Precision, options: VerifyOptions) -> tuple[Tolerance, str]:
    """What a run of that precision is held to, and its name."""
    if (stated := stated_tolerance(options.tolerance)) is not None:
        return stated, options.tolerance
    name = recipe.probs_tolerance if head is Head.PROBS else recipe.tolerance
    return tolerance(name, precision), name.replace("FP32", precision.upper())
