"""What a user can ask of an export."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from fade_deploy.contract import Head
from fade_deploy.engines.options import EngineOptions, HardwareCompatibility
from fade_deploy.engines.profile import ShapeProfile
from fade_deploy.precision import Precision
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.engine_flavour import Flavour
from fade_deploy.runtimes.engine_manifest import ENGINE_ENDINGS
from fade_deploy.runtimes.native_libraries import AUTOMATIC
from fade_deploy.serve.triton_options import Backend, Instance, TritonOptions

__all__ = [
    "ENGINE_ENDINGS",
    "Backend",
    "EngineOptions",
    "ExportOptions",
    "Flavour",
    "HardwareCompatibility",
    "Instance",
    "ShapeProfile",
    "TritonOptions",
    "reproducing_command",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What to export; everything that changes the file's bytes, and how it is verified."""

    recipe: str = ""  # name or .toml path; empty: the checkpoint's own, else its model's
    head: Head | None = None  # None: the task's first, logits or alpha
    embed_preprocess: bool = False
    shape: Shape | None = None  # None: dynamic batch, height and width
    opset: int = 18
    standard_ops: bool = False
    fuse: bool = True  # exact algebra before export; False keeps the modules as they are, for comparison
    precision: Precision | None = None  # None: the plan's, or float32 without a plan
    precision_plan: str = ""  # .toml path; empty: the shipped plan
    io_precision: Precision = Precision.FP32  # of floating inputs and outputs
    ema: bool = False
    full_verification: bool = True
    library: str = AUTOMATIC  # native operators to verify with, besides standard ones: auto, none, or a path
    force: bool = False


def reproducing_command(source: Path, target: Path, options: ExportOptions) -> str:
    """The command that exports ``source`` to ``target`` with these options; file names only, no folders."""
    recipe = Path(options.recipe).name if options.recipe.endswith(".toml") else options.recipe
    plan = Path(options.precision_plan).name if options.precision_plan else ""
    words = ["fade-export", source.name, "--format", "onnx", "-o", target.name]
    defaults = ExportOptions()
    for flag, given, default in (
        ("--recipe", recipe, defaults.recipe),
        ("--head", str(options.head or ""), ""),
        ("--opset", str(options.opset), str(defaults.opset)),
        ("--shape", str(options.shape), str(defaults.shape)),
        ("--precision", str(options.precision or ""), ""),
        ("--precision-plan", plan, ""),
        ("--io-precision", str(options.io_precision), str(defaults.io_precision)),
        ("--verify", "full" if options.full_verification else "quick", "full"),
    ):
        if given != default:
            words += [flag, given]
    for flag, on in (
        ("--no-fuse", not options.fuse),
        ("--embed-preprocess", options.embed_preprocess),
        ("--standard-ops", options.standard_ops),
        ("--ema", options.ema),
    ):
        if on:
            words.append(flag)
    return shlex.join(words)
