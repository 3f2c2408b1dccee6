"""From a file to weights and what is known about them: mmcv, mmengine and plain containers, and safetensors.

A file is hostile until it is read: nothing in it is executed, whatever its ending says (:mod:`safe_load`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from fade_deploy import optional
from fade_deploy.checkpoints.inert import plain
from fade_deploy.checkpoints.leftovers import container_notes, without_leftovers, without_prefixes
from fade_deploy.checkpoints.safe_load import one_line, torch_file_content
from fade_deploy.errors import CheckpointError

__all__ = ["Checkpoint", "read_checkpoint"]

_WEIGHTS = ("state_dict", "model", "model_state_dict", "net", "params")
_EMA_WEIGHTS = ("state_dict_ema", "ema_state_dict", "model_ema", "ema")
_NESTED = ("module", "shadow", *_WEIGHTS)  # one level further down, as EMA helpers keep their weights
_ORDINARY = frozenset(
    {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool}
    | {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
)
_MOST_REPEATED = 4  # times that a file's data may be shared between keys; tied weights share it once or twice
_LONGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors library
_EXPECTED = "expected a checkpoint written by torch.save (.pth, .pt) or a .safetensors file"

# How a file begins -> what it is instead, and the remedy.
_OTHER_FILES = (
    (b"\x89PNG", "a PNG picture", "give the checkpoint first and the picture where pictures are asked for"),
    (b"\xff\xd8\xff", "a JPEG picture", "give the checkpoint first and the picture where pictures are asked for"),
    (b"\x89HDF", "an HDF5 file", "give the weights that PyTorch saved"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch it with: git lfs pull"),
    (b"<", "a web page or XML", "download the file itself, not its page"),
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The weights of one file and all that it says about them."""

    path: Path
    sha256: str  # of the whole file, hexadecimal
    state_dict: dict[str, Tensor]  # without prefixes and leftovers; float32 where floating; all finite
    facts: dict[str, Any]  # meta['fade_deploy'], written by our training scripts; plain Python values
    classes: tuple[str, ...]  # empty where the file has no names
    palette: tuple[tuple[int, int, int], ...]  # RGB of each class; empty where the file has none
    container: str  # "mmcv container", "mmengine container", "training container", "plain state dict", "safetensors"
    notes: tuple[str, ...]  # a plain sentence for each thing that was left out or chosen


def read_checkpoint(path: Path, *, ema: bool = False) -> Checkpoint:
    """Read the weights in a file, of whatever container, and never execute anything in it.

    Containers are told apart by content: safetensors, the zip and the legacy format of ``torch.save``; inside, the
    weights under 'state_dict', 'model', 'model_state_dict', 'net' or 'params', or the tensors of the dict itself.

    Which weights are the averaged ones (EMA): where a file has 'state_dict_ema', 'model_ema', 'ema' or, outside
    mmengine, 'ema_state_dict', these are, and ``ema`` chooses them. mmengine's EMAHook is the other way round in every
    release since 0.1.0: on saving it swaps, so 'state_dict' holds the EMA and 'ema_state_dict' the raw weights, and
    mmengine's own test script evaluates 'state_dict'. So do we, with ``ema`` and without; a note says it.

    Args:
        path: The file.
        ema: Use the averaged weights of a file that has both.

    Raises:
        CheckpointError: Not a checkpoint, damaged, would run code, has no weights, or weights that are not finite.
        MissingDependency: A safetensors file without the safetensors package.
    """
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "is not a file" if path.exists() else "does not exist"
            raise CheckpointError(f"{path} {what}; {_EXPECTED}: check the path")
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = os.fstat(stream.fileno()).st_size
            stream.seek(0)
            head = stream.read(64)
            stream.seek(0)
            if _is_safetensors(head):
                raw = _from_safetensors(path)
            else:
                _refuse_other_files(path, head)
                raw = _from_torch_file(path, stream, ema=ema)
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror}; {_EXPECTED}: check its permissions") from error
    if ema and raw.container == "safetensors":
        raise CheckpointError(f"{path} is a safetensors file, which holds one set of weights: leave out --ema")
    weights, left_out = without_leftovers(without_prefixes(raw.state_dict))
    weights, converted = _finite_float32(path, weights, size)
    return replace(raw, sha256=digest, state_dict=weights, notes=(*raw.notes, *left_out, *converted))


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _LONGEST_HEADER


