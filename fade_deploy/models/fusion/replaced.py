"""Which modules of the user's model a module of a fused model stands for."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

__all__ = ["replaced_modules", "replacing"]

_ATTRIBUTE = "replaces"
Module = TypeVar("Module", bound=nn.Module)


def replacing(module: Module, *names: str) -> Module:
    """Note on a module of the fusion the names, in the user's model, of those that it stands for."""
    setattr(module, _ATTRIBUTE, names)
    return module


def replaced_modules(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Name of a fused module -> the user's modules that it stands for; what is inside one inherits its note."""
    found: dict[str, tuple[str, ...]] = {}
    for name, module in model.named_modules():
        inherited = found.get(name.rpartition(".")[0], ()) if name else ()
        if names := getattr(module, _ATTRIBUTE, inherited):
            found[name] = names
    return found
