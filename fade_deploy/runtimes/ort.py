"""ONNX Runtime on the CPU: a session from an exported file, and the metadata that the file carries.

Needs neither torch nor onnx.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fade_deploy.contract import METADATA_KEY, OWN_MODULE, Head, Task
from fade_deploy.errors import InputError, MissingDependency
from fade_deploy.optional import require

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime
    from numpy.typing import NDArray

__all__ = ["LARGEST_SIDE", "deployed_metadata", "ort_version", "output_of", "session_from_onnx"]

LARGEST_SIDE = 65_536  # pixels: what is larger would only exhaust the memory
_MOST_CLASSES = 65_536  # labels have 16 bits
# Of a mean and a std, upwards and downwards: whatever picture they normalise stays finite in float32, whose range ends
# at 3e38, and no std becomes 0 there.
_LARGEST_LEVEL = 1e15
_QUIET = 4  # "fatal": onnxruntime raises what it would log as an error, so lower levels only say it twice
_PACKAGES = ("onnxruntime", "onnxruntime-gpu")  # both fill the folder `onnxruntime` of site-packages


def session_from_onnx(path: Path, *, threads: int = 0) -> onnxruntime.InferenceSession:
    """Load an ``.onnx`` file on onnxruntime's CPU provider.

    Args:
        path: The file; its fade operators must carry their function bodies.
        threads: Threads within one operator; 0 leaves the number to onnxruntime (one a physical core).

    Raises:
        MissingDependency: onnxruntime is not installed, or it and onnxruntime-gpu overwrite each other.
        InputError: The file is missing, empty, not ONNX, truncated, or beyond this onnxruntime.
    """
    if all(_is_installed(package) for package in _PACKAGES):
        raise MissingDependency(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files, expected one: "
            "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install 'fade-deploy[ort-cpu]' or '[ort-gpu]'"
        )
    ort = require("onnxruntime", extra="ort-cpu")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise InputError(
            f"{path} can't be read ({error.strerror or error}); expected an .onnx file that fade-export wrote"
        ) from error
    if empty:
        raise InputError(f"{path} is empty, expected an .onnx file: export it again with fade-export")
    options = ort.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = threads
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common parent below Exception
        raise InputError(_explain(path, str(error), version=ort.__version__)) from error


def output_of(
    session: onnxruntime.InferenceSession,
    output: str,
    inputs: Mapping[str, NDArray[Any]],
    *,
    name: str = "the file",
) -> NDArray[np.generic] | object:
    """Run the file and give back one output: an array, or what a foreign file returns instead.

    Args:
        session: From :func:`session_from_onnx`.
        output: Its name.
        inputs: By name, as the file declares them.
        name: How an error calls the file, its path for instance.

    Raises:
        InputError: A node can't compute what it should.
        MemoryError: There is less memory than it takes.
    """
    try:
        value: object = session.run([output], dict(inputs))[0]
    except MemoryError:
        raise
    except Exception as error:  # as while loading
        message = " ".join(str(error).split())
        if "Failed to allocate memory" in message:
            raise MemoryError(message) from error
        raise InputError(
            f"{name} can't be run by onnxruntime {ort_version()} ({_reason(message)}), expected a file of fade-export: "
            "export it again"
        ) from error
    return value


def ort_version() -> str:
    """Version of the installed onnxruntime, of whichever package."""
    return str(require("onnxruntime", extra="ort-cpu").__version__)


def deployed_metadata(session: onnxruntime.InferenceSession, *, name: str = "the file") -> dict[str, Any]:
    """The JSON object that fade-export wrote into the file, with the fields that prediction needs checked.

    Args:
        session: From :func:`session_from_onnx`.
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
    if fault := _fault(metadata):
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


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _explain(path: Path, message: str, *, version: str) -> str:
    """One line for what onnxruntime says while loading a file: given, expected, remedy."""
    message = " ".join(message.split())
    if re.search("INVALID_PROTOBUF|No graph was found|does not have a graph", message):
        return (
            f"{path} is not ONNX or is truncated, expected an .onnx file: copy it again, or export it with fade-export"
        )
    if found := re.search(r"\bfade:(\w+)\(|No Op registered for (Fade\w+)", message):
        return (
            f"{path} was exported without its function bodies, expected a body for {found[1] or found[2]}: "
            "export it again with fade-export (--standard-ops leaves no fade operator in the file)"
        )
    upgrade = "upgrade it (pip install -U onnxruntime) or export the file for an older one"
    if found := re.search(r"IR version: (\d+), max supported IR version: (\d+)", message):
        return f"{path} has ONNX IR version {found[1]}, onnxruntime {version} reads up to {found[2]}: {upgrade}"
    if found := re.search(r"Opset (\d+) is under development.* domain (\S+) is till opset (\d+)", message):
        return f"{path} has opset {found[1]} of {found[2]}, onnxruntime {version} knows up to {found[3]}: {upgrade}"
    return (
        f"{path} can't be loaded by onnxruntime {version} ({_reason(message)}), expected a file of fade-export: "
        "export it again"
    )


def _reason(message: str) -> str:
    """What onnxruntime says on one line, without its codes and without where in its own source it was raised."""
    reason = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?", "", message)
    return re.sub(r"\S+\.(cc|h):\d+ .*?\) (const )?(?=\w)", "", reason)


def _fault(metadata: Any) -> str:
    """What is wrong with the fields that prediction reads; empty when nothing is."""
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
