"""The function ``carafe(features, masks, kernel_size, group, scale)`` of others, replaced wherever a model calls it.

Networks such as FreqFusion call mmcv's function inside their own code, so there is no module to swap; a CUDA-only
autograd function can't be exported. Facts: mmcv's ``carafe`` is ``CARAFEFunction.apply``, takes its arguments by
position, and zeros stand outside the image; A2U's ``biupsample_naive`` is the same function under another name.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fade_deploy.errors import InputError
from fade_deploy.ops.reassembly import reassemble
from fade_deploy.swap.search import PARAMETERS, Place, places_of_carafe
from fade_deploy.swap.shapes import check_module
from fade_deploy.tolerances import tolerance

__all__ = ["carafe_replaced"]


@contextlib.contextmanager
def carafe_replaced(model: nn.Module, *, check: bool = True) -> Iterator[tuple[str, ...]]:
    """Within the ``with`` block, a model computes every ``carafe`` by :func:`reassemble`; afterwards as before.

    ``carafe(features [N,C,H,W], masks [N,G*K*K,sH,sW], K, G, s)`` is mmcv's function, any copy of that name with
    five parameters, ``CARAFEFunction.apply`` and ``CARAFENaiveFunction.apply``, and A2U's ``biupsample_naive``. It is
    found under whatever name the code of the model's classes, and the functions that they call, refer to it:
    globals, attributes of modules, classes and plain objects, closures, default values, lists, tuples and dicts.
    What only sets, ``__slots__`` or compiled code hold is not found. mmcv is not needed. Nested use is fine; other
    threads see the replacement too.

    Args:
        model: Any network. It is not changed for good.
        check: Refuse a Python copy that computes something else. FreqFusion's own, which it takes without mmcv, pads
            by reflection: False replaces that too, which is right for weights that were trained with mmcv.

    Yields:
        Where the function was found, as dotted names; empty if the model holds none.

    Raises:
        InputError: The model is no module, or a copy computes something else; when the model runs, K is not in
            {1, 3, 5, 7}, the scale not in {1, 2, 4}, or a shape does not fit.
    """
    check_module(model)
    places = places_of_carafe(model, _Reassembly)
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
            self._signature = inspect.Signature([inspect.Parameter(name, kind) for name in PARAMETERS])

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        features, masks, kernel_size, groups, scale = bound.arguments.values()
        try:
            return reassemble(features, masks, kernel_size=kernel_size, scale=scale, groups=groups)
        except ValueError as error:
            raise InputError(f"carafe(kernel_size={kernel_size}, group={groups}, scale={scale}): {error}") from error


def _check_copy(place: Place) -> None:
    """Refuse a Python copy whose results on a small example are not CARAFE's."""
    generator = torch.Generator().manual_seed(0)
    for kernel_size, scale in ((3, 2), (5, 1)):
        features = torch.randn(1, 2, 5, 6, generator=generator)
        masks = torch.randn(1, kernel_size**2, 5 * scale, 6 * scale, generator=generator).softmax(1)
        expected = reassemble(features, masks, kernel_size=kernel_size, scale=scale)
        for copy in place.carafes:
            try:
                with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):  # some print what they are given
                    given = copy(features.clone(), masks.clone(), kernel_size, 1, scale)
            except Exception:  # it needs a GPU, or is made for another K: its name and parameters must do
                continue
            bound = tolerance("OPERATOR_FP32")
            if (
                not isinstance(given, Tensor)
                or given.shape != expected.shape
                or not torch.allclose(given.to(expected), expected, rtol=bound.rtol, atol=bound.atol)
            ):
                raise InputError(
                    f"{place.name}: this copy of carafe computes something else than mmcv's (zeros outside the image); "
                    "if the weights were trained with mmcv's, replace it with check=False"
                )
