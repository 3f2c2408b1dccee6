"""Which options of ``fade-export`` mean something for what is written; the others are refused, not ignored."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

from fade_deploy.api.export.options import ENGINE_ENDINGS, Backend
from fade_deploy.cli.export_options import Format
from fade_deploy.errors import ExportError

__all__ = ["check_given"]

# Parameter of the command -> the formats it shapes; those that are not listed shape all of them.
_ENGINES = {Format.TENSORRT, Format.RTX, Format.TRITON}
_FORMATS = {
    "library": {Format.ONNX},
    "profile": _ENGINES,
    "workspace": _ENGINES,
    "timing_cache": {Format.TENSORRT, Format.TRITON},
    "hardware_compatibility": {Format.TENSORRT, Format.TRITON},
    "version_compatible": {Format.TENSORRT, Format.TRITON},
    "refit": _ENGINES,
    "plugin": _ENGINES,
    "embed_plugin": _ENGINES,
    "compute_capability": {Format.RTX},
    "backend": {Format.TRITON},
    "name": {Format.TRITON},
    "instance": {Format.TRITON},
    "instances": {Format.TRITON},
    "max_batch_size": {Format.TRITON},
    "queue_delay": {Format.TRITON},
    "threads": {Format.TRITON},
    "native": {Format.TRITON},
}
# What an exported file has settled; an engine of it can still be typed, a file that is served as it is can not.
_SETTLED = ("recipe", "head", "shape", "embed_preprocess", "opset", "standard_ops", "fuse", "ema", "verify")
_TYPES = ("precision", "precision_plan", "io_precision")
# What shapes an engine that is built; a profile also tells a repository of any kind its warm-up sizes.
_BUILD = (
    "workspace",
    "timing_cache",
    "hardware_compatibility",
    "version_compatible",
    "refit",
    "plugin",
    "embed_plugin",
)


def check_given(context: typer.Context, asked: Format, source: Path, backend: Backend) -> None:
    """Refuse an option that would change nothing of what is written.

    Raises:
        ExportError: One is given that belongs to another format or backend, or to the export of a checkpoint.
    """

    def flags(parameters: Iterable[str]) -> list[str]:
        sources = ((parameter, context.get_parameter_source(parameter)) for parameter in parameters)
        return [
            "--" + parameter.replace("_", "-") for parameter, of in sources if of is not None and of.name != "DEFAULT"
        ]

    for parameter, formats in _FORMATS.items():
        if asked not in formats and (given := flags([parameter])):
            raise ExportError(
                f"{given[0]} means nothing for --format {asked}, only for {', '.join(sorted(formats))}: leave it out, "
                "or give another --format"
            )
    if asked is Format.ONNX:
        return
    is_engine = source.suffix.lower() in ENGINE_ENDINGS
    builds_engine = (asked is not Format.TRITON or backend is Backend.TENSORRT) and not is_engine
    if is_engine or source.suffix.lower() == ".onnx":
        settled = flags(_SETTLED if builds_engine else (*_SETTLED, *_TYPES))
        if settled:
            raise ExportError(
                f"{source} is exported already, so {settled[0]} can't be chosen here: export the checkpoint again with "
                "it, or leave it out"
            )
    if not builds_engine and (given := flags(_BUILD)):
        raise ExportError(
            f"{given[0]} means nothing where no engine is built, as for "
            f"{'an engine' if is_engine else f'--backend {backend}'}: leave it out"
        )
