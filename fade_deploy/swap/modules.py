"""Upsamplers of public repositories, in any model, replaced in place by ours with their weights.

Recognised by class name, parameters and attributes (``known.py``), then tried: where the module runs at all,
it and its replacement must agree on noise with random weights, because public copies of one name differ.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fade_deploy.errors import InputError
from fade_deploy.swap.carafe import carafe_replaced
from fade_deploy.swap.known import KNOWN, Kind
from fade_deploy.swap.shapes import check_module
from fade_deploy.tolerances import tolerance

__all__ = ["Swapped", "swap_upsamplers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapped:
    """One swap: where, what was there, what is there now, and whether the two were compared on a trial."""

    name: str
    old: str
    new: str
    compared: bool


def swap_upsamplers(model: nn.Module, *, skip: Collection[str] = ()) -> tuple[Swapped, ...]:
    """Replace every upsampler of a public repository by ours, in place, weights and call signature kept.

    Known are, by class name: mmcv's ``CARAFEPack``, ``CARAFE``, ``CARAFENaive``, and the plain PyTorch ``CARAFE`` of
    many YOLO repositories; FADE's ``FADE``, ``FADELite``, ``SemiShiftUp`` (all four files; the two high-to-low ones,
    whose keys are equal and functions are not, are told apart by a trial); IndexNet's ``DepthwiseM2OIndexBlock``,
    ``DepthwiseO2OIndexBlock``, ``HolisticIndexBlock``; A2U's ``InterChannelUpDown`` and ``BiupsampleNaive``; SAPA's
    ``SAPA``, ``SAPAExp``. None of their packages is needed.

    The parameters are the same objects afterwards, so dtype, device, ``requires_grad`` and optimizers are untouched,
    and state-dict keys are unchanged (but high-to-low FADE takes the low-to-high keys, so load weights first). A module
    in two places stays one module; held in a plain list or dict besides, it stays the old one there. A second call
    finds nothing.

    Args:
        model: Any network that contains such modules.
        skip: Dotted names of modules to leave as they are, with all that is inside.

    Returns:
        What was swapped, in the order of ``named_modules``; empty if nothing was known. A shared module appears once
        for each place.

    Raises:
        InputError: A module bears a known name and is not that class, computes something else, carries hooks, or is
            the model itself; or ``skip`` names no module, or the model is none. Then nothing was swapped.
    """
    check_module(model)
    if _is_known(model):
        raise InputError(
            f"the model is itself a {_class(model)}, which can't be replaced in place: "
            "swap in torch.nn.Sequential(model) and use that"
        )
    unknown = set(skip) - {name for name, _ in model.named_modules(remove_duplicate=False)}
    if unknown:
        raise InputError(f"skip names {', '.join(sorted(unknown))}, expected names of modules of the model")
    places = list(_places(model, "", set(skip), set()))
    replacements: dict[int, tuple[nn.Module, bool]] = {}
    swapped = []
    for _, _, name, original in places:
        if id(original) not in replacements:
            replacements[id(original)] = _replacement(name, original)
        new, compared = replacements[id(original)]
        swapped.append(Swapped(name=name, old=_class(original), new=_class(new), compared=compared))
    for parent, attribute, _, original in places:
        parent.add_module(attribute, replacements[id(original)][0])
    return tuple(swapped)


def _places(
    module: nn.Module, name: str, skip: set[str], seen: set[int]
) -> Iterator[tuple[nn.Module, str, str, nn.Module]]:
    """(parent, attribute, dotted name, module) of every known module; of a shared one, every place."""
    if id(module) in seen:
        return
    seen.add(id(module))
    for attribute, child in module._modules.items():
        path = f"{name}.{attribute}" if name else attribute
        if child is None or path in skip:
            continue
        if _is_known(child):
            yield module, attribute, path, child
        else:
            yield from _places(child, path, skip, seen)


def _is_known(module: nn.Module) -> bool:
    return type(module).__name__ in KNOWN and not type(module).__module__.startswith("fade_deploy.")


def _class(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _replacement(name: str, original: nn.Module) -> tuple[nn.Module, bool]:
    kind = KNOWN[type(original).__name__]
    leave = f"; to leave it as it is, pass skip=({name!r},)"
    if any(_has_hooks(part) for part in original.modules()):
        raise InputError(
            f"{name}: this {_class(original)} carries hooks, which a swap would lose: remove them first{leave}"
        )
    try:
        candidates = kind.replacements(original)
        agreeing = _agreeing(original, kind)
    except ValueError as error:
        raise InputError(f"{name}: this {_class(original)} can't be replaced: {error}{leave}") from error
    if agreeing is None and len(candidates) > 1:
        raise InputError(
            f"{name}: two public files have a {_class(original)} with these keys and different functions, and it "
            f"can't be run to tell which: put the model on a real device first, with the packages that it needs{leave}"
        )
    if agreeing == []:
        raise InputError(f"{name}: this {_class(original)} computes something else than the published one{leave}")
    new = candidates[agreeing[0] if agreeing else 0]
    theirs = {id(part) for part in original.modules()}
    for part in new.modules():
        if id(part) not in theirs:
            part.training = original.training
    return new, agreeing is not None


def _has_hooks(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


@torch.no_grad()
def _agreeing(original: nn.Module, kind: Kind) -> list[int] | None:
    """Which of a module's replacements compute what it computes, tried on a copy; None where it does not run.

    Raises:
        ValueError: It returns no tensors, or runs where the replacement does not.
    """
    if any(parameter.is_meta for parameter in original.parameters()):
        return None
    try:
        twin = copy.deepcopy(original).double().eval()
    except Exception:  # it holds what can't be copied
        return None
    generator = torch.Generator().manual_seed(0)
    device = torch.device("cpu")
    for parameter in twin.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.copy_(noise / math.sqrt(math.prod(parameter.shape[1:])))
        device = parameter.device
    examples = [example.to(device) for example in kind.examples(twin)]
    try:
        out = _run(twin, examples)
    except InputError as error:  # it calls carafe outside the contract
        raise ValueError(str(error)) from error
    except Exception:  # whatever it needs is not here: a GPU, a compiled extension
        return None
    expected = _tensors(out)
    return [i for i, new in enumerate(kind.replacements(twin)) if _agree(_tried(new, examples), out, expected)]


def _run(module: nn.Module, examples: list[Tensor]) -> object:
    """What it returns; without the compiled ``carafe`` that it may call, with ours in that function's place."""
    try:
        return module(*examples)
    except Exception:
        with carafe_replaced(module, check=False):
            return module(*examples)