def _refuse_other_files(path: Path, head: bytes) -> None:
    if not head:
        raise CheckpointError(f"{path} is empty; {_EXPECTED}: copy or download it again")
    # An ONNX file is a protobuf whose first field is the IR version; a pickle never begins with that byte.
    if path.suffix.lower() == ".onnx" or head[0] == 0x08:
        raise CheckpointError(f"{path}: this is an ONNX file; {_EXPECTED}: give the .pth that it was exported from")
    for start, what, remedy in _OTHER_FILES:
        if head.startswith(start):
            raise CheckpointError(f"{path}: this is {what}; {_EXPECTED}: {remedy}")
    if head[0] < 0x80 and not head.startswith(b"PK\x03\x04"):  # every pickle since protocol 2 begins with 0x80
        raise CheckpointError(f"{path} is not a checkpoint; {_EXPECTED}: check the path")


def _from_safetensors(path: Path) -> Checkpoint:
    library = optional.require("safetensors", extra="export")
    try:
        with library.safe_open(str(path), framework="pt", device="cpu") as opened:
            metadata = opened.metadata() or {}
            weights = {key: opened.get_tensor(key).clone() for key in opened.keys()}  # noqa: SIM118 (not a dict)
    except (library.SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{path}: damaged or cut short ({one_line(error)}); expected a safetensors file: copy or download it again"
        ) from error
    if not weights:
        raise CheckpointError(f"{path} holds no tensors; {_EXPECTED}: save the model's state_dict() into it")
    try:
        stated = json.loads(metadata.get("fade_deploy", "{}"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: the metadata entry 'fade_deploy' is not JSON ({one_line(error)}); expected an object: "
            "save it with json.dumps"
        ) from error
    return _described(path, weights, {"fade_deploy": stated}, "safetensors", [])


def _from_torch_file(path: Path, stream: IO[bytes], *, ema: bool) -> Checkpoint:
    content = torch_file_content(stream, str(path))
    if not isinstance(content, dict):
        what = "one tensor" if isinstance(content, Tensor) else f"a {type(content).__name__}"
        raise CheckpointError(f"{path} holds {what}; expected weights: torch.save(model.state_dict(), 'weights.pth')")
    meta = content.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    is_mmengine = "message_hub" in content or "mmengine_version" in meta
    held, notes = _choose_weights(path, content, ema=ema, swapped=is_mmengine)
    if held is content:
        container = "plain state dict"
    elif is_mmengine:
        container = "mmengine container"
    else:
        container = "mmcv container" if meta else "training container"
    weights = {key: value.detach() for key, value in held.items() if isinstance(key, str) and isinstance(value, Tensor)}
    others = [key for key in held if key not in weights]
    if held is not content:
        others += content
    told = {"meta", *_WEIGHTS, *_EMA_WEIGHTS}
    notes += container_notes(str(key) for key in others if key not in told)
    return _described(path, weights, meta, container, notes)


def _choose_weights(
    path: Path, content: dict[Any, Any], *, ema: bool, swapped: bool
) -> tuple[dict[Any, Any], list[str]]:
    """The dict that holds the wanted weights, and what to tell about the choice."""
    raw = next((found for key in _WEIGHTS if (found := _weights_in(content.get(key)))), None)
    if raw is None and any(isinstance(value, Tensor) for value in content.values()):
        raw = content
    averaged = next(((key, found) for key in _EMA_WEIGHTS if (found := _weights_in(content.get(key)))), None)
    if averaged is not None and averaged[0] == "ema_state_dict" and swapped and raw is not None:
        return raw, ["used 'state_dict', the EMA weights: mmengine's EMAHook keeps the raw ones in 'ema_state_dict'"]
    if ema:
        if averaged is None:
            raise CheckpointError(
                f"{path} holds no EMA weights; expected one of {', '.join(_EMA_WEIGHTS)} in it: leave out --ema"
            )
        return averaged[1], [f"used the EMA weights in '{averaged[0]}'"]
    if raw is None:
        held = ", ".join(one_line(key, limit=40) for key in list(content)[:4]) or "nothing"
        remedy = "add --ema to use its EMA weights" if averaged else "torch.save(model.state_dict(), 'weights.pth')"
        raise CheckpointError(f"{path} holds no weights, but {held}; expected tensors by name: {remedy}")
    return raw, [f"this file also holds EMA weights ('{averaged[0]}'); --ema uses them"] if averaged else []


def _weights_in(value: object, *, depth: int = 2) -> dict[Any, Any] | None:
    """``value`` if it is a dict with tensors in it, else the one such dict under a usual name inside it."""
    if not isinstance(value, dict) or depth < 0:
        return None
    if any(isinstance(item, Tensor) for item in value.values()):
        if inner := _weights_in(value.get("module"), depth=depth - 1):  # an EMA helper: a counter beside the weights
            return inner
        return value
    return next((found for key in _NESTED if (found := _weights_in(value.get(key), depth=depth - 1))), None)


def _described(
    path: Path, weights: dict[str, Tensor], meta: dict[Any, Any], container: str, notes: list[str]
) -> Checkpoint:
    try:
        facts = plain(meta.get("fade_deploy", {}))
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: meta['fade_deploy'] {one_line(error)}; expected a dict of simple values: mend it and save again"
        ) from error
    if not isinstance(facts, dict):
        raise CheckpointError(
            f"{path}: meta['fade_deploy'] is a {type(facts).__name__}; expected a dict: mend it and save again"
        )
    dataset = meta.get("dataset_meta")
    sources = [source for source in (meta, dataset, facts) if isinstance(source, dict)]
    classes, palette = _names(sources), _colours(sources)
    return Checkpoint(path, "", weights, facts, classes, palette, container, tuple(notes))


