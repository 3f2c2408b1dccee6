"""Whether the SegFormer head's cost per pixel stays the same as images grow.

The head is cut out of the very file that a user deploys, at the tensors that its backbone hands over, and runs alone on
what the backbone gave for a real input. "Whole model minus backbone" would subtract two large numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from numpy.typing import NDArray

from benchmarks.exports import export_file
from benchmarks.measure import Pace
from benchmarks.models import MODELS, inputs_of, output_shape
from benchmarks.native_library import native_library
from benchmarks.runners import LeftOut, OnnxRuntimeRunner
from benchmarks.timing import interleaved, quartiles
from benchmarks.variants import VARIANTS
from fade_deploy.contract import Task
from fade_deploy.graph.passes import MODULE_KEY
from fade_deploy.timing.rounds import paired_ratios

__all__ = ["GROWN", "GROWTH_VARIANTS", "USUAL", "cut_head", "handed_over", "head_growth"]

USUAL, GROWN = (512, 512), (1024, 2048)
GROWTH_VARIANTS = ("bilinear", "fade", "fade-native")

Values = Mapping[str, NDArray[Any]]

_BACKBONE = "backbone"
_MILLISECONDS = 1000


def head_growth(model: str, *, threads: int, folder: Path, pace: Pace) -> dict[str, Any]:
    """Time per pixel of the head at 1024x2048 against 512x512, for each of ``GROWTH_VARIANTS``.

    Returns:
        Variant -> ``{"ms": {"512x512": Quartiles, "1024x2048": Quartiles}, "growth": Quartiles}``, or
        ``{"left_out": reason}``.
    """
    results: dict[str, Any] = {}
    for variant in VARIANTS:
        if variant.name not in GROWTH_VARIANTS:
            continue
        try:
            library = native_library() if variant.native else None
        except LeftOut as reason:
            results[variant.name] = {"left_out": str(reason)}
            continue
        path = export_file(MODELS[model], variant.file, folder)
        results[variant.name] = _growth_of(path, library, threads=threads, pace=pace)
    return results


def _growth_of(path: Path, library: Path | None, *, threads: int, pace: Pace) -> dict[str, Any]:
    model = onnx.load(path)
    values = {f"{height}x{width}": handed_over(model, height=height, width=width) for height, width in (USUAL, GROWN)}
    target = path.with_suffix(".head.onnx")
    onnx.save(cut_head(model, list(values.values())), target)
    runners = {}
    for (height, width), features in zip((USUAL, GROWN), values.values(), strict=True):
        shape = output_shape(Task.SEGMENTATION, batch=1, height=height, width=width)
        runners[f"{height}x{width}"] = OnnxRuntimeRunner(target, features, shape, threads=threads, library=library)
    usual, grown = runners
    runs = {size: runner.run for size, runner in runners.items()}
    rounds = interleaved(runs, baseline=usual, budget=pace.seconds, fewest=pace.fewest, most=pace.most)
    pixels = GROWN[0] * GROWN[1] / (USUAL[0] * USUAL[1])
    return {
        "ms": {
            size: asdict(quartiles([_MILLISECONDS * entry[size] for entry in rounds if size in entry])) for size in runs
        },
        "growth": asdict(quartiles([ratio / pixels for ratio in paired_ratios(rounds, grown, usual)])),
    }


def cut_head(model: onnx.ModelProto, samples: Sequence[Values]) -> onnx.ModelProto:
    """What of the model is not its backbone, as a model of what the backbone hands over.

    A node belongs to the backbone where the exporter recorded a module ``backbone.*`` on it.

    Args:
        model: A SegFormer that we exported.
        samples: What :func:`handed_over` gave for several sizes; an axis of one size in all of them is fixed.
    """
    kept, needed, handed = _parts(model)
    head = onnx.ModelProto()
    head.CopyFrom(model)
    head.graph.ClearField("node")
    head.graph.node.extend(kept)
    for field in ("initializer", "input"):
        head.graph.ClearField(field)
        getattr(head.graph, field).extend(value for value in getattr(model.graph, field) if value.name in needed)
    for name in handed:
        arrays = [sample[name] for sample in samples]
        sizes = [
            shared[0] if len(set(shared)) == 1 else f"{name}_{axis}"
            for axis, shared in enumerate(zip(*(array.shape for array in arrays), strict=True))
        ]
        kind = onnx.helper.np_dtype_to_tensor_dtype(arrays[0].dtype)
        head.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, sizes))
    return head


def handed_over(model: onnx.ModelProto, *, height: int, width: int) -> dict[str, NDArray[Any]]:
    """What a SegFormer's head takes, when the whole file runs on seeded noise: features, and the image for its size.

    Raises:
        ValueError: No node is recorded as part of the backbone.
    """
    _, needed, handed = _parts(model)
    inputs = inputs_of(Task.SEGMENTATION, batch=1, height=height, width=width)
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in handed)
    session = onnxruntime.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
    features = dict(zip(handed, session.run(handed, inputs), strict=True))
    return {name: array for name, array in inputs.items() if name in needed} | features


def _parts(model: onnx.ModelProto) -> tuple[list[onnx.NodeProto], set[str], list[str]]:
    """The nodes that are not of the backbone, all names that they use, and of these the backbone's outputs."""
    producers = {name: node for node in model.graph.node for name in node.output if name}
    kept: set[str] = set()
    needed: set[str] = set()
    handed: set[str] = set()
    pending = [output.name for output in model.graph.output]
    while pending:
        name = pending.pop()
        node = producers.get(name)
        if name in needed:
            continue
        needed.add(name)
        if node is None:
            continue
        if _is_backbone(node):
            handed.add(name)
        else:
            kept |= set(node.output) - {""}
            pending += node.input
    if not handed:
        raise ValueError(f"no node of the model is recorded as part of '{_BACKBONE}', expected one of our files")
    return [node for node in model.graph.node if kept & set(node.output)], needed, sorted(handed)


def _is_backbone(node: onnx.NodeProto) -> bool:
    module = next((entry.value for entry in node.metadata_props if entry.key == MODULE_KEY), "")
    return module.split(".")[0] == _BACKBONE
