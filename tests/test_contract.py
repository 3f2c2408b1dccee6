"""The operator contract, and every front-end that must follow it."""

from __future__ import annotations

import onnx
import pytest

from fade_deploy import contract
from fade_deploy.graph.function_bodies import PLUGIN_ATTRIBUTES, function_body
from fade_deploy.ops.torch_ops import TORCH_OPS


@pytest.mark.parametrize("operator", contract.OPERATORS, ids=lambda operator: operator.name)
def test_torch_op_takes_the_inputs_and_attributes_of_the_contract_in_order(operator):
    arguments = [(argument.name, str(argument.type)) for argument in TORCH_OPS[operator.name].default._schema.arguments]
    expected = [(name, "Tensor") for name, _ in operator.inputs] + [(name, "int") for name, _ in operator.attributes]
    assert arguments == expected


@pytest.mark.parametrize("operator", contract.OPERATORS, ids=lambda operator: operator.name)
def test_function_body_declares_the_inputs_and_attributes_of_the_contract(operator):
    body = function_body(operator, 18, **dict(operator.attributes))
    assert (body.domain, body.name) == ("fade", operator.name)
    assert [value.name for value in body.inputs] == [name for name, _ in operator.inputs]
    assert len(body.outputs) == 1
    declared = {name: attribute.value for name, attribute in body.attributes.items()}
    assert declared == dict(operator.attributes) | PLUGIN_ATTRIBUTES


def test_the_tuned_case_has_the_bare_name_and_every_other_carries_its_attributes():
    assert contract.REASSEMBLE.node_name(kernel_size=5, scale=2, groups=1) == "FadeReassemble"
    assert contract.REASSEMBLE.node_name(kernel_size=3, scale=1, groups=4) == "FadeReassemble_k3_s1_g4"
    assert contract.UPSAMPLE.node_name(kernel_size=5, scale=4) == "FadeUpsample_k5_s4"
    assert contract.ACCUMULATE.node_name(kernel_size=5, scale=2, terms=3) == "FadeAccumulate_k5_s2_t3"


def test_no_operator_is_named_like_a_standard_one():
    # TensorRT's parser matches names and ignores the domain.
    standard = {schema.name for schema in onnx.defs.get_all_schemas()}
    assert not standard & {operator.name for operator in contract.OPERATORS}


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_size": 4, "scale": 2, "groups": 1},
        {"kernel_size": 9, "scale": 2, "groups": 1},
        {"kernel_size": 5, "scale": 3, "groups": 1},
        {"kernel_size": 5, "scale": 2, "groups": 0},
        {"kernel_size": 5, "scale": 2},
        {"kernel_size": 5, "scale": 2, "terms": 1},
    ],
)
def test_attributes_outside_the_contract_are_refused(attributes):
    with pytest.raises(ValueError, match=r"expected|at least|takes"):
        contract.REASSEMBLE.node_name(**attributes)
