"""The options of ``fade-export`` by what they shape."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fade_deploy.api.export.options import Backend, HardwareCompatibility, Instance
from fade_deploy.contract import LOWEST_ONNXRUNTIME, Head
from fade_deploy.precision import Precision

__all__ = [
    "BackendOption",
    "CapabilityOption",
    "EmaFlag",
    "EmbedPluginFlag",
    "EmbedPreprocessFlag",
    "Format",
    "FuseFlag",
    "HardwareOption",
    "HeadOption",
    "InstanceOption",
    "InstancesOption",
    "IoPrecisionOption",
    "MaxBatchOption",
    "NameOption",
    "NativeOption",
    "OpsetOption",
    "PlanOption",
    "PluginOption",
    "PrecisionOption",
    "ProfileOption",
    "QueueDelayOption",
    "RecipeOption",
    "RefitFlag",
    "ShapeOption",
    "StandardOpsFlag",
    "ThreadsOption",
    "TimingCacheOption",
    "VerifyOption",
    "Verification",
    "VersionCompatibleFlag",
    "WorkspaceOption",
]


class Format(StrEnum):
    """What can be written."""

    ONNX = "onnx"
    TENSORRT = "tensorrt"
    RTX = "tensorrt-rtx"
    TRITON = "triton"


class Verification(StrEnum):
    """How many shapes are compared."""

    QUICK = "quick"
    FULL = "full"


_MODEL, _PRECISION, _ENGINE, _TRITON = "The model", "Precision", "Engines", "Triton"

RecipeOption = Annotated[
    str,
    typer.Option(
        help="Recipe name or .toml file.", show_default="the checkpoint's, else its model's", rich_help_panel=_MODEL
    ),
]
HeadOption = Annotated[
    Head | None,
    typer.Option(
        help="What the file returns: logits, labels, probs; alpha, raw.",
        show_default="logits; alpha",
        rich_help_panel=_MODEL,
    ),
]
ShapeOption = Annotated[
    str,
    typer.Option(help="Fixed input shape, for example 1x3x512x512.", show_default="dynamic", rich_help_panel=_MODEL),
]
EmbedPreprocessFlag = Annotated[
    bool,
    typer.Option(
        "--embed-preprocess", help="Take uint8 [N,H,W,3] RGB and normalise inside the file.", rich_help_panel=_MODEL
    ),
]
OpsetOption = Annotated[
    int | None,
    typer.Option(
        help=f"ONNX opset, {min(LOWEST_ONNXRUNTIME)} to {max(LOWEST_ONNXRUNTIME)}.",
        show_default=f"{Precision.FP32.lowest_opset}; {Precision.BF16.lowest_opset} with --precision bf16",
        rich_help_panel=_MODEL,
    ),
]
StandardOpsFlag = Annotated[
    bool,
    typer.Option(
        "--standard-ops",
        help="Inline the fade operators, for runtimes that read no functions.",
        rich_help_panel=_MODEL,
    ),
]
FuseFlag = Annotated[
    bool,
    typer.Option(
        "--fuse/--no-fuse",
        help="Rewrite the model before export, exactly, to compute less.",
        rich_help_panel=_MODEL,
    ),
]
EmaFlag = Annotated[
    bool,
    typer.Option("--ema", help="Use the averaged weights where the checkpoint has both.", rich_help_panel=_MODEL),
]
VerifyOption = Annotated[
    Verification, typer.Option(help="How many shapes to compare with PyTorch.", rich_help_panel=_MODEL)
]

PrecisionOption = Annotated[
    Precision | None,
    typer.Option(help="Type of weights and arithmetic.", show_default="fp32; the plan's", rich_help_panel=_PRECISION),
]
PlanOption = Annotated[
    str,
    typer.Option(
        metavar="FILE",
        help="Which module has which precision (TOML).",
        show_default="the shipped one",
        rich_help_panel=_PRECISION,
    ),
]
IoPrecisionOption = Annotated[
    Precision,
    typer.Option(help="Type of the file's floating inputs and outputs: fp32 or fp16.", rich_help_panel=_PRECISION),
]

ProfileOption = Annotated[
    str,
    typer.Option(
        metavar="MIN:OPT:MAX",
        help="Sizes NxHxW of the inputs: smallest, tuned for, largest; 1x256x256:4x512x512:8x1024x1024.",
        show_default="from 1 picture to 4 of 1024x1024",
        rich_help_panel=_ENGINE,
    ),
]
WorkspaceOption = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="MIB",
        help="Memory that a layer may use meanwhile.",
        show_default="all of the GPU",
        rich_help_panel=_ENGINE,
    ),
]
TimingCacheOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Read where it is there, and written back.", show_default=False, rich_help_panel=_ENGINE
    ),
]
HardwareOption = Annotated[
    HardwareCompatibility, typer.Option(help="On which other GPUs the engine is to run.", rich_help_panel=_ENGINE)
]
VersionCompatibleFlag = Annotated[
    bool,
    typer.Option("--version-compatible", help="Runs on later versions of the same major one.", rich_help_panel=_ENGINE),
]
RefitFlag = Annotated[
    bool, typer.Option("--refit", help="Weights can be replaced without building.", rich_help_panel=_ENGINE)
]
PluginOption = Annotated[
    str,
    typer.Option(
        metavar="auto|none|PATH",
        help="TensorRT plugin with our operators; none builds with their function bodies.",
        show_default="auto: the installed one, if there is one",
        rich_help_panel=_ENGINE,
    ),
]
EmbedPluginFlag = Annotated[
    bool, typer.Option("--embed-plugin", help="The plugin's code travels in the engine.", rich_help_panel=_ENGINE)
]
CapabilityOption = Annotated[
    str,
    typer.Option(
        metavar="X.Y,X.Y",
        help="TensorRT-RTX: the GPU generations to build for, such as 8.6,12.0.",
        show_default="all that it knows",
        rich_help_panel=_ENGINE,
    ),
]

BackendOption = Annotated[Backend, typer.Option(help="What runs the model in the server.", rich_help_panel=_TRITON)]
NameOption = Annotated[
    str, typer.Option(help="The model's name.", show_default="the source's stem", rich_help_panel=_TRITON)
]
InstanceOption = Annotated[
    Instance | None,
    typer.Option(help="Where it computes.", show_default="cpu; gpu with backend tensorrt", rich_help_panel=_TRITON),
]
InstancesOption = Annotated[
    int, typer.Option(min=1, help="Copies that compute at the same time.", rich_help_panel=_TRITON)
]
MaxBatchOption = Annotated[
    int | None,
    typer.Option(min=1, help="Largest batch of a file that takes any.", show_default="8", rich_help_panel=_TRITON),
]
QueueDelayOption = Annotated[
    int,
    typer.Option(min=0, metavar="US", help="Microseconds that a request may wait for others.", rich_help_panel=_TRITON),
]
ThreadsOption = Annotated[
    int,
    typer.Option(min=0, help="Threads of ONNX Runtime for one picture; 0: one a core.", rich_help_panel=_TRITON),
]
NativeOption = Annotated[
    str,
    typer.Option(
        "--native",
        metavar="none|auto|PATH",
        help="Native operators, or the plugin of an engine, to copy beside the model, for the server's system.",
        rich_help_panel=_TRITON,
    ),
]
