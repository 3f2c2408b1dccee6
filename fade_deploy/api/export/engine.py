"""From a checkpoint or an exported file to a TensorRT engine with its manifest."""

from __future__ import annotations

import logging
import shlex
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fade_deploy import artefact
from fade_deploy.api.export.options import ExportOptions, reproducing_command
from fade_deploy.engines.build import Built, check_build
from fade_deploy.engines.engine_from_graph import engine_from_graph, plugin_for, plugin_library
from fade_deploy.engines.graph_for_engine import GraphForEngine, graph_for_engine
from fade_deploy.engines.layers import summary
from fade_deploy.engines.options import EngineOptions, reproducing_flags
from fade_deploy.engines.profile import PictureInput, ShapeProfile
from fade_deploy.engines.strategy import check_options
from fade_deploy.errors import ExportError, InputError
from fade_deploy.optional import require_exporting
from fade_deploy.precision import Precision, PrecisionPlan, check_io, plan_for
from fade_deploy.runtimes.engine_manifest import ENGINE_ENDINGS, manifest_of

if TYPE_CHECKING:
    from fade_deploy.api.export.verified_file import ExportResult

__all__ = ["EngineResult", "check_profile", "export_engine"]

# TensorRT's names of element types, and numpy's (which has no bfloat16).
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT64": "int64",
    "INT32": "int32",
    "UINT8": "uint8",
    "BOOL": "bool",
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineResult:
    """What was written."""

    path: Path
    manifest: Path
    passed: bool  # False: the runtimes disagree on the ONNX file, which is kept as `path`; no engine was built
    document: dict[str, Any]  # the manifest's content
    notes: tuple[str, ...]


def export_engine(
    source: Path | str,
    output: Path | str | None = None,
    options: EngineOptions | None = None,
    export_options: ExportOptions | None = None,
) -> EngineResult:
    """Build a TensorRT engine, check that it is what was asked for, and write it with its manifest beside it.

    A checkpoint is exported first, and compared with PyTorch as ever. An ``.onnx`` file needs no PyTorch; of the
    options of the export it takes the precision and the plan only, for a float32 file.

    Args:
        source: A checkpoint, or an ``.onnx`` file that fade-export wrote.
        output: Path of the engine; by default the source's stem with ``.engine`` (``.rtx.engine`` for TensorRT-RTX)
            in the current folder.
        options: See :class:`~fade_deploy.engines.options.EngineOptions`.
        export_options: See :class:`~fade_deploy.api.export.options.ExportOptions`; its ``force`` and
            ``library`` don't count.

    Raises:
        FadeDeployError: The user can mend it; nothing was written.
    """
    options, export_options = options or EngineOptions(), export_options or ExportOptions()
    source = Path(source)
    target = Path(output) if output is not None else Path(f"{source.stem}{options.flavour.ending}")
    if source.suffix.lower() in ENGINE_ENDINGS:
        raise InputError(
            f"{source} is an engine, expected the checkpoint or .onnx file that one is built of: give that"
        )
    is_exported = source.suffix.lower() == ".onnx"
    _check_targets(target, options, is_exported=is_exported)
    check_options(options)
    library = plugin_library(options.plugin, embed=options.embed_plugin)
    notes: tuple[str, ...] = ()
    with artefact.staged_folder(target) as folder:
        if is_exported:
            plan = _plan(source, export_options)
            graph = graph_for_engine(source, options.flavour, plan, io=export_options.io_precision)
            plan_facts = None if plan is None else plan.as_dict()
        else:
            check_build(options, library, folder)
            require_exporting()
            if options.profile is not None:
                check_profile(options.profile, source, export_options)
            from fade_deploy.api.export.export import export

            exported = export(source, folder / f"{source.stem}.onnx", replace(export_options, force=False))
            if not exported.passed:
                return _kept(exported, target)
            notes = exported.notes
            graph = graph_for_engine(exported.path, options.flavour)
            plan_facts = exported.document.get("precision_plan")
        plugin = plugin_for(graph, options.plugin, embed=options.embed_plugin)
        engine, built = engine_from_graph(graph, folder, options, plugin=plugin, expects_plugin=plugin is not None)
        logger.info("build: %d layers (%.1f s)", len(built.network), built.seconds)
        command = _reproducing_command(source, target, options, export_options)
        document = {
            **_document(graph, built, options, plugin, engine, target),
            **({} if plan_facts is None else {"precision_plan": plan_facts}),
            "reproduce": command,
        }
        manifest = manifest_of(target)
        with artefact.staged(manifest, artefact.json_bytes(document)) as staged_manifest:
            artefact.publish(engine, target)
            artefact.publish(staged_manifest, manifest)
    return EngineResult(path=target, manifest=manifest, passed=True, document=document, notes=(*notes, *built.notes))


