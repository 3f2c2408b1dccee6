"""Copies of a model that share its weights: what a rewrite before export starts from."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import nn

__all__ = ["sharing_weights"]

Module = TypeVar("Module", bound=nn.Module)


def sharing_weights(model: Module) -> Module:
    """A copy of the modules around the same parameters and buffers: rewrites put others in, and write into none."""
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)  # what deepcopy finds in its memo it takes for copied
