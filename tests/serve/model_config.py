"""``config.pbtxt`` read as Triton reads it: by the protobuf message of its own client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def parsed(text: str | Path) -> Any:
    """The message ``ModelConfig``; a field that it doesn't have is an error."""
    reason = "tritonclient[grpc] is not installed: pip install 'fade-deploy[test]'"
    messages = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason=reason)
    from google.protobuf import text_format

    return text_format.Parse(text.read_text() if isinstance(text, Path) else text, messages.ModelConfig())


def described(tensors: Any) -> dict[str, tuple[str, list[int]]]:
    """Name -> dtype and dims of inputs or outputs."""
    from tritonclient.grpc import model_config_pb2

    return {tensor.name: (model_config_pb2.DataType.Name(tensor.data_type), list(tensor.dims)) for tensor in tensors}


def warmed(config: Any) -> list[tuple[int, dict[str, list[int]]]]:
    """Batch, and dims by input, of every warm-up request; each is of zeros."""
    for sample in config.model_warmup:
        assert all(value.zero_data for value in sample.inputs.values())
    return [
        (sample.batch_size, {name: list(value.dims) for name, value in sample.inputs.items()})
        for sample in config.model_warmup
    ]


def parameters(config: Any) -> dict[str, str]:
    """Of a model, by key."""
    return {key: value.string_value for key, value in config.parameters.items()}
