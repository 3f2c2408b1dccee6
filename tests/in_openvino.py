"""An exported file in OpenVINO, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx.inliner import inline_local_functions

from fade_deploy.recipe import Shape
from fade_deploy.tolerances import tolerance


def openvino_agrees(path: Path, *shapes: Shape) -> None:
    """At each size one after the other by one dynamic model, where there are several, and with that size fixed.

    OpenVINO joins other operators where sizes are fixed, and keeps plans from one size to the next.
    """
    inlined = inline_local_functions(onnx.load(path)).SerializeToString()
    core, bound = openvino.Core(), tolerance("ORT_VERSIONS_FP32")
    float32 = {"INFERENCE_PRECISION_HINT": "f32"}
    dynamic = core.compile_model(core.read_model(inlined), "CPU", float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    draw = np.random.default_rng(0)
    for n, height, width in ((shape.batch, shape.height, shape.width) for shape in shapes):
        feed = {"image": draw.standard_normal((n, 3, height, width)).astype(np.float32)}
        if len(session.get_inputs()) == 2:
            feed["trimap"] = draw.choice(np.float32([0, 128 / 255, 1]), (n, 1, height, width))
        (expected,) = session.run(None, feed)
        fixed = core.read_model(inlined)
        fixed.reshape({name: list(values.shape) for name, values in feed.items()})
        for model in (dynamic, core.compile_model(fixed, "CPU", float32)):
            np.testing.assert_allclose(model(feed)[0], expected, atol=bound.atol, rtol=bound.rtol)
