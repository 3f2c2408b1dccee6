"""``config.pbtxt``: what Triton reads of a model, as a protobuf message in text form.

Fields and their meaning: model_config.proto of triton-inference-server/common.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from fade_deploy.errors import ExportError
from fade_deploy.serve.triton_interface import Interface, Tensor
from fade_deploy.serve.triton_options import Backend, Instance, TritonOptions

__all__ = ["LABELS", "checked_batch", "config_text", "max_batch_size"]

LABELS = "labels.txt"  # beside config.pbtxt: the name of class i in line i + 1
_USUAL_BATCH = 8  # at 512x512 25 MB of SegFormer inputs, below what servers and proxies refuse by default
# numpy's names -> Triton's; what both its ONNX Runtime and its TensorRT backend take (bfloat16: TensorRT alone).
_DTYPES = {
    "bfloat16": "TYPE_BF16",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "uint8": "TYPE_UINT8",
}

Field = tuple[str, "str | int | Word | Sequence[Field]"]


class Word(str):
    """A bare word: the name of an enumeration's value, or true."""

    __slots__ = ()


def config_text(name: str, interface: Interface, options: TritonOptions, *, library: str = "") -> str:
    """The text of ``config.pbtxt``.

    Args:
        name: Of the model.
        interface: What the artefact takes and returns.
        options: How it is served.
        library: Path of native operators, relative to the model's folder; empty: none.

    Raises:
        ExportError: A tensor has a dtype that Triton has no name for, or the batches asked for are not possible.
    """
    largest = max_batch_size(interface, options)
    fields: list[Field] = [
        ("name", name),
        ("backend", str(options.backend)),
        ("max_batch_size", largest),
        *(("input", _tensor(tensor, batches=largest > 0)) for tensor in interface.inputs),
        *(("output", _tensor(tensor, batches=largest > 0)) for tensor in interface.outputs),
        *_batching(interface, options, largest),
        ("instance_group", _instances(options)),
        *(("model_warmup", _warmup(interface.inputs, shapes, largest)) for shapes in interface.warmup),
        *_optimization(options),
    ]
    if library and options.backend is Backend.ONNXRUNTIME:
        path = f"{options.server_folder.rstrip('/')}/{name}/{library}"  # Triton passes it to dlopen as it stands
        fields.append(("model_operations", [("op_library_filename", path)]))
    fields += [
        ("parameters", [("key", key), ("value", [("string_value", value)])])
        for key, value in _parameters(interface, options, library).items()
    ]
    return _text(fields)


def max_batch_size(interface: Interface, options: TritonOptions) -> int:
    """How many requests one run may hold; 0 where requests can't be joined, and the batch axis is one of ``dims``.

    Raises:
        ExportError: As :func:`checked_batch`.
    """
    return checked_batch(
        options,
        are_joined=interface.batches,
        largest=interface.plan.largest.batch if interface.plan else 0,
        warmup=[next(iter(shapes.values()))[0] for shapes in interface.warmup],
    )


def checked_batch(options: TritonOptions, *, are_joined: bool, warmup: Iterable[int], largest: int = 0) -> int:
    """The largest batch, 0 where requests can't be joined; also before there is a file.

    Args:
        options: How the model is served.
        are_joined: Whether requests can be: the batch axis is open, from 1 upwards.
        warmup: Batches that run before the server reports ready.
        largest: Of an engine's profile; 0: as the options say.

    Raises:
        ExportError: A preferred or warm-up batch is larger, or something is asked of batches that there are not.
    """
    largest = (largest or options.max_batch_size or _USUAL_BATCH) if are_joined else 0
    for given, lowest, what in (
        (options.max_batch_size is not None, 1, f"--max-batch-size {options.max_batch_size}"),
        (options.queue_delay_us > 0, 2, f"--queue-delay {options.queue_delay_us}"),
        (bool(options.preferred_batch_sizes), 1, f"preferred_batch_sizes {options.preferred_batch_sizes}"),
    ):
        if given and largest < lowest:
            why = "the largest batch is 1" if largest else "the batch is fixed or starts above 1"
            raise ExportError(
                f"{what} means nothing where {why}, since no requests are joined: leave it out, or export with a "
                "larger or a dynamic batch"
            )
    for what, sizes in (("preferred", options.preferred_batch_sizes), ("warm-up", tuple(warmup))):
        if largest and not all(1 <= size <= largest for size in sizes):
            raise ExportError(
                f"{what} batch {max(sizes)} is not within 1 to {largest}, the largest batch: give another"
            )
    return largest


