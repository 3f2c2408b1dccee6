"""Who is compared: each way to run a model, from what a user has today to what this project exports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from benchmarks.exports import FILES, export_file
from benchmarks.models import MODELS, inputs_of, network, output_shape
from benchmarks.naive_fade import with_naive_fade
from benchmarks.native_library import native_library
from benchmarks.runners import LeftOut, OnnxRuntimeRunner, OpenVinoRunner, Runner, TorchRunner, check_openvino, compiled

__all__ = ["BASELINE", "VARIANTS", "ModelCase", "Runtime", "Variant", "is_available", "prepared", "variants_of"]


class Runtime(StrEnum):
    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    EAGER = "eager"
    COMPILED = "compiled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to run a model: an exported file on a runtime, or, without a file, the module itself in PyTorch."""

    name: str
    title: str
    runtime: Runtime = Runtime.ONNXRUNTIME
    file: str = ""  # of exports.FILES
    native: bool = False  # with the custom-op library
    naive: bool = False  # of modules: FADE in its plain PyTorch form
    usual: bool = True  # in every case, not only where the case names it

    @property
    def function(self) -> str:
        """What it computes: variants of one function are compared before they are timed. An upsampler's name."""
        return FILES[self.file].upsampler if self.file else "fade"


BASELINE = "bilinear"
VARIANTS = (
    Variant(name="bilinear", title="bilinear, plain export", file="bilinear"),
    Variant(name="bilinear-fused", title="bilinear, the same fusion", file="bilinear-fused"),
    Variant(name="fade", title="FADE, fused, standard operators", file="fade-fused"),
    Variant(name="fade-native", title="FADE, fused, native operators", file="fade-fused", native=True),
    Variant(name="fade-unfused", title="FADE, `--no-fuse`, standard operators", file="fade", usual=False),
    Variant(
        name="fade-unfused-native",
        title="FADE, `--no-fuse`, native operators",
        file="fade",
        native=True,
        usual=False,
    ),
    Variant(name="bilinear-openvino", title="bilinear, plain, OpenVINO", file="bilinear", runtime=Runtime.OPENVINO),
    Variant(
        name="fade-openvino",
        title="FADE, fused, `--standard-ops`, OpenVINO",
        file="fade-fused-standard",
        runtime=Runtime.OPENVINO,
    ),
    Variant(name="fade-eager", title="FADE, PyTorch eager", runtime=Runtime.EAGER, usual=False),
    Variant(name="naive", title="FADE, plain PyTorch form, torch.onnx", file="fade-naive", usual=False),
    Variant(name="einsum", title="FADE, public file's einsum, torch.onnx", file="fade-einsum", usual=False),
    Variant(
        name="naive-eager",
        title="FADE, plain PyTorch form, eager",
        runtime=Runtime.EAGER,
        naive=True,
        usual=False,
    ),
    Variant(
        name="naive-compiled",
        title="FADE, plain PyTorch form, torch.compile",
        runtime=Runtime.COMPILED,
        naive=True,
        usual=False,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCase:
    """A model of ``models.MODELS`` at one input size."""

    model: str
    batch: int = 1
    height: int = 512
    width: int = 512
    beside: tuple[str, ...] = ()  # names of variants beside the usual ones; they take up to 40 times as long

    def __str__(self) -> str:
        return f"{MODELS[self.model].title}, {self.batch}x{self.height}x{self.width}"


def variants_of(case: ModelCase) -> list[Variant]:
    """Those measured in the case, the baseline first."""
    return [variant for variant in VARIANTS if variant.usual or variant.name in case.beside]


def is_available(variant: Variant) -> bool:
    """Whether the variant's runtime is installed, so that its file is worth exporting."""
    try:
        if variant.runtime is Runtime.OPENVINO:
            check_openvino()
    except LeftOut:
        return False
    return True


def prepared(variant: Variant, case: ModelCase, *, threads: int, folder: Path) -> Runner:
    """The variant, ready to run; its file is exported to ``folder`` unless it is there.

    Raises:
        LeftOut: It can't be measured here.
    """
    model = MODELS[case.model]
    size = {"batch": case.batch, "height": case.height, "width": case.width}
    inputs = inputs_of(model.task, **size)
    if variant.runtime is Runtime.OPENVINO:
        check_openvino()
    if not variant.file:
        module = network(model, variant.function)
        if variant.naive:
            module = with_naive_fade(module)
        return TorchRunner(compiled(module) if variant.runtime is Runtime.COMPILED else module, inputs)
    path = export_file(model, variant.file, folder)
    shape = output_shape(model.task, **size)
    if variant.runtime is Runtime.OPENVINO:
        return OpenVinoRunner(path, inputs, shape, threads=threads)
    library = native_library() if variant.native else None
    return OnnxRuntimeRunner(path, inputs, shape, threads=threads, library=library)
