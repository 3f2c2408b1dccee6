"""What a module of a public class must look like: its tensors by name and shape, its attributes by value."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from fade_deploy.errors import InputError

__all__ = ["Shape", "attribute", "check_module", "match_shapes", "only"]

Shape = tuple[int | str, ...]


def check_module(model: object) -> None:
    """Refuse what is no module.

    Raises:
        InputError: It is not.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"the model is a {type(model).__name__}, expected a torch.nn.Module")


def match_shapes(module: nn.Module, expected: dict[str, Shape]) -> dict[str, int]:
    """Match a module's tensors against expected names and shapes; letters stand for sizes, which are returned.

    ``num_batches_tracked`` may be there or not.

    Raises:
        ValueError: A tensor is missing, too many, or of another shape.
    """
    given = {key: tuple(value.shape) for key, value in module.state_dict().items() if "num_batches" not in key}
    if given.keys() != expected.keys():
        raise ValueError(f"it {_difference('lacks', expected, given)}, {_difference('has besides', given, expected)}")
    sizes: dict[str, int] = {}
    for key, shape in expected.items():
        fits = len(given[key]) == len(shape) and all(
            size == (sizes.setdefault(letter, size) if isinstance(letter, str) else letter)
            for size, letter in zip(given[key], shape, strict=True)
        )
        if not fits:
            wanted = ", ".join(str(sizes.get(str(letter), letter)) for letter in shape)
            raise ValueError(f"its '{key}' has shape {list(given[key])}, expected [{wanted}]")
    return sizes


def _difference(verb: str, keys: Collection[str], others: Collection[str]) -> str:
    difference = sorted(set(keys) - set(others))
    shown = ", ".join(difference[:3]) or "nothing"
    return f"{verb} {shown}" + (f" and {len(difference) - 3} more" if len(difference) > 3 else "")


def attribute(module: nn.Module, name: str) -> int:
    """A whole number that the public class keeps as an attribute; a pair of equal ones counts as one.

    Raises:
        ValueError: It is missing or something else.
    """
    value = getattr(module, name, None)
    if isinstance(value, tuple) and len(set(value)) == 1:
        value = value[0]
    if not isinstance(value, int):
        raise ValueError(f"its attribute '{name}' is {value!r}, expected a whole number")
    return value


def only(module: nn.Module, name: str, expected: int) -> None:
    """Check a choice of the public code of which we have one value; a copy without the attribute has that value.

    Raises:
        ValueError: It has another value.
    """
    given = getattr(module, name, expected)
    if given != expected:
        raise ValueError(f"its attribute '{name}' is {given!r}, expected {expected}")
