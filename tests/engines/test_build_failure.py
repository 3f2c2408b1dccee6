"""What TensorRT says of a failure becomes one line: what, and what to do."""

from __future__ import annotations

import pytest

from fade_deploy.engines.build_failure import ParserFault, build_failure, parse_failure

TITLE = "TensorRT 11.2.1.2"


@pytest.mark.parametrize(
    ("errors", "parts"),
    [
        # As NVIDIA/TensorRT issue 4838 quotes it.
        (
            [
                "No low-precision conv kernel available for this strongly-typed Conv/ConvTranspose. Consider keeping "
                "Conv/ConvTranspose and Q/DQ ops in FP32 (...). Failing node: node_223_Conv",
                "IBuilder::buildSerializedNetworkToStream: Error Code 10: Internal Error (Could not find any "
                "implementation for node node_223_Conv.)",
            ],
            ("has no kernel for a convolution in low precision (node node_223_Conv)", "--precision-plan"),
        ),
        # No run of ours: it takes a GPU whose memory runs out.
        (["Error Code 2: OutOfMemory (no further information)"], ("ran out of GPU memory", "smaller --profile")),
        (["the cause", "a consequence"], ("can't build the engine (the cause)",)),
        ([], ("it gives no reason",)),
    ],
)
def test_build_failure_is_one_line(errors, parts):
    message = str(build_failure(TITLE, errors))
    assert message.startswith(TITLE)
    assert "\n" not in message
    assert all(part in message for part in parts)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        # As TensorRT-RTX 1.7.1 says it: test_build_rtx.py has it from the parser itself.
        ("Plugin not found, are the plugin name, version, and namespace correct?", "has no plugin for node 'n' (Op)"),
        (
            "No importer registered\nfor op: Op.",
            "can't take node 'n' (Op) and 1 more (No importer registered for op: Op.)",
        ),
    ],
)
def test_parse_failure_names_the_node(text, part):
    faults = [ParserFault(node="n", operator="Op", text=text), ParserFault(node="m", operator="Op", text="later")]
    assert part in str(parse_failure(TITLE, faults, []))


def test_parse_failure_without_a_fault_quotes_the_log():
    assert "can't parse the file (Failed to parse)" in str(parse_failure(TITLE, [], ["Failed to parse"]))
