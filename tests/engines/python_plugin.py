"""Our plugin's twin in Python: what TensorRT asks of a plugin while it builds. It computes nothing.

It stands in for ``plugins/tensorrt`` where there are no headers to compile that: the same names, fields, shapes and
types, from ``fade_deploy.contract``.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from fade_deploy import contract


def register(trt: ModuleType, names: list[str]) -> list[Any]:
    """Register a creator for each node name, such as ``FadeUpsample`` or ``FadeReassemble_k3_s1_g4``; keep them."""
    registry = trt.get_plugin_registry()
    creators = [_creator(trt, name) for name in names]
    for creator in creators:
        assert registry.register_creator(creator, contract.DOMAIN)
    return creators


def _operator(name: str) -> contract.Operator:
    return next(operator for operator in contract.OPERATORS if operator.name == name.partition("_")[0])


def _fields(trt: ModuleType, values: dict[str, Any]) -> Any:
    return trt.PluginFieldCollection(
        [trt.PluginField(key, np.array(value, np.int32), trt.PluginFieldType.INT32) for key, value in values.items()]
    )


def _creator(trt: ModuleType, name: str) -> Any:
    operator = _operator(name)

    class Creator(trt.IPluginCreatorV3One):
        def __init__(self) -> None:
            trt.IPluginCreatorV3One.__init__(self)
            self.name = name
            self.plugin_namespace = contract.DOMAIN
            self.plugin_version = str(contract.VERSION)
            self.field_names = _fields(trt, {key: [] for key, _ in operator.attributes})

        def create_plugin(self, layer: str, fields: Any, phase: Any) -> Any:
            attributes = {}
            for field in fields:
                assert field.type == trt.PluginFieldType.INT32, f"{layer}: {field.name} is {field.type}"
                attributes[field.name] = int(field.data[0])
            assert operator.node_name(**attributes) == name
            return _plugin(trt, name, attributes)

    return Creator()


def _plugin(trt: ModuleType, name: str, attributes: dict[str, int]) -> Any:
    operator = _operator(name)

    class Plugin(trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime):
        def __init__(self) -> None:
            for base in (trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime):
                base.__init__(self)
            self.num_outputs = 1
            self.plugin_namespace = contract.DOMAIN
            self.plugin_name = name
            self.plugin_version = str(contract.VERSION)

        def get_capability_interface(self, kind: Any) -> Any:
            return self

        def get_output_data_types(self, types: list[Any]) -> list[Any]:
            assert len(types) == len(operator.inputs)
            return [types[0]]

        def get_output_shapes(self, inputs: list[Any], shape_inputs: Any, builder: Any) -> list[Any]:
            def times(value: Any, factor: int) -> Any:
                return builder.operation(trt.DimensionOperation.PROD, value, builder.constant(factor))

            low, output, scale = inputs[0], trt.DimsExprs(4), attributes["scale"]
            output[0] = low[0]
            channels, terms = low[1], builder.constant(attributes.get("terms", 1))
            output[1] = builder.operation(trt.DimensionOperation.FLOOR_DIV, channels, terms)
            output[2], output[3] = times(low[2], scale), times(low[3], scale)
            return [output]

        def supports_format_combination(self, position: int, tensors: Any, inputs: int) -> bool:
            given = tensors[position].desc
            floats = (trt.DataType.FLOAT, trt.DataType.HALF, trt.DataType.BF16)
            return (
                given.format == trt.TensorFormat.LINEAR and given.type in floats and given.type == tensors[0].desc.type
            )

        def get_fields_to_serialize(self) -> Any:
            return _fields(trt, {key: [value] for key, value in attributes.items()})

        def configure_plugin(self, inputs: Any, outputs: Any) -> None:
            pass

        def on_shape_change(self, inputs: Any, outputs: Any) -> None:
            pass

        def attach_to_context(self, context: Any) -> Any:
            return self.clone()

        def enqueue(self, *_: Any) -> None:
            raise AssertionError("the twin computes nothing")

        def clone(self) -> Any:
            return _plugin(trt, name, attributes)

    return Plugin()