def check_profile(profile: ShapeProfile, source: Path, options: ExportOptions) -> None:
    """Refuse sizes that the file of a checkpoint will not take, before minutes of export.

    Args:
        profile: The sizes.
        source: The checkpoint.
        options: Of its export.

    Raises:
        FadeDeployError: A size doesn't fit, or the checkpoint can't be read.
    """
    from fade_deploy.checkpoints.checkpoint import read_checkpoint
    from fade_deploy.checkpoints.recognise import recipe_for

    recipe = recipe_for(read_checkpoint(source, ema=options.ema), options.recipe)
    batch, height, width = options.shape.sizes if options.shape else (None, None, None)
    image = PictureInput(name="image", dimensions=(batch, 3, height, width), channels_last=False)
    profile.check([image], multiple=recipe.size_multiple, name=source.name)


def _check_targets(target: Path, options: EngineOptions, *, is_exported: bool) -> None:
    if target.suffix not in ENGINE_ENDINGS:
        raise ExportError(
            f"{target} does not end in {' or '.join(ENGINE_ENDINGS)}, as engines do; give another name with -o (in "
            "Python, output)"
        )
    unverified = [] if is_exported else [_unverified(target), _unverified(target).with_suffix(".json")]
    for path in (target, manifest_of(target), *unverified):
        artefact.check_target(path, force=options.force)
    if options.timing_cache is not None:
        artefact.check_target(options.timing_cache, force=True)


def _unverified(target: Path) -> Path:
    """The name of the ONNX file on which the runtimes disagree, beside where the engine would be."""
    return target.with_name(f"{target.stem}.unverified.onnx")


def _plan(source: Path, options: ExportOptions) -> PrecisionPlan | None:
    """How to type an exported file; what else an export is asked for is settled in it."""
    kept = replace(
        ExportOptions(),
        precision=options.precision,
        precision_plan=options.precision_plan,
        io_precision=options.io_precision,
        library=options.library,
        force=options.force,
        full_verification=options.full_verification,
    )
    if options != kept:
        changed = next(name for name, value in asdict(options).items() if value != asdict(kept)[name])
        raise ExportError(
            f"{source} is exported already, so its '{changed}' can't be chosen here: export the checkpoint again with "
            "it, or leave it out"
        )
    check_io(options.io_precision)
    if (options.precision, options.precision_plan, options.io_precision) == (None, "", Precision.FP32):
        return None
    return plan_for(options.precision, options.precision_plan)


def _kept(exported: ExportResult, target: Path) -> EngineResult:
    """Keep the ONNX file on which the runtimes disagree beside where the engine would be."""
    path = _unverified(target)
    manifest = path.with_suffix(".json")
    artefact.publish(exported.path, path)
    artefact.publish(exported.manifest, manifest)
    return EngineResult(path=path, manifest=manifest, passed=False, document=exported.document, notes=exported.notes)


def _reproducing_command(source: Path, target: Path, options: EngineOptions, export_options: ExportOptions) -> str:
    """The command of the export with the engine's flags in place of its format; file names only, no folders."""
    words = shlex.split(reproducing_command(source, target, export_options))
    at = words.index("--format")
    return shlex.join([*words[:at], *shlex.split(reproducing_flags(options)), *words[at + 2 :]])


def _document(
    graph: GraphForEngine,
    built: Built,
    options: EngineOptions,
    plugin: Path | None,
    engine: Path,
    target: Path,
) -> dict[str, Any]:
    """What stands beside the engine, free of times and folders."""
    profile = graph.profile_for(options.profile)
    return {
        "artefact": {"file": target.name, "sha256": artefact.sha256_of(engine), "bytes": engine.stat().st_size},
        "tensorrt": {
            "flavour": str(options.flavour),
            "version": built.version,
            "gpu": built.gpu,
            "compute_capabilities": list(built.compute_capabilities),
        },
        "inputs": [_tensor(entry) for entry in built.inputs],
        "outputs": [_tensor(entry) for entry in built.outputs],
        "profile": None if profile is None else profile.as_dict(),
        "precisions": ["fp32", *graph.precisions],
        "plugin": None
        if plugin is None
        else {
            "file": plugin.name,
            "sha256": artefact.sha256_of(plugin),
            "embedded": options.embed_plugin,
            "nodes": dict(graph.plugin_nodes),
        },
        "options": {
            "workspace_mib": options.workspace_mib,
            "hardware_compatibility": str(options.hardware_compatibility),
            "version_compatible": options.version_compatible,
            "refit": options.refit,
        },
        # Without the GPU an engine can't be read: then this is the network that it was built from, whose types a
        # strongly typed build keeps.
        "read_from": "network" if built.engine is None else "engine inspector",
        "network": summary(built.network),
        "engine": None if built.engine is None else summary(built.engine),
        "lowered_heads": graph.lowered_heads,
        "notes": list(built.notes),
        "source": {"file": graph.source, "sha256": graph.source_sha256},
        "metadata": dict(graph.metadata),
    }


def _tensor(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "dtype": _DTYPES.get(entry["dtype"], entry["dtype"].lower())}
