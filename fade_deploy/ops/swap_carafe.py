"""The function ``carafe(features, masks, kernel_size, group, scale)`` of others, replaced wherever a model calls it.

Networks such as FreqFusion call mmcv's function inside their own code, so there is no module to swap; a CUDA-only
autograd function can't be exported. Facts: mmcv's ``carafe`` is ``CARAFEFunction.apply``, takes its arguments by
position, and zeros stand outside the image; A2U's ``biupsample_naive`` is the same function under another name.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fade_deploy.errors import InputError
from fade_deploy.ops.reassembly import reassemble
from fade_deploy.tolerances import tolerance

__all__ = ["carafe_replaced"]

_FUNCTIONS = {"carafe", "carafe_naive", "biupsample_naive"}
_AUTOGRAD_FUNCTIONS = {"CARAFEFunction", "CARAFENaiveFunction", "BiupsampleNaiveFunction"}
_PARAMETERS = ("features", "masks", "kernel_size", "group_size", "scale_factor")
# Code that never calls a carafe of others, and would take long to search; users' own folders are called test or code.
_NOT_SEARCHED = {*sys.stdlib_module_names, "torch", "torchvision", "numpy", "einops", "fade_deploy"} - {"test", "code"}


@contextlib.contextmanager
def carafe_replaced(model: nn.Module, *, check: bool = True) -> Iterator[tuple[str, ...]]:
    """Within the ``with`` block, a model computes every ``carafe`` by :func:`reassemble`; afterwards as before.

    ``carafe(features [N,C,H,W], masks [N,G*K*K,sH,sW], K, G, s)`` is mmcv's function, any copy of that name with
    five parameters, ``CARAFEFunction.apply`` and ``CARAFENaiveFunction.apply``, and A2U's ``biupsample_naive``. It is
    found under whatever name the code of the model's classes, and the functions that they call, refer to it:
    globals, attributes of modules, classes and instances, closures, default values, lists and dicts. mmcv is not
    needed. Nested use is fine; other threads see the replacement too.

    Args:
        model: Any network. It is not changed for good.
        check: Refuse a Python copy that computes something else. FreqFusion's own, which it takes without mmcv, pads
            by reflection: False replaces that too, which is right for weights that were trained with mmcv.

    Yields:
        Where the function was found, as dotted names; empty if the model holds none.

    Raises:
        InputError: A copy computes something else; or, when the model runs, K is not in {1, 3, 5, 7}, the scale not in
            {1, 2, 4}, or a shape does not fit.
    """
    places = _Search().run(model)
    if check:
        for place in places:
            _check_copy(place)
    with contextlib.ExitStack() as undo:
        for place in places:
            place.replace(undo)
        yield tuple(place.name for place in places)


class _Reassembly:
    """Takes what the replaced function takes, under its parameter names and defaults, and reassembles."""

    def __init__(self, replaced: Callable[..., Any]) -> None:
        if isinstance(replaced, types.FunctionType):
            self._signature = inspect.signature(replaced)
        else:  # an autograd function's apply tells nothing of its parameters
            kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
            self._signature = inspect.Signature([inspect.Parameter(name, kind) for name in _PARAMETERS])

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        features, masks, kernel_size, groups, scale = bound.arguments.values()
        try:
            return reassemble(features, masks, kernel_size=kernel_size, scale=scale, groups=groups)
        except ValueError as error:
            raise InputError(f"carafe(kernel_size={kernel_size}, group={groups}, scale={scale}): {error}") from error


def _is_autograd_function(value: object) -> bool:
    return (
        isinstance(value, type)
        and issubclass(value, torch.autograd.Function)
        and value.__name__ in _AUTOGRAD_FUNCTIONS
        and "apply" not in vars(value)
    )


def _is_carafe(value: object) -> bool:
    if isinstance(value, types.FunctionType):
        return value.__name__ in _FUNCTIONS and len(inspect.signature(value).parameters) == len(_PARAMETERS)
    return getattr(value, "__name__", "") == "apply" and _is_autograd_function(getattr(value, "__self__", None))


def _replacement(value: Any) -> Any:
    """What stands in for a value that holds a carafe; None for any other value."""
    if _is_carafe(value):
        return _Reassembly(value)
    if isinstance(value, staticmethod) and _is_carafe(value.__func__):
        return staticmethod(_Reassembly(value.__func__))
    if isinstance(value, functools.partial) and _is_carafe(value.func):
        return functools.partial(_Reassembly(value.func), *value.args, **value.keywords)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a carafe is held: an item of a dict or list, or an attribute of a class, cell or function."""

    holder: Any
    key: Any
    held: Any
    new: Any
    name: str

    def replace(self, undo: contextlib.ExitStack) -> None:
        if isinstance(self.holder, dict | list):
            undo.callback(self.holder.__setitem__, self.key, self.held)
            self.holder[self.key] = self.new
            return
        if self.key == "apply" and isinstance(self.holder, type):  # which every autograd function inherits
            undo.callback(delattr, self.holder, self.key)
        else:
            undo.callback(setattr, self.holder, self.key, self.held)
        setattr(self.holder, self.key, self.new)


