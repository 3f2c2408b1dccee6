"""What goes into a user's module and comes out of it, checked before any work is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fade_deploy.errors import InputError

__all__ = ["Interface", "checked_interface", "checked_module", "tensor_fault"]

# What numpy and ONNX Runtime have too.
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bool, torch.uint8,
           torch.int8, torch.int16, torch.int32, torch.int64)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A module's inputs and outputs in the file."""

    inputs: Mapping[str, Tensor]  # name -> example, without its graph
    outputs: Sequence[str]
    axes: Mapping[str, Mapping[int, str]]  # input name -> dynamic axis, from 0 upwards -> name of the dimension
    multiples: Mapping[str, int]  # dimension -> what its sizes are multiples of, for every dimension
    sizes: Mapping[str, int]  # dimension -> its size in the example


def checked_module(module: Any) -> None:
    """Refuse what is no module that runs here as it is.

    Raises:
        InputError: No module, TorchScript, a part in training mode, or weights that are not on the CPU.
    """
    if not isinstance(module, nn.Module):
        raise InputError(
            f"the module is {_called(module)}, expected a torch.nn.Module instance: call functions in one's forward"
        )
    for path, part in module.named_modules():
        where = f"'{path}' ({type(part).__name__})" if path else type(part).__name__
        if isinstance(part, torch.jit.ScriptModule):
            raise InputError(f"{where} is TorchScript, expected a plain module: give the one that it was made from")
        if part.training:
            raise InputError(f"{where} is in training mode, expected evaluation: call module.eval() first")
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.device.type != "cpu":
            remedy = "load its weights" if tensor.is_meta else "call module.cpu()"
            raise InputError(f"the weight '{name}' is on {tensor.device}, expected the CPU: {remedy} first")


def checked_interface(inputs: Any, outputs: Any, dynamic_axes: Any, multiples: Any) -> Interface:
    """The arguments of an export in one form, or one line on what is wrong with them.

    Raises:
        InputError: A name, a tensor, an axis, or a size is not what it should be.
    """
    examples = _checked_inputs(inputs)
    if isinstance(outputs, str) or not isinstance(outputs, Sequence) or not outputs:
        given = repr(outputs) if isinstance(outputs, str) else _called(outputs)
        raise InputError(f"outputs is {given}, expected a sequence of names: give one as ('output',)")
    names = [*examples, *outputs]
    for name in outputs:
        _check_name(name, "an output")
        if names.count(name) > 1:
            raise InputError(f"the output '{name}' bears the name of another one or of an input: give it its own")
    axes = _checked_axes(examples, dynamic_axes)
    sizes: dict[str, int] = {}
    for name, per_input in axes.items():
        for axis, dim in per_input.items():
            size = examples[name].shape[axis]
            if sizes.setdefault(dim, size) != size:
                raise InputError(
                    f"dimension '{dim}' is {sizes[dim]} and {size} in the example, expected one size: "
                    "give the axes names of their own, or an example in which they are equal"
                )
    _check_multiples(multiples, sizes)
    return Interface(
        inputs=examples,
        outputs=tuple(outputs),
        axes=axes,
        multiples={**dict.fromkeys(sizes, 1), **multiples},
        sizes=sizes,
    )


def tensor_fault(tensor: Tensor) -> str:
    """What keeps a tensor from being compared, expected and remedy included; empty where nothing does."""
    shape = "x".join(map(str, tensor.shape))
    if tensor.layout is not torch.strided or tensor.dtype not in _DTYPES:
        kind = tensor.dtype if tensor.layout is torch.strided else tensor.layout
        return f"is {kind}, expected a dense tensor of floats up to 64 bits, integers or booleans: convert it"
    if tensor.device.type != "cpu":
        return f"is on {tensor.device}, expected the CPU: call .cpu(), or give a tensor with values"
    if not tensor.numel():
        return f"has the shape {shape}, which holds no values, expected at least 1 along each axis: give another size"
    return ""


def _checked_inputs(inputs: Any) -> dict[str, Tensor]:
    if not isinstance(inputs, Mapping) or not inputs:
        given = "empty" if isinstance(inputs, Mapping) else _called(inputs)
        raise InputError(f"inputs is {given}, expected names with example tensors: give them as {{'image': image}}")
    examples = {}
    for name, tensor in inputs.items():
        _check_name(name, "an input")
        if not isinstance(tensor, Tensor):
            raise InputError(
                f"input '{name}' is {_called(tensor)}, expected a tensor: give each tensor a name, in forward's order"
            )
        if fault := tensor_fault(tensor):
            raise InputError(f"input '{name}' {fault}")
        examples[name] = tensor.detach()
    return examples


def _checked_axes(examples: Mapping[str, Tensor], dynamic_axes: Any) -> dict[str, dict[int, str]]:
    form = 'give them as {"image": {0: "batch", 2: "height", 3: "width"}}'
    if not isinstance(dynamic_axes, Mapping):
        raise InputError(f"dynamic_axes is {_called(dynamic_axes)}, expected names of axes by input: {form}")
    axes: dict[str, dict[int, str]] = {}
    for name, per_input in dynamic_axes.items():
        if name not in examples:
            raise InputError(f"dynamic_axes names the input '{name}', expected one of {', '.join(examples)}: rename it")
        if not isinstance(per_input, Mapping):
            raise InputError(f"dynamic_axes of '{name}' is {_called(per_input)}, expected names by axis: {form}")
        axes[name] = {}
        rank = examples[name].dim()
        for axis, dim in per_input.items():
            _check_name(dim, f"a dimension of '{name}'")
            if not _is_integer(axis):
                raise InputError(f"dynamic_axes of '{name}' has the axis {axis!r}, expected integers: {form}")
            if not -rank <= axis < rank:
                raise InputError(f"input '{name}' has {rank} axes, dynamic_axes names axis {axis}: count from 0")
            if axis % rank in axes[name]:
                raise InputError(f"dynamic_axes of '{name}' names axis {axis % rank} twice, expected once: drop one")
            axes[name][axis % rank] = dim
    return axes


def _check_multiples(multiples: Any, sizes: Mapping[str, int]) -> None:
    form = 'give them as {"height": 32, "width": 32}'
    if not isinstance(multiples, Mapping):
        raise InputError(f"multiples is {_called(multiples)}, expected integers by dimension: {form}")
    for dim, multiple in multiples.items():
        if dim not in sizes:
            known = ", ".join(sizes) or "none"
            raise InputError(f"multiples names the dimension '{dim}', expected one of dynamic_axes ({known}): {form}")
        if not _is_integer(multiple) or multiple < 1:
            raise InputError(f"multiples has {multiple!r} for '{dim}', expected an integer from 1: {form}")
        if sizes[dim] % multiple:
            raise InputError(
                f"dimension '{dim}' is {sizes[dim]} in the example, expected a multiple of {multiple}: "
                "give an example of such a size"
            )


def _check_name(name: Any, what: str) -> None:
    if not isinstance(name, str) or not name.isprintable() or not name:
        raise InputError(f"{what} is named {name!r}, expected printable text: give another name")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _called(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"
