"""Files that claim to be of fade-export and take, compute or return something else, each a line of ONNX text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import onnx.parser

MATTING: dict[str, Any] = {
    "task": "matting",
    "head": "raw",
    "embed_preprocess": False,
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "size_multiple": 16,
}
SEGMENTATION = MATTING | {
    "task": "segmentation",
    "head": "logits",
    "classes": ["wall", "sky", "sea"],
    "palette": [],
    "short_side": 32,
    "long_side": 64,
}


def foreign_file(
    path: Path, text: str = "alpha = Identity(trimap)", *, facts: dict[str, Any] | None = None, **changes: Any
) -> Path:
    """Write ``text`` with metadata.

    Args:
        path: Of the file.
        text: ``(inputs) => (outputs) <constants> { nodes }``, or the nodes alone where inputs and outputs are as usual.
        facts: The metadata, by default those of a matting file with the raw head.
        changes: Of the metadata.
    """
    metadata = (facts or MATTING) | changes
    if not text.startswith("("):
        inputs = "float[n,3,h,w] image" + (", float[n,1,h,w] trimap" if metadata["task"] == "matting" else "")
        output = "float[] alpha" if metadata["task"] == "matting" else f"float[] {metadata['head']}"
        text = f"({inputs}) => ({output}) {{ {text} }}"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> tiny {text}')
    onnx.helper.set_model_props(model, {"fade_deploy": json.dumps(metadata)})
    onnx.save(model, path)
    return path
