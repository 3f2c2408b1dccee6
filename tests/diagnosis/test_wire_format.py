"""Protocol buffers by hand, held against the examples of their specification and against the package onnx."""

from __future__ import annotations

import onnx
import pytest

from fade_deploy.diagnosis.wire_format import fields, message, signed, text

# protobuf.dev, "Encoding": field 1 is 150; field 2 is "testing"; field 3 is the first of them.
NUMBER = bytes.fromhex("08 96 01")
TEXT = bytes.fromhex("12 07 74 65 73 74 69 6e 67")
NESTED = bytes.fromhex("1a 03 08 96 01")


def test_examples_of_the_specification_are_written_and_read() -> None:
    assert message((1, 150)) == NUMBER
    assert message((2, "testing")) == TEXT
    assert message((3, NUMBER)) == NESTED
    number, words, nested = fields(memoryview(NUMBER + TEXT + NESTED))
    assert (number.number, number.value) == (1, 150)
    assert (words.number, text(words.value)) == (2, "testing")
    assert bytes(nested.raw) == NESTED
    assert [inner.value for inner in fields(nested.value)] == [150]


def test_a_negative_number_is_ten_bytes() -> None:
    written = onnx.AttributeProto(name="axis", i=-2).SerializeToString()
    assert [signed(field.value) for field in fields(memoryview(written)) if field.number == 3] == [-2]


def test_floats_are_passed_over() -> None:
    """Of four bytes (a float attribute) and of eight (doubles are packed in ONNX, fixed64 only elsewhere)."""
    written = onnx.AttributeProto(name="alpha", f=0.5).SerializeToString() + bytes([0x31, *range(8)])
    assert [field.number for field in fields(memoryview(written))] == [1, 2, 6]


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",  # a key without its value
        b"\x08" + b"\xff" * 10,  # a number without an end
        b"\x12\x07test",  # shorter than it says
        b"\x0d\x01\x02",  # a float of two bytes
        b"\x0b",  # a group
        b"\x00\x01",  # field 0
    ],
)
def test_what_is_cut_short_or_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="byte"):
        list(fields(memoryview(data)))
