"""``fade-export``: a checkpoint becomes a verified ONNX file, a TensorRT engine, or a Triton model repository."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from fade_deploy import optional
from fade_deploy.api.export.options import (
    ENGINE_ENDINGS,
    Backend,
    EngineOptions,
    ExportOptions,
    Flavour,
    HardwareCompatibility,
    Instance,
    ShapeProfile,
    TritonOptions,
)
from fade_deploy.cli import command
from fade_deploy.cli import export_options as given
from fade_deploy.cli.export_checks import check_given
from fade_deploy.cli.export_options import Format, Verification
from fade_deploy.errors import ExportError
from fade_deploy.precision import Precision
from fade_deploy.recipe import Shape

app = command.application()

_EXPORTED = (".onnx", *ENGINE_ENDINGS)  # endings of a source that needs no export


@app.command()
def export(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            help="Weights: .pth, .pt or .safetensors; for an engine or a repository also an exported .onnx, for a "
            "repository also an .engine.",
            show_default=False,
        ),
    ],
    target_format: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.ONNX,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write; a folder for triton.",
            show_default="the source's stem, .onnx, .engine, .rtx.engine or _triton, here",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    recipe: given.RecipeOption = "",
    head: given.HeadOption = None,
    shape: given.ShapeOption = "",
    embed_preprocess: given.EmbedPreprocessFlag = False,
    opset: given.OpsetOption = None,
    standard_ops: given.StandardOpsFlag = False,
    fuse: given.FuseFlag = True,
    ema: given.EmaFlag = False,
    verify: given.VerifyOption = Verification.FULL,
    library: command.LibraryOption = "auto",
    precision: given.PrecisionOption = None,
    precision_plan: given.PlanOption = "",
    io_precision: given.IoPrecisionOption = Precision.FP32,
    profile: given.ProfileOption = "",
    plugin: given.PluginOption = "auto",
    embed_plugin: given.EmbedPluginFlag = False,
    compute_capability: given.CapabilityOption = "",
    workspace: given.WorkspaceOption = 0,
    timing_cache: given.TimingCacheOption = None,
    hardware_compatibility: given.HardwareOption = HardwareCompatibility.NONE,
    version_compatible: given.VersionCompatibleFlag = False,
    refit: given.RefitFlag = False,
    backend: given.BackendOption = Backend.ONNXRUNTIME,
    name: given.NameOption = "",
    instance: given.InstanceOption = None,
    instances: given.InstancesOption = 1,
    max_batch_size: given.MaxBatchOption = None,
    queue_delay: given.QueueDelayOption = 0,
    threads: given.ThreadsOption = 0,
    native: given.NativeOption = "none",
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also print what each exact rewrite of the model saves.")
    ] = False,
    as_json: command.JsonFlag = False,
    quiet: command.Quiet = False,
) -> command.Outcome:
    """Export a checkpoint to one ONNX file that is verified against PyTorch before it gets its name.

    The model is recognised from its weights. A manifest (.json) is written beside the file. If ONNX Runtime disagrees
    with PyTorch the file is kept as STEM.unverified.onnx and the exit code is 1. Engines and Triton repositories are
    made of such a file, or of one that was exported before.

    Examples:

    - `fade-export model.pth --format onnx`

    - `fade-export model.pth -o labels.onnx --head labels --embed-preprocess`

    - `fade-export model.pth -o half.onnx --precision fp16`

    - `fade-export model.pth --format tensorrt --precision fp16 --profile 1x256x256:4x512x512:8x1024x1024`

    - `fade-export model.onnx --format tensorrt-rtx`

    - `fade-export model.onnx --format triton --backend python -o models`
    """
    # Before torch is loaded: its threads spin while they wait, and where another process holds a core the eager
    # reference then takes several times as long; on an idle machine it makes no difference.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    check_given(context, target_format, source, backend)
    is_exported = source.suffix.lower() in _EXPORTED
    if not is_exported:
        optional.require_exporting()
    options = ExportOptions(
        recipe=recipe,
        head=head,
        embed_preprocess=embed_preprocess,
        shape=Shape.parse(shape) if shape else None,
        # An exported file has its own.
        opset=(precision if precision and not is_exported else Precision.FP32).lowest_opset if opset is None else opset,
        standard_ops=standard_ops,
        fuse=fuse,
        precision=precision,
        precision_plan=precision_plan,
        io_precision=io_precision,
        ema=ema,
        full_verification=verify is Verification.FULL,
        library=library,
        force=force,
    )
    # What the formats beyond ONNX are asked for; each is read where it means something, as check_given has made sure.
    engine: dict[str, Any] = {
        "workspace_mib": workspace,
        "timing_cache": timing_cache,
        "hardware_compatibility": hardware_compatibility,
        "version_compatible": version_compatible,
        "refit": refit,
        "plugin": plugin,
        "embed_plugin": embed_plugin,
        "compute_capabilities": tuple(part.strip() for part in compute_capability.split(","))
        if compute_capability
        else (),
    }
    served: dict[str, Any] = {
        "backend": backend,
        "name": name,
        "instance": instance or (Instance.GPU if backend is Backend.TENSORRT else Instance.CPU),
        "instances": instances,
        "max_batch_size": max_batch_size,
        "queue_delay_us": queue_delay,
        "threads": threads,
        "library": native,
        "force": force,
    }
    with command.progress(quiet=quiet):
        match target_format:
            case Format.ONNX:
                return _file(source, output, options, verbose=verbose)
            case Format.TENSORRT | Format.RTX:
                return _engine(source, output, options, target_format, profile, engine)
            case Format.TRITON:
                return _repository(source, output, options, profile, engine, served)


def _file(source: Path, output: Path | None, options: ExportOptions, *, verbose: bool) -> command.Outcome:
    if source.suffix.lower() in _EXPORTED:
        raise ExportError(
            f"{source} is exported already, expected a checkpoint: give another --format to make an engine or a "
            "repository of it, or the checkpoint it came from"
        )
    from fade_deploy.api.export.export import export as export_file
    from fade_deploy.cli.export_outcome import file_outcome

    return file_outcome(export_file(source, output, options), verbose=verbose)


def _engine(
    source: Path, output: Path | None, options: ExportOptions, asked: Format, profile: str, engine: dict[str, Any]
) -> command.Outcome:
    from fade_deploy.api.export.engine import export_engine
    from fade_deploy.cli.export_outcome import engine_outcome

    engine_options = EngineOptions(
        **engine,
        flavour=Flavour(asked),
        profile=ShapeProfile.parse(profile) if profile else None,
        force=options.force,
    )
    return engine_outcome(export_engine(source, output, engine_options, options))


def _repository(
    source: Path,
    output: Path | None,
    options: ExportOptions,
    profile: str,
    engine: dict[str, Any],
    served: dict[str, Any],
) -> command.Outcome:
    from fade_deploy.api.export.triton import export_triton
    from fade_deploy.cli.export_outcome import repository_outcome

    sizes = ShapeProfile.parse(profile) if profile else None
    triton_options = TritonOptions(
        **served, warmup=tuple(dict.fromkeys((sizes.smallest, sizes.optimum))) if sizes else ()
    )
    suffix = source.suffix.lower()
    is_served = suffix in ENGINE_ENDINGS or (suffix == ".onnx" and triton_options.backend is not Backend.TENSORRT)
    result = export_triton(
        source,
        output,
        triton_options,
        None if is_served else options,
        EngineOptions(**engine, profile=sizes),
    )
    return repository_outcome(result)


def main() -> None:
    """Entry point of ``fade-export``."""
    command.main(app, "fade-export")
