"""A small matting file made by hand, and the steps of the reference's demo written out in numpy: file and oracle.

The network of both is ``bias + conv3x3(x) + each 16x16 block's weighted sum + the mean of all of x`` over the four
channels ``x`` of the normalised picture and the trimap: it sees its neighbours, so that what the padding holds counts;
it takes multiples of 16 only; and it sees how much padding there is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # as in the demo, of a picture in 0..1
_RNG = np.random.default_rng(16)
NEAR = (_RNG.standard_normal((1, 4, 3, 3)) * 0.08).astype(np.float32)
BLOCK = (_RNG.standard_normal((1, 4, 16, 16)) * 0.01).astype(np.float32)
BIAS = 0.5


def matting_file(
    folder: Path,
    *,
    head: str = "alpha",
    embed_preprocess: bool = False,
    shape: tuple[Any, Any, Any] = ("batch", "height", "width"),
    constant: float | None = None,
    with_trimap: bool = True,
    **changes: Any,
) -> Path:
    """Write the network with its metadata; ``constant`` is a raw output that depends on nothing."""
    weight = 1.0 if constant is None else 0.0
    arrays = {
        "mean": 255 * np.array(MEAN, np.float32).reshape(1, 3, 1, 1),
        "std": 255 * np.array(STD, np.float32).reshape(1, 3, 1, 1),
        "level": np.array(255, np.float32),
        "near": NEAR * np.float32(weight),
        "block": BLOCK * np.float32(weight),
        "weight": np.array(weight, np.float32),
        "bias": np.array(BIAS if constant is None else constant, np.float32),
        "scales": np.array([1, 1, 16, 16], np.float32),
        "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32),
        "black": np.array(0.5 / 255, np.float32),
        "white": np.array(254.5 / 255, np.float32),
    }
    node = helper.make_node
    nodes = []
    image, trimap = "image", "trimap"
    if embed_preprocess:
        nodes += [
            node("Transpose", ["image"], ["image planes"], perm=[0, 3, 1, 2]),
            node("Cast", ["image planes"], ["image floats"], to=TensorProto.FLOAT),
            node("Sub", ["image floats", "mean"], ["centred"]),
            node("Div", ["centred", "std"], ["normal"]),
            node("Transpose", ["trimap"], ["trimap planes"], perm=[0, 3, 1, 2]),
            node("Cast", ["trimap planes"], ["trimap floats"], to=TensorProto.FLOAT),
            node("Div", ["trimap floats", "level"], ["unit"]),
        ]
        image, trimap = "normal", "unit"
    if not with_trimap:
        nodes.append(node("ReduceMax", [image], ["made up"], keepdims=1, axes=[1]))
        trimap = "made up"
    nodes += [
        node("Concat", [image, trimap], ["x"], axis=1),
        node("Conv", ["x", "near"], ["by neighbours"], pads=[1, 1, 1, 1]),
        node("Conv", ["x", "block"], ["by block"], strides=[16, 16]),
        node("Resize", ["by block", "", "scales"], ["by block, large"], mode="nearest"),
        node("ReduceMean", ["x"], ["mean of all"], axes=[1, 2, 3], keepdims=1),
        node("Mul", ["mean of all", "weight"], ["by all"]),
        node("Sum", ["by neighbours", "by block, large", "by all", "bias"], ["alpha" if head == "raw" else "raw"]),
    ]
    if head != "raw":
        nodes += [
            node("Clip", ["raw", "zero", "one"], ["clipped"]),
            node("Greater", [trimap, "white"], ["is white"]),
            node("Where", ["is white", "one", "clipped"], ["with white"]),
            node("Less", [trimap, "black"], ["is black"]),
            node("Where", ["is black", "zero", "with white"], ["alpha"]),
        ]
    batch, height, width = shape
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.UINT8, [batch, height, width, channels])
        if embed_preprocess
        else helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, channels, height, width])
        for name, channels in (("image", 3), ("trimap", 1))
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs if with_trimap else inputs[:1],
        [helper.make_tensor_value_info("alpha", TensorProto.FLOAT, [batch, 1, height, width])],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    metadata = {
        "task": "matting",
        "head": head,
        "embed_preprocess": embed_preprocess,
        "mean": [255 * value for value in MEAN],
        "std": [255 * value for value in STD],
        "size_multiple": 16,
    }
    helper.set_model_props(model, {"fade_deploy": json.dumps(metadata | changes)})
    path = folder / "matting.onnx"
    onnx.save(model, path)
    return path


def network(x: np.ndarray) -> np.ndarray:
    """The file's network in float64, by plain sums: [4, H, W] -> [H, W]."""
    _, height, width = x.shape
    framed = np.zeros((4, height + 2, width + 2))
    framed[:, 1:-1, 1:-1] = x
    out = np.full((height, width), BIAS + x.mean())
    for channel in range(4):
        for row in range(3):
            for column in range(3):
                tap = framed[channel, row : row + height, column : column + width]
                out += float(NEAR[0, channel, row, column]) * tap
    for top in range(0, height, 16):
        for left in range(0, width, 16):
            block = x[:, top : top + 16, left : left + 16]
            out[top : top + 16, left : left + 16] += (BLOCK[0].astype(np.float64) * block).sum()
    return out


def demo(picture: np.ndarray, trimap: np.ndarray, padded: tuple[int, int] | None = None) -> np.ndarray:
    """Alpha of the reference's demo in 0..255 before its last step, the truncation; float64 [H, W]."""
    height, width = picture.shape[:2]
    image = (picture / 255.0 - np.array(MEAN)) / np.array(STD)
    trimap = trimap.astype(np.float64)
    if trimap.ndim == 3:
        trimap = trimap.mean(2)
    trimap[(trimap != 0) & (trimap != 255)] = 128
    x = np.concatenate([image, trimap[..., None] / 255], axis=2)
    rows, columns = padded or tuple(int(np.ceil(side / 16)) * 16 for side in (height, width))
    # Reflected by hand: 0 1 2 3 -> 0 1 2 3 2 1 0 1 ...; one pixel is repeated.
    down = [reflected(position, height) for position in range(rows)]
    across = [reflected(position, width) for position in range(columns)]
    x = x[down][:, across]
    alpha = np.clip(network(x.transpose(2, 0, 1))[:height, :width], 0, 1) * 255
    return np.where(trimap == 128, alpha, trimap)


def reflected(position: int, size: int) -> int:
    """The pixel of a row of ``size`` that stands at ``position`` of its endless reflection."""
    if size == 1:
        return 0
    position %= 2 * (size - 1)
    return min(position, 2 * (size - 1) - position)


def scene(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture uint8 [H, W, 3] and a trimap uint8 [H, W] that holds 0, 255, and every kind of value between."""
    rng = np.random.default_rng(1000 * height + width)
    trimap = rng.integers(0, 256, (height, width)).astype(np.uint8)
    for value in (0, 255):
        trimap[rng.random((height, width)) < 0.25] = value
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8), trimap
