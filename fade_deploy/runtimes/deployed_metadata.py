"""What fade-export wrote into a file, read back from a session on it, with every field that prediction needs checked.

Needs neither torch nor onnx.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fade_deploy.contract import METADATA_KEY, OWN_MODULE, Head, Task
from fade_deploy.errors import InputError

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["LARGEST_SIDE", "deployed_metadata", "metadata_fault"]

LARGEST_SIDE = 65_536  # pixels: what is larger would only exhaust the memory
_MOST_CLASSES = 65_536  # labels have 16 bits
# Of a mean and a std, upwards and downwards: whatever picture they normalise stays finite in float32, whose range ends
# at 3e38, and no std becomes 0 there.
_LARGEST_LEVEL = 1e15


def deployed_metadata(session: onnxruntime.InferenceSession, *, name: str = "the file") -> dict[str, Any]:
    """The JSON object that fade-export wrote into the file, with the fields that prediction needs checked.

    Args:
        session: From :func:`fade_deploy.runtimes.ort.session_from_onnx`.
        name: How an error calls the file, its path for instance.

    Raises:
        InputError: fade-export did not write the file, or a field is missing or of the wrong kind.
    """
    remedy = "export it from its checkpoint with fade-export"
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise InputError(f"{name} has no metadata '{METADATA_KEY}', expected a file that fade-export wrote: {remedy}")
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} has metadata '{METADATA_KEY}' that is not JSON ({error}): {remedy}") from error
    if isinstance(metadata, dict) and metadata.get("task") == OWN_MODULE:
        raise InputError(
            f"{name} is a user's own module (fade_deploy.export_module), expected a model for segmentation or matting, "
            "whose inputs are known here: run it with onnxruntime"
        )
    if fault := metadata_fault(metadata):
        raise InputError(f"{name} has metadata '{METADATA_KEY}' in which {fault}: {remedy}")
    head = Head(metadata["head"])
    outputs = {output.name: output.shape for output in session.get_outputs()}
    if head.output not in outputs:
        raise InputError(
            f"{name} has the outputs {', '.join(outputs)}, expected '{head.output}' as its metadata says: {remedy}"
        )
    classes = metadata["classes"] if metadata["task"] == Task.SEGMENTATION else []
    shape = outputs[head.output]
    channels = shape[1] if head != Head.LABELS and len(shape) == 4 else None
    if isinstance(channels, int) and classes and channels != len(classes):
        raise InputError(f"{name} has {channels} outputs and names {len(classes)} classes: {remedy}")
    return dict(metadata)


def metadata_fault(metadata: Any) -> str:
    """What is wrong with the fields that prediction and engines read; empty when nothing is."""
    if not isinstance(metadata, dict):
        return "there is no JSON object"
    if fault := _field_fault(metadata, "task", lambda x: x in list(Task), f"one of {', '.join(Task)}"):
        return fault
    task = Task(metadata["task"])
    fields: list[tuple[str, Callable[[Any], bool], str]] = [
        ("head", lambda x: x in task.heads, f"one of {', '.join(task.heads)}"),
        ("embed_preprocess", lambda x: isinstance(x, bool), "true or false"),
        ("mean", _is_triple, f"three numbers from {-_LARGEST_LEVEL:.0e} to {_LARGEST_LEVEL:.0e}"),
        (
            "std",
            lambda x: _is_triple(x) and min(x) >= 1 / _LARGEST_LEVEL,
            f"three numbers from {1 / _LARGEST_LEVEL:.0e} to {_LARGEST_LEVEL:.0e}",
        ),
        ("size_multiple", _is_side, f"an integer from 1 to {LARGEST_SIDE}"),
    ]
    if task is Task.SEGMENTATION:
        fields += [
            ("classes", _is_names, f"a list of 1 to {_MOST_CLASSES} names"),
            ("palette", _is_palette, "a list of [red, green, blue] in 0..255, which may be empty"),
            ("short_side", _is_side, f"an integer from 1 to {LARGEST_SIDE}"),
            ("long_side", _is_side, f"an integer from 1 to {LARGEST_SIDE}"),
        ]
    return next((fault for field in fields if (fault := _field_fault(metadata, *field))), "")


def _field_fault(metadata: dict[str, Any], key: str, is_good: Callable[[Any], bool], expected: str) -> str:
    if key not in metadata:
        return f"'{key}' is missing"
    if is_good(metadata[key]):
        return ""
    given = json.dumps(metadata[key])
    return f"'{key}' is {given if len(given) < 60 else given[:57] + '...'}, expected {expected}"


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST_SIDE


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= _MOST_CLASSES and all(isinstance(name, str) for name in value)


def _is_triple(value: Any) -> bool:
    numbers = isinstance(value, list) and len(value) == 3
    # NaN is not <= anything; an integer of any length can be compared, but not turned into a float.
    return numbers and all(
        isinstance(x, int | float) and not isinstance(x, bool) and abs(x) <= _LARGEST_LEVEL for x in value
    )


def _is_palette(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(colour, list) and len(colour) == 3 and all(x in range(256) for x in colour) for colour in value
    )
