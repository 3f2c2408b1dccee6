"""From a checkpoint, an exported file or an engine to a repository that Triton Inference Server loads."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fade_deploy import artefact
from fade_deploy.errors import ExportError
from fade_deploy.optional import require_exporting
from fade_deploy.runtimes.engine_manifest import ENGINE_ENDINGS
from fade_deploy.runtimes.native_libraries import NONE
from fade_deploy.serve.triton_config import checked_batch
from fade_deploy.serve.triton_options import Backend, TritonOptions, model_name
from fade_deploy.serve.triton_repository import check_repository, write_repository

if TYPE_CHECKING:
    from fade_deploy.api.export.engine import EngineResult
    from fade_deploy.api.export.options import ExportOptions
    from fade_deploy.api.export.verified_file import ExportResult
    from fade_deploy.engines.options import EngineOptions

__all__ = ["TritonResult", "export_triton"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonResult:
    """What was written."""

    path: Path  # the repository
    passed: bool  # False: the runtimes disagree on the exported file, which is kept as `path`; there is no repository
    document: dict[str, Any]  # the repository's manifest; empty where there is none
    made: ExportResult | EngineResult | None  # the file or the engine inside, where the source was neither


def export_triton(
    source: Path | str,
    output: Path | str | None = None,
    options: TritonOptions | None = None,
    export_options: ExportOptions | None = None,
    engine_options: EngineOptions | None = None,
) -> TritonResult:
    """Write a Triton model repository.

    Args:
        source: A checkpoint, which is exported and verified first; an ``.onnx`` file of fade-export, which needs
            neither PyTorch nor onnx; or an engine with its manifest beside it. For backend ``tensorrt`` an engine is
            built of the first two.
        output: The repository's folder; by default the source's stem with ``_triton`` in the current folder.
        options: How the model is served.
        export_options: Of the export of a checkpoint.
        engine_options: Of the engine that is built; its plugin is copied in, so that ``options`` names no library.

    Raises:
        FadeDeployError: The user can mend it; what was there before is untouched.
    """
    options = options or TritonOptions()
    source = Path(source)
    stem = source.name.split(".")[0]
    target = Path(output) if output is not None else Path(f"{stem}_triton")
    if target.name in ("", ".."):  # "." and the like, beside which nothing can be staged
        target = target.resolve()
    options = replace(options, name=model_name(options.name or stem))
    check_repository(target, options)
    if source.suffix.lower() in ENGINE_ENDINGS and options.backend is not Backend.TENSORRT:
        raise ExportError(
            f"{source} is an engine, which backend {options.backend} can't take: give backend tensorrt, or the .onnx "
            "file"
        )
    served_as_it_is = ENGINE_ENDINGS if options.backend is Backend.TENSORRT else (".onnx",)
    if source.suffix.lower() in served_as_it_is:
        if export_options is not None:
            raise ExportError(f"{source} is exported already, options of an export don't apply: give the checkpoint")
        return TritonResult(path=target, passed=True, document=write_repository(source, target, options), made=None)
    return _from_source(source, target, options, export_options, engine_options)


def _from_source(
    source: Path,
    target: Path,
    options: TritonOptions,
    export_options: ExportOptions | None,
    engine_options: EngineOptions | None,
) -> TritonResult:
    """Make the file or the engine in a folder beside the repository, then the repository from it."""
    kept = target.with_name(f"{options.name}.unverified.onnx")  # the file, should the runtimes disagree on it
    for path in (kept, kept.with_suffix(".json")):
        artefact.check_target(path, force=options.force)
    is_fixed = export_options is not None and export_options.shape is not None
    if is_fixed or options.backend is not Backend.TENSORRT:  # an engine's profile has its own largest batch
        checked_batch(options, are_joined=not is_fixed, warmup=[size.batch for size in options.warmup])
    if options.backend is not Backend.TENSORRT:
        _check_warmup(source, options, export_options)
    elif options.library != NONE:
        raise ExportError(
            f"an engine that is built brings its own plugin along, so {options.library} would do nothing (--native; "
            "in Python, library): leave it out, and name the plugin to build with by --plugin"
        )
    with artefact.staged_folder(target) as folder:
        made: ExportResult | EngineResult
        if options.backend is Backend.TENSORRT:
            from fade_deploy.api.export.engine import export_engine
            from fade_deploy.engines.options import EngineOptions

            engine_options = engine_options or EngineOptions()
            if not engine_options.embed_plugin:
                options = replace(options, library=engine_options.plugin)
            made = export_engine(source, folder / f"{options.name}.engine", engine_options, export_options)
        else:
            from fade_deploy.api.export.export import export

            made = export(source, folder / f"{options.name}.onnx", export_options)
        if not made.passed:
            artefact.publish(made.path, kept)
            artefact.publish(made.manifest, kept.with_suffix(".json"))
            return TritonResult(path=kept, passed=False, document={}, made=made)
        document = write_repository(made.path, target, options)
    logger.info("triton: %s, backend %s, max batch %d", target, options.backend, document["max_batch_size"])
    return TritonResult(path=target, passed=True, document=document, made=made)


def _check_warmup(source: Path, options: TritonOptions, export_options: ExportOptions | None) -> None:
    """Refuse sizes that the file of a checkpoint will not take, before minutes of export."""
    require_exporting()
    from fade_deploy.api.export.engine import check_profile
    from fade_deploy.api.export.options import ExportOptions
    from fade_deploy.engines.profile import ShapeProfile

    for size in options.warmup:
        fixed = ShapeProfile(smallest=size, optimum=size, largest=size)
        check_profile(fixed, source, export_options or ExportOptions())
