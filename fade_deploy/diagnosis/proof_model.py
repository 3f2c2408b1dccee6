"""The smallest model that proves a runtime: a convolution, a product and one fade operator, on whole numbers.

Written by hand, byte for byte, so that it is there where the package onnx is not. On a GPU the convolution needs cuDNN
and the product cuBLAS, which providers load only when a node wants them. Every number on the way is whole and small:
whatever the order of a sum, the result is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fade_deploy import contract
from fade_deploy.diagnosis.wire_format import message

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["OUTPUT", "expected_output", "proof_inputs", "proof_model"]

OUTPUT = "output"
_OPSET = 18
_IR_VERSION = 8  # the first with functions
_ATTRIBUTES = {"kernel_size": 1, "scale": 1, "groups": 1}  # one tap: the body is a single product
_FLOAT, _INT, _STRING = 1, 2, 3  # TensorProto.FLOAT; AttributeProto.INT and STRING
_SHAPES = {"image": (1, 2, 6, 6), "kernels": (1, 1, 4, 4), OUTPUT: (1, 3, 4, 4)}


def proof_model(*, body: bool) -> bytes:
    """An ONNX file with the inputs of :func:`proof_inputs`.

    Args:
        body: Whether the function body of the fade operator is in the file, as in every exported file; without it
            nothing but a native library can run the file.
    """
    operator = contract.REASSEMBLE.node_name(**_ATTRIBUTES)
    plugin = {"plugin_namespace": contract.DOMAIN, "plugin_version": str(contract.VERSION)}
    nodes = [
        _node("Conv", ("image", "weight"), "convolved"),
        _node("MatMul", ("convolved", "matrix"), "product"),
        _node(operator, ("product", "kernels"), OUTPUT, domain=contract.DOMAIN, attributes={**_ATTRIBUTES, **plugin}),
    ]
    weights = _weights()
    graph = message(
        *((1, node) for node in nodes),
        (2, "proof"),
        *((5, _tensor(name, array)) for name, array in weights.items()),
        *((11, _value(name)) for name in _SHAPES if name != OUTPUT),
        (12, _value(OUTPUT)),
    )
    own = message((1, contract.DOMAIN), (2, contract.VERSION))
    standard = message((1, ""), (2, _OPSET))
    function = message(
        (1, operator),
        *((4, name) for name, _ in contract.REASSEMBLE.inputs),
        (5, "reassembled"),
        *((6, name) for name in (*_ATTRIBUTES, *plugin)),
        (7, _node("Mul", [name for name, _ in contract.REASSEMBLE.inputs], "reassembled")),
        (9, standard),
        (10, contract.DOMAIN),
    )
    functions = [(25, function)] if body else []
    return message((1, _IR_VERSION), (2, "fade-deploy"), (7, graph), (8, standard), (8, own), *functions)


def proof_inputs() -> dict[str, NDArray[np.float32]]:
    """The inputs by name, float32."""
    return {name: _whole_numbers(_SHAPES[name], 5) for name in ("image", "kernels")}


def expected_output() -> NDArray[np.float32]:
    """What the model computes, float32 [1, 3, 4, 4], exactly."""
    import numpy as np

    inputs, weights = proof_inputs(), _weights()
    windows = np.lib.stride_tricks.sliding_window_view(inputs["image"], (3, 3), axis=(2, 3))
    convolved = np.einsum("nchwij,mcij->nmhw", windows, weights["weight"])
    result: NDArray[np.float32] = (convolved @ weights["matrix"]) * inputs["kernels"]
    return result


def _weights() -> dict[str, NDArray[np.float32]]:
    return {"weight": _whole_numbers((3, 2, 3, 3), 3), "matrix": _whole_numbers((4, 4), 4)}


def _whole_numbers(shape: tuple[int, ...], most: int) -> NDArray[np.float32]:
    """-2, -1, 0, ... and again, ``most`` different ones."""
    import numpy as np

    return (np.arange(np.prod(shape)) % most - 2).astype(np.float32).reshape(shape)


def _node(
    operator: str,
    inputs: tuple[str, ...] | list[str],
    output: str,
    *,
    domain: str = "",
    attributes: dict[str, int | str] | None = None,
) -> bytes:
    stated = [
        message((1, key), (3, value), (20, _INT))
        if isinstance(value, int)
        else message((1, key), (4, value), (20, _STRING))
        for key, value in (attributes or {}).items()
    ]
    return message(
        *((1, name) for name in inputs),
        (2, output),
        (3, f"{operator}_node"),
        (4, operator),
        *((5, attribute) for attribute in stated),
        (7, domain),
    )


def _tensor(name: str, array: NDArray[np.float32]) -> bytes:
    return message(*((1, size) for size in array.shape), (2, _FLOAT), (8, name), (9, array.astype("<f4").tobytes()))


def _value(name: str) -> bytes:
    shape = message(*((1, message((1, size))) for size in _SHAPES[name]))
    return message((1, name), (2, message((1, message((1, _FLOAT), (2, shape))))))