class _Search:
    """Every place from which the code of a model reaches a carafe."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, Any], _Place] = {}
        self._seen: set[int] = set()
        self._functions: list[types.FunctionType] = []

    def run(self, model: nn.Module) -> tuple[_Place, ...]:
        for path, module in model.named_modules():
            self._visit_class(type(module))
            for key, value in vars(module).items():
                self._visit_value(vars(module), key, value, f"{path}.{key}" if path else key)
        while self._functions:
            self._visit_function(self._functions.pop())
        return tuple(self._places.values())

    def _visit_value(self, holder: Any, key: Any, value: Any, name: str) -> None:
        """One value that code can reach; ``name`` tells the user where it is."""
        new = _replacement(value)
        if new is not None:
            # A dict's values are found again under the same dict, an attribute under the same owner.
            self._places.setdefault((id(holder), key), _Place(holder=holder, key=key, held=value, new=new, name=name))
        elif isinstance(value, type):
            self._visit_class(value)
        elif isinstance(value, dict | list) and id(value) not in self._seen and holder is not value:
            self._seen.add(id(value))
            for inner, item in value.items() if isinstance(value, dict) else enumerate(value):
                if callable(item) or isinstance(item, dict | list):
                    self._visit_value(value, inner, item, f"{name}[{inner!r}]")
        else:
            function = _function_of(value)
            if function is not None and id(function) not in self._seen:
                self._seen.add(id(function))
                self._functions.append(function)

    def _visit_class(self, owner: type) -> None:
        for base in owner.__mro__:
            if id(base) in self._seen or not _is_searched(base.__module__):
                continue
            self._seen.add(id(base))
            name = f"{base.__module__}.{base.__qualname__}"
            if _is_autograd_function(base):
                self._visit_value(base, "apply", base.apply, f"{name}.apply")  # type: ignore[attr-defined]
                continue
            for key, value in list(vars(base).items()):
                self._visit_value(base, key, value, f"{name}.{key}")

    def _visit_function(self, function: types.FunctionType) -> None:
        if not _is_searched(function.__module__ or ""):
            return
        name = f"{function.__module__}.{function.__qualname__}"
        names = _names_in(function.__code__)
        for key in sorted(names & function.__globals__.keys()):
            self._visit_global(function.__globals__, key, names, f"{function.__module__}.{key}")
        for free, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # a cell that was never filled
                self._visit_value(cell, "cell_contents", cell.cell_contents, f"{name}.<locals>.{free}")
        defaults = function.__defaults__ or ()
        replaced = tuple(_replacement(value) or value for value in defaults)
        if any(new is not old for new, old in zip(replaced, defaults, strict=True)):
            self._places[id(function), "__defaults__"] = _Place(
                holder=function, key="__defaults__", held=defaults, new=replaced, name=f"{name}.__defaults__"
            )
        for key, value in (function.__kwdefaults__ or {}).items():
            self._visit_value(function.__kwdefaults__, key, value, f"{name}.{key}")

    def _visit_global(self, namespace: dict[str, Any], key: str, names: set[str], name: str) -> None:
        """A global, and of a module object those attributes, and their modules', that the code names."""
        value = namespace[key]
        if not isinstance(value, types.ModuleType):
            self._visit_value(namespace, key, value, name)
        elif _is_searched(value.__name__):
            for inner in sorted(names & vars(value).keys()):
                if vars(value)[inner] is not value:
                    self._visit_global(vars(value), inner, names - {inner}, f"{value.__name__}.{inner}")


def _is_searched(module: str) -> bool:
    return module.partition(".")[0] not in _NOT_SEARCHED


def _function_of(value: object) -> types.FunctionType | None:
    """The Python function behind a method, property, decorator or partial."""
    for _ in range(8):  # wrappers of wrappers; a cycle ends too
        if isinstance(value, types.FunctionType):
            return value
        value = next(
            (
                inner
                for attribute in ("__func__", "fget", "__wrapped__", "func")
                if (inner := getattr(value, attribute, None)) is not None
            ),
            None,
        )
    return None


def _names_in(code: types.CodeType) -> set[str]:
    """Every global and attribute that the code, or code inside it, names."""
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return {*code.co_names}.union(*map(_names_in, inner))


def _check_copy(place: _Place) -> None:
    """Refuse a Python copy whose results on a small example are not CARAFE's."""
    generator = torch.Generator().manual_seed(0)
    for kernel_size, scale in ((3, 2), (5, 1)):
        features = torch.randn(1, 2, 5, 6, generator=generator)
        masks = torch.randn(1, kernel_size**2, 5 * scale, 6 * scale, generator=generator).softmax(1)
        expected = reassemble(features, masks, kernel_size=kernel_size, scale=scale)
        for copy in _python_functions(place.held):
            try:
                with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):  # some print what they are given
                    given = copy(features.clone(), masks.clone(), kernel_size, 1, scale)
            except Exception:  # it needs a GPU, or is made for another K: its name and parameters must do
                continue
            bound = tolerance("OPERATOR_FP32")
            if given.shape != expected.shape or not torch.allclose(given, expected, rtol=bound.rtol, atol=bound.atol):
                raise InputError(
                    f"{place.name}: this copy of carafe computes something else than mmcv's (zeros outside the image); "
                    "if the weights were trained with mmcv's, replace it with check=False"
                )


def _python_functions(held: Any) -> list[Callable[..., Any]]:
    values = held if isinstance(held, tuple) else (held,)
    functions = [function for value in values if (function := _function_of(value)) is not None]
    return [function for function in functions if _is_carafe(function)]
