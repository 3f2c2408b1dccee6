"""An exported file made ready for TensorRT: typed, its heads taken apart, and what is asked of the engine noted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fade_deploy import artefact, contract
from fade_deploy.engines.profile import PictureInput, ShapeProfile
from fade_deploy.errors import ExportError, InputError
from fade_deploy.optional import require
from fade_deploy.precision import Precision, PrecisionPlan, lowest_of
from fade_deploy.runtimes.deployed_metadata import metadata_fault
from fade_deploy.runtimes.engine_flavour import Flavour

__all__ = ["GraphForEngine", "graph_for_engine"]

# Operators that TensorRT gets as plugins where the library is there; a head is taken apart before.
_WITH_PLUGIN = tuple(operator.name for operator in contract.OPERATORS if operator is not contract.HEAD)

# Operators that only pass values on, whatever type these have.
_MOVES = ("Cast", "Constant", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
_PICTURE_RANK = 4  # [N, C, H, W] or [N, H, W, C]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphForEngine:
    """What the builder gets, and what the engine must then have."""

    data: bytes  # the ONNX file
    metadata: Mapping[str, Any]  # what fade-export wrote of the model
    source: str  # name of the file
    source_sha256: str
    inputs: tuple[PictureInput, ...]
    precisions: tuple[str, ...]  # low ones that it computes in
    types: Mapping[str, str] = field(repr=False)  # value -> precision
    plugin_nodes: Mapping[str, str]  # node that a plugin can compute -> its operator
    lowered_heads: int

    def profile_for(self, asked: ShapeProfile | None) -> ShapeProfile | None:
        """The profile to build with: as asked, else a default; None for a file of fixed size.

        Raises:
            ExportError: The asked one does not fit the file, or there is no default for it.
        """
        multiple = self.metadata.get("size_multiple", 1)
        if asked is not None:
            if not self._are_pictures:
                raise ExportError(
                    f"{self.source} has inputs that are no pictures, which --profile NxHxW can't size: export it "
                    "with fixed sizes, and leave --profile out"
                )
            asked.check(self.inputs, multiple=multiple, name=self.source)
            return asked
        if all(given.is_fixed for given in self.inputs):
            return None
        if not self._are_pictures:
            raise ExportError(
                f"{self.source} is a user's own module with dynamic sizes, for which no profile is known: export it "
                "with fixed sizes"
            )
        return ShapeProfile.default(multiple)

    @property
    def _are_pictures(self) -> bool:
        return self.metadata.get("task") in list(contract.Task)


def graph_for_engine(
    path: Path, flavour: Flavour, plan: PrecisionPlan | None = None, *, io: Precision = Precision.FP32
) -> GraphForEngine:
    """Read an ``.onnx`` file for TensorRT; needs onnx and onnx-ir, not torch.

    Args:
        path: A file of fade-export.
        flavour: Names the extra that is missing.
        plan: Types a float32 file; None leaves its types as they are.
        io: Of floating inputs and outputs, where there is a plan.

    Raises:
        InputError: The file is not there, is not ONNX, or fade-export did not write it.
        ExportError: The plan asks for what the file's types forbid.
        RecipeError: The plan does not fit the model.
        MissingDependency: onnx or onnx-ir is not installed.
    """
    require("onnx", extra=str(flavour))
    ir = require("onnx_ir", extra=str(flavour))
    from fade_deploy.engines.cast_pictures import cast_pictures
    from fade_deploy.graph.lowered_head import lower_heads
    from fade_deploy.graph.precision import typed

    model, metadata = _read(ir, path)
    if plan is not None and _has(metadata, plan, io):
        plan = None
    is_typed = plan is not None and lowest_of([plan.lowest, io]) is not Precision.FP32
    if plan is not None and is_typed:
        metadata["precision"] = typed(model, plan, io=io).as_dict()
    lowered = lower_heads(model)
    cast_pictures(model)
    types = _types(model)
    low = sorted(_computed(model, types) - {Precision.FP32})
    if low and plan is not None and not is_typed:
        raise ExportError(
            f"{path} is exported in {' and '.join(low)}, --precision fp32 was asked for: export the checkpoint again "
            "without --precision, or leave it out here"
        )
    channels_last = bool(metadata.get("embed_preprocess"))
    return GraphForEngine(
        data=ir.serde.serialize_model(model).SerializeToString(deterministic=True),
        metadata=metadata,
        source=path.name,
        source_sha256=artefact.sha256_of(path),
        inputs=tuple(
            PictureInput(
                name=value.name,
                dimensions=tuple(size if isinstance(size, int) else size.value for size in value.shape),
                channels_last=channels_last,
            )
            for value in model.graph.inputs
        ),
        precisions=tuple(low),
        types=types,
        plugin_nodes={
            node.name: node.op_type
            for node in model.graph
            if node.domain == contract.DOMAIN and node.op_type.partition("_")[0] in _WITH_PLUGIN
        },
        lowered_heads=lowered,
    )


def _has(metadata: Mapping[str, Any], plan: PrecisionPlan, io: Precision) -> bool:
    """Whether the file was exported with that very plan: nothing is left to do."""
    precision = metadata.get("precision")
    if not isinstance(precision, dict) or io is not Precision.FP32:
        return False
    return precision.get("plan") == plan.name and plan.lowest in precision.get("nodes", ())


def _read(ir: Any, path: Path) -> tuple[Any, dict[str, Any]]:
    remedy = "give an .onnx file that fade-export wrote"
    if not path.is_file():
        raise InputError(f"{path} is not a file: {remedy}, or a checkpoint")
    try:
        model = ir.load(path)
    except Exception as error:  # protobuf's and onnx-ir's errors share no public base
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is not a readable ONNX file ({reason}): {remedy}") from error
    try:
        metadata = json.loads(model.metadata_props.get(contract.METADATA_KEY, ""))
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise InputError(
            f"{path} has no metadata '{contract.METADATA_KEY}', so nothing is known of its model: {remedy}"
        )
    if metadata.get("task") != contract.OWN_MODULE and (fault := metadata_fault(metadata)):
        raise InputError(f"{path} has metadata '{contract.METADATA_KEY}' in which {fault}: {remedy}")
    rank = None if metadata["task"] == contract.OWN_MODULE else _PICTURE_RANK
    for value in model.graph.inputs:
        if value.shape is None or rank not in (None, len(value.shape)):
            raise InputError(
                f"{path} declares '{value.name}' with shape {value.shape}, expected that of a picture: {remedy}"
            )
    if "" not in model.opset_imports:
        raise InputError(f"{path} imports no ONNX opset: {remedy}")
    return model, metadata


def _types(model: Any) -> dict[str, str]:
    """Value of the graph -> its precision; values of other types are left out."""
    from fade_deploy.graph.node_types import element_types

    kinds = {"FLOAT": "fp32", "FLOAT16": "fp16", "BFLOAT16": "bf16"}
    return {
        str(value.name): kinds[kind.name] for value, kind in element_types(model.graph).items() if kind.name in kinds
    }


def _computed(model: Any, types: Mapping[str, str]) -> set[str]:
    """The precisions that some node computes in; what is only cast from, or to, at the border is none of them."""
    values = [value for node in model.graph if node.op_type not in _MOVES for value in node.outputs]
    return {types[value.name] for value in values if value.name in types}
