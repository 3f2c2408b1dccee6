"""Every place from which the code of a model reaches a ``carafe`` of others.

Objects of users are looked at from outside: by their types, their ``__dict__`` and the items of dicts, lists and
tuples. Their own ``__getattr__``, properties and ``__class__`` never run, as these may raise anything.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import types
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["PARAMETERS", "Place", "places_of_carafe"]

_FUNCTIONS = {"carafe", "carafe_naive", "biupsample_naive"}
_AUTOGRAD_FUNCTIONS = {"CARAFEFunction", "CARAFENaiveFunction", "BiupsampleNaiveFunction"}
PARAMETERS = ("features", "masks", "kernel_size", "group_size", "scale_factor")
# Code that never calls a carafe of others, and would take long to search; users' own folders are called test or code.
_NOT_SEARCHED = {*sys.stdlib_module_names, "torch", "torchvision", "numpy", "einops", "fade_deploy"} - {"test", "code"}
_PLAIN = (type(None), bool, int, float, complex, str, bytes, Tensor)  # hold no function


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a carafe is held: an item of a dict or list, or an attribute of a class, cell or function.

    ``held`` is what is there, the carafe itself or a tuple, partial or static method of it; ``new`` the same with our
    function in its place; ``carafes`` are the functions replaced.
    """

    holder: Any
    key: Any
    held: Any
    new: Any
    carafes: tuple[Callable[..., Any], ...]
    name: str

    def replace(self, undo: contextlib.ExitStack) -> None:
        """Put ``new`` there, until ``undo`` is closed."""
        for kind in (dict, list):
            if _is_a(self.holder, kind):
                undo.callback(kind.__setitem__, self.holder, self.key, self.held)
                kind.__setitem__(self.holder, self.key, self.new)
                return
        if self.key == "apply" and _is_a(self.holder, type):  # which every autograd function inherits
            undo.callback(delattr, self.holder, self.key)
        else:
            undo.callback(setattr, self.holder, self.key, self.held)
        setattr(self.holder, self.key, self.new)


