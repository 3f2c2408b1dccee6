"""Protocol buffers on the wire, as much as ONNX needs: a file can be looked into where the package onnx is missing.

https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Field", "fields", "message", "signed", "text"]

_VARINT, _BYTES = 0, 2  # wire types
_SIZES = {1: 8, 5: 4}  # bytes of the wire types of fixed size; 3 and 4, groups, are in no ONNX file
_LONGEST_VARINT = 10  # bytes


class Field(NamedTuple):
    """One field of a message: a number of the schema, its value, and all its bytes with the key."""

    number: int
    value: int | memoryview  # memoryview: text, bytes, a message, packed numbers, a float
    raw: memoryview


def fields(data: memoryview) -> Iterator[Field]:
    """Every field of a message, in its order; what is inside a field is not looked at.

    Raises:
        ValueError: It is no message, or is cut short.
    """
    start = 0
    while start < len(data):
        key, at = _varint(data, start)
        kind = key & 7
        value: int | memoryview
        if kind == _VARINT:
            value, at = _varint(data, at)
        else:
            size, at = _varint(data, at) if kind == _BYTES else (_SIZES.get(kind, 0), at)
            value, at = data[at : at + size], at + size
            if kind != _BYTES and not size:
                raise ValueError(f"byte {start} has the wire type {kind}")
        if at > len(data) or key < 8:
            raise ValueError(f"a field at byte {start} is cut short or has no number")
        yield Field(key >> 3, value, data[start:at])
        start = at


def text(value: int | memoryview) -> str:
    """A field that holds text; what is not UTF-8 is replaced.

    Raises:
        ValueError: It holds a number.
    """
    if isinstance(value, int):
        raise ValueError("a number stands where text is expected")
    return bytes(value).decode("utf-8", errors="replace")


def signed(value: int | memoryview) -> int:
    """A field that holds an int64.

    Raises:
        ValueError: It holds something else.
    """
    if not isinstance(value, int):
        raise ValueError("bytes stand where a number is expected")
    return value - (1 << 64) if value >> 63 else value


def message(*parts: tuple[int, int | str | bytes]) -> bytes:
    """A message of (number, value): numbers from 0 on, text, or bytes, which may be a message."""
    written = b""
    for number, value in parts:
        if isinstance(value, int):
            written += _written_varint(number << 3 | _VARINT) + _written_varint(value)
        else:
            content = value.encode() if isinstance(value, str) else value
            written += _written_varint(number << 3 | _BYTES) + _written_varint(len(content)) + content
    return written


def _varint(data: memoryview, start: int) -> tuple[int, int]:
    """A number, seven bits a byte and the lowest first, and where what follows it starts."""
    value = 0
    for index, byte in enumerate(data[start : start + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value & (1 << 64) - 1, start + index + 1
    raise ValueError(f"a number at byte {start} has no end")


def _written_varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])