def _tried(new: nn.Module, examples: list[Tensor]) -> Tensor | tuple[Tensor, ...]:
    try:
        out: Tensor | tuple[Tensor, ...] = new.eval()(*examples)
    except Exception as error:
        first_line = str(error).partition("\n")[0]
        raise ValueError(f"it runs, and what would replace it does not: {first_line}") from error
    return out


def _agree(given: object, out: object, expected: tuple[Tensor, ...]) -> bool:
    bound = tolerance("TRANSFORMERS_FP64")
    tensors = _tensors(given)
    return (
        isinstance(given, Tensor) == isinstance(out, Tensor)
        and len(tensors) == len(expected)
        and all(
            g.shape == e.shape and torch.allclose(g, e, rtol=bound.rtol, atol=bound.atol)
            for g, e in zip(tensors, expected, strict=True)
        )
    )


def _tensors(out: object) -> tuple[Tensor, ...]:
    """Outputs to be compared: on the CPU, float64 even where the module computes in a dtype of its own."""
    outputs = out if isinstance(out, tuple | list) else (out,)
    if not all(isinstance(output, Tensor) for output in outputs):
        kinds = ", ".join(type(output).__name__ for output in outputs)
        raise ValueError(f"it returns {kinds}, expected a tensor or a tuple of tensors")
    return tuple(output.cpu().double() for output in outputs)