def places_of_carafe(
    model: nn.Module, stand_in: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> tuple[Place, ...]:
    """Where the code of a model's modules, and all that it refers to, finds a carafe; ``stand_in`` makes ours of it."""
    search = _Search(stand_in)
    search.visit_all(model)
    return tuple(search.places.values())


def _is_a(value: object, *kinds: type) -> bool:
    # isinstance would ask a lazy object for its __class__.
    return issubclass(type(value), kinds)


def _is_autograd_function(value: Any) -> bool:
    return (
        _is_a(value, type)
        and issubclass(value, torch.autograd.Function)
        and value.__name__ in _AUTOGRAD_FUNCTIONS
        and "apply" not in vars(value)
    )


def _is_carafe(value: Any) -> bool:
    if _is_a(value, types.FunctionType):
        if value.__name__ not in _FUNCTIONS:
            return False
        parameters = list(inspect.signature(value).parameters)
        return len(parameters) == len(PARAMETERS) and parameters[0] != "self"  # a method has no place for all five
    if _is_a(value, types.MethodType, types.BuiltinMethodType):
        return _is_autograd_function(value.__self__) and value.__name__ == "apply"
    return False


class _Search:
    def __init__(self, stand_in: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        self.places: dict[tuple[int, Any], Place] = {}
        self._stand_in = stand_in
        self._seen: dict[int, Any] = {}  # the values too: an id is another's as soon as its object is gone
        self._pending: deque[tuple[Any, str]] = deque()

    def visit_all(self, model: nn.Module) -> None:
        self._pending.append((model, ""))
        while self._pending:
            value, name = self._pending.popleft()
            if id(value) not in self._seen and not _is_a(value, *_PLAIN) and not _is_carafe(value):
                self._seen[id(value)] = value
                self._visit(value, name)

    def _hold(self, holder: Any, key: Any, value: Any, name: str) -> None:
        """One value that code can reach, and that can be replaced there; ``name`` tells the user where it is."""
        if _is_a(value, *_PLAIN):
            return
        carafes: list[Callable[..., Any]] = []
        new = self._replaced(value, carafes)
        if carafes:
            place = Place(holder=holder, key=key, held=value, new=new, carafes=tuple(carafes), name=name)
            self.places.setdefault((id(holder), key), place)
        self._pending.append((value, name))

    def _replaced(self, value: Any, carafes: list[Callable[..., Any]]) -> Any:
        """The value with ours for each carafe in it, if it can't be changed itself; these are added to the list."""
        if _is_carafe(value):
            carafes.append(value)
            return self._stand_in(value)
        found = len(carafes)
        new = value
        if type(value) is staticmethod:
            new = staticmethod(self._replaced(value.__func__, carafes))
        elif type(value) is functools.partial:
            arguments = [self._replaced(item, carafes) for item in value.args]
            keywords = {key: self._replaced(item, carafes) for key, item in value.keywords.items()}
            new = functools.partial(self._replaced(value.func, carafes), *arguments, **keywords)
        elif type(value) is tuple or (_is_a(value, tuple) and hasattr(type(value), "_make")):  # or a named one
            items = [self._replaced(item, carafes) for item in tuple.__iter__(value)]
            new = tuple(items) if type(value) is tuple else type(value)._make(items)
        return new if len(carafes) > found else value

    def _visit(self, value: Any, name: str) -> None:
        if _is_a(value, types.FunctionType):
            self._visit_function(value)
        elif _is_a(value, type):
            self._visit_class(value)
        elif _is_a(value, types.MethodType):
            self._pending += [(value.__func__, name), (value.__self__, name)]
        elif _is_a(value, staticmethod, classmethod):
            self._pending.append((value.__func__, name))
        elif _is_a(value, property):
            self._pending.append((value.fget, name))
        elif _is_a(value, functools.cached_property):
            self._pending.append((value.func, name))
        elif _is_a(value, functools.partial, functools.partialmethod):
            self._pending += [(item, name) for item in (value.func, *value.args, *value.keywords.values())]
        elif _is_a(value, tuple):
            self._pending += [(item, f"{name}[{i}]") for i, item in enumerate(tuple.__iter__(value))]
        elif _is_a(value, list):
            for i, item in enumerate(list.__iter__(value)):
                self._hold(value, i, item, f"{name}[{i}]")
        else:
            if _is_a(value, dict):
                for key, item in list(dict.items(value)):
                    self._hold(value, key, item, f"{name}[{key!r}]" if _is_a(key, str, int) else f"{name}[...]")
            self._visit_instance(value, name)

    def _visit_instance(self, value: Any, name: str) -> None:
        attributes = _attributes(value)
        prefix = f"{name}." if name else ""
        if _is_a(value, nn.Module):
            for key, child in attributes.get("_modules", {}).items():
                self._pending.append((child, f"{prefix}{key}"))
        elif not _is_a(value, types.SimpleNamespace) and not _is_searched(type(value).__module__):
            self._pending.append((attributes.get("__wrapped__"), name))  # as functools.cache keeps its function
            return
        self._pending.append((type(value), name))
        for key, item in list(attributes.items()):
            self._hold(attributes, key, item, f"{prefix}{key}")

    def _visit_class(self, owner: type) -> None:
        self._pending += [(base, "") for base in owner.__bases__]
        if not _is_searched(owner.__module__):
            return
        name = f"{owner.__module__}.{owner.__qualname__}"
        if _is_autograd_function(owner):
            self._hold(owner, "apply", owner.apply, f"{name}.apply")  # type: ignore[attr-defined]
            return
        for key, value in list(vars(owner).items()):
            self._hold(owner, key, value, f"{name}.{key}")

    def _visit_function(self, function: types.FunctionType) -> None:
        if not _is_searched(function.__module__ or ""):
            return
        name = f"{function.__module__}.{function.__qualname__}"
        names = _names_in(function.__code__)
        for key in sorted(names & function.__globals__.keys()):
            self._visit_global(function.__globals__, key, names, f"{function.__module__}.{key}")
        for free, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # a cell that was never filled
                self._hold(cell, "cell_contents", cell.cell_contents, f"{name}.<locals>.{free}")
        self._hold(function, "__defaults__", function.__defaults__, f"{name}.__defaults__")
        for key, value in (function.__kwdefaults__ or {}).items():
            self._hold(function.__kwdefaults__, key, value, f"{name}.{key}")

    def _visit_global(self, namespace: dict[str, Any], key: str, names: set[str], name: str) -> None:
        """A global, and of a module object those attributes, and their modules', that the code names."""
        value = namespace[key]
        if not _is_a(value, types.ModuleType):
            self._hold(namespace, key, value, name)
        elif _is_searched(value.__name__):
            for inner in sorted(names & vars(value).keys()):
                if vars(value)[inner] is not value:
                    self._visit_global(vars(value), inner, names - {inner}, f"{value.__name__}.{inner}")


def _is_searched(module: str) -> bool:
    return module.partition(".")[0] not in _NOT_SEARCHED


def _attributes(value: object) -> dict[str, Any]:
    """What an object keeps in its ``__dict__``."""
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except Exception:  # it has none, or a lazy object has a property of that name
        return {}
    return attributes if type(attributes) is dict else {}


def _names_in(code: types.CodeType) -> set[str]:
    """Every global and attribute that the code, or code inside it, names."""
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return {*code.co_names}.union(*map(_names_in, inner))