def _tensor(tensor: Tensor, *, batches: bool) -> list[Field]:
    return [
        ("name", tensor.name),
        ("data_type", Word(_dtype(tensor))),
        *(("dims", size) for size in tensor.shape[1 if batches else 0 :]),
    ]


def _dtype(tensor: Tensor) -> str:
    if tensor.dtype not in _DTYPES:
        raise ExportError(
            f"'{tensor.name}' is of {tensor.dtype}, expected one of {', '.join(_DTYPES)}: export it again with "
            "other input and output types"
        )
    return _DTYPES[tensor.dtype]


def _batching(interface: Interface, options: TritonOptions, largest: int) -> list[Field]:
    """Joins requests of equal height and width that wait at the same time."""
    if largest < 2:
        return []
    preferred = options.preferred_batch_sizes
    if interface.plan and not preferred and interface.plan.optimum.batch > 1:
        preferred = (interface.plan.optimum.batch,)  # the batch that its kernels were chosen for
    fields: list[Field] = [("preferred_batch_size", size) for size in preferred]
    if options.queue_delay_us:
        fields.append(("max_queue_delay_microseconds", options.queue_delay_us))
    return [("dynamic_batching", fields)]


def _instances(options: TritonOptions) -> list[Field]:
    fields: list[Field] = [("count", options.instances), ("kind", Word(f"KIND_{options.instance.upper()}"))]
    if options.backend is Backend.PYTHON and options.instance is Instance.GPU:
        fields.append(("gpus", 0))  # model.py computes on the first GPU that the server sees
    return fields


def _warmup(inputs: Iterable[Tensor], shapes: Mapping[str, tuple[int, ...]], largest: int) -> list[Field]:
    """One request of zeros: random bytes, which Triton offers too, can be NaN."""
    size = next(iter(shapes.values()))
    fields: list[Field] = [
        ("name", "x".join(map(str, size))),
        ("batch_size", size[0] if largest else 1),
    ]
    for tensor in inputs:
        dims: list[Field] = [("dims", side) for side in shapes[tensor.name][1 if largest else 0 :]]
        value: list[Field] = [("data_type", Word(_dtype(tensor))), *dims, ("zero_data", Word("true"))]
        fields.append(("inputs", [("key", tensor.name), ("value", value)]))
    return fields


def _optimization(options: TritonOptions) -> list[Field]:
    """ONNX Runtime on a GPU: without TensorFloat-32, whose 11 bits are not what was verified."""
    if options.backend is not Backend.ONNXRUNTIME or options.instance is not Instance.GPU:
        return []
    cuda: list[Field] = [("name", "cuda"), ("parameters", [("key", "use_tf32"), ("value", "0")])]
    return [("optimization", [("execution_accelerators", [("gpu_execution_accelerator", cuda)])])]


def _parameters(interface: Interface, options: TritonOptions, library: str) -> dict[str, str]:
    """What the backend reads, and what a client needs to know of the model, which Triton hands on as it is."""
    found = interface.metadata
    told = {"task": found["task"], "head": found["head"], "size_multiple": str(found["size_multiple"])}
    if not found["embed_preprocess"]:
        told |= {"mean": json.dumps(found["mean"]), "std": json.dumps(found["std"])}
    if found.get("classes"):
        told["labels"] = LABELS
    match options.backend:
        case Backend.ONNXRUNTIME:
            return {"intra_op_thread_count": str(options.threads), **told}
        case Backend.PYTHON:
            return {"threads": str(options.threads), "library": library or options.library, **told}
        case Backend.TENSORRT:
            return told


def _text(fields: Iterable[Field], indent: str = "") -> str:
    lines = []
    for name, value in fields:
        if isinstance(value, Word | int):
            lines.append(f"{indent}{name}: {value}\n")
        elif isinstance(value, str):
            lines.append(f"{indent}{name}: {json.dumps(value, ensure_ascii=False)}\n")  # escapes as in C
        elif not value:
            lines.append(f"{indent}{name} {{}}\n")
        else:
            lines.append(f"{indent}{name} {{\n{_text(value, indent + '  ')}{indent}}}\n")
    return "".join(lines)