def _stated(sources: list[dict[Any, Any]], name: str) -> Any:
    """The first value under a name, in any case; None where there is none or it is not made of plain values."""
    for source in sources:
        for key, value in source.items():
            if isinstance(key, str) and key.lower() == name and value is not None:
                try:
                    return plain(value)
                except (ValueError, TypeError):
                    return None
    return None


def _names(sources: list[dict[Any, Any]]) -> tuple[str, ...]:
    classes = _stated(sources, "classes")
    if not isinstance(classes, tuple) or not all(isinstance(name, str) for name in classes):
        return ()
    return tuple(one_line(name) for name in classes)


def _colours(sources: list[dict[Any, Any]]) -> tuple[tuple[int, int, int], ...]:
    palette = _stated(sources, "palette")
    if not isinstance(palette, tuple):
        return ()
    for colour in palette:
        match colour:
            case (int(red), int(green), int(blue)) if 0 <= min(red, green, blue) <= max(red, green, blue) <= 255:
                continue
        return ()
    return palette


def _finite_float32(path: Path, weights: dict[str, Tensor], file_size: int) -> tuple[dict[str, Tensor], list[str]]:
    """The weights as float32 where they are floating, and a note where that changed something.

    Raises:
        CheckpointError: A tensor holds NaN or infinity, or is no ordinary one: sparse, quantised, without data; or all
            are larger than the file (a view that repeats its data could be of any size).
    """
    out: dict[str, Tensor] = {}
    converted: Counter[torch.dtype] = Counter()
    claimed = 0
    for key, tensor in weights.items():
        if not _is_ordinary(tensor):
            raise CheckpointError(
                f"{path}: key '{one_line(key)}' is not an ordinary dense tensor; expected float weights: save the "
                "model before it is quantised, sparsified or wrapped"
            )
        claimed += tensor.numel() * tensor.element_size()
        if claimed > _MOST_REPEATED * file_size:
            raise CheckpointError(
                f"{path}: its tensors claim more data than the file has; expected every weight once: re-save them with "
                "torch.save(model.state_dict(), 'weights.pth')"
            )
        out[key] = tensor
        if tensor.is_floating_point():
            converted[tensor.dtype] += 1
            out[key] = tensor.to(torch.float32)
            if bad := int((~torch.isfinite(out[key])).sum()):
                raise CheckpointError(
                    f"{path}: key '{one_line(key)}' holds NaN or infinity in {bad} of {tensor.numel()} numbers; "
                    "expected finite weights: give a checkpoint from before the training diverged"
                )
    del converted[torch.float32]
    return out, [
        f"converted {count} tensors from {str(dtype).removeprefix('torch.')} to float32"
        for dtype, count in converted.items()
    ]


def _is_ordinary(tensor: Tensor) -> bool:
    return (
        type(tensor) is Tensor
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_nested
        and tensor.dtype in _ORDINARY
    )
