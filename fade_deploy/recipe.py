"""Recipes: what a model and its task need that weights can't tell, one TOML file each.

The shipped ones live in ``export/`` of the repository and in ``fade_deploy/_recipes`` of an installed wheel. A user's
own file names what differs and ``extends`` a shipped one.
"""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from fade_deploy.contract import Task
from fade_deploy.errors import RecipeError

__all__ = ["Recipe", "Shape", "list_recipes", "load_recipe", "recipe_folder"]

_HIGH_TO_LOW = ("", "exact", "scrambled")


@dataclass(frozen=True, slots=True)
class Shape:
    """Batch, height and width of a model's input image."""

    batch: int
    height: int
    width: int

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Read ``2x256x384`` (NxHxW) or ``2x3x256x384`` (NxCxHxW with the three channels of RGB).

        Raises:
            RecipeError: It is neither.
        """
        match = re.fullmatch(r"([1-9]\d{0,5})x(?:3x)?([1-9]\d{0,5})x([1-9]\d{0,5})", text)
        if match is None:
            raise RecipeError(f"shape '{text}' is not NxHxW or Nx3xHxW, for example 1x512x512 or 1x3x512x512")
        batch, height, width = (int(number) for number in match.groups())
        return cls(batch, height, width)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(batch, height, width)."""
        return self.batch, self.height, self.width

    def __str__(self) -> str:
        return f"{self.batch}x{self.height}x{self.width}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One recipe, read and checked; the fields are those of the TOML file, which may leave out what has a default."""

    name: str
    task: Task
    mean: tuple[float, float, float]  # of RGB in 0..255
    std: tuple[float, float, float]
    size_multiple: int  # of dynamic heights and widths
    tolerance: str  # of the output; name in fade_deploy.tolerances
    pictures: tuple[str, ...]  # sample pictures, relative to the recipe folder
    quick: tuple[Shape, ...]  # shapes of `--verify quick`
    full: tuple[Shape, ...]  # shapes of `--verify full`
    upsampler: str = ""  # of fade_deploy.ops.registry; empty: the weights tell
    kernel_size: int = 0  # of SAPA, whose weights don't hold it; 0: as published
    high_to_low: str = ""  # "exact" or "scrambled"; empty: not stated
    # Segmentation only.
    classes: tuple[str, ...] = ()
    heads: tuple[int, ...] = ()  # attention heads per stage; empty: not stated
    block_norm_eps: float = 0.0  # 0: not stated
    embed_norm_eps: float = 0.0  # 0: not stated
    short_side: int = 0  # pixels; prediction resizes to this, keeping the ratio,
    long_side: int = 0  # unless the long side would exceed this
    probs_tolerance: str = ""  # of probabilities


def recipe_folder() -> Traversable:
    """The folder of the shipped recipes and their sample pictures: in the package, or ``export/`` of a checkout."""
    installed = resources.files("fade_deploy") / "_recipes"
    return installed if installed.is_dir() else Path(__file__).parents[1] / "export"


def list_recipes() -> list[str]:
    """Names of the shipped recipes, sorted."""
    return sorted(
        entry.name.removesuffix(".toml") for entry in recipe_folder().iterdir() if entry.name.endswith(".toml")
    )


def load_recipe(name: str) -> Recipe:
    """Read a shipped recipe by name, or a user's TOML file by path (anything that ends in ``.toml``).

    Raises:
        RecipeError: Missing, not TOML, an unknown or missing field, or a value of the wrong kind.
    """
    return _recipe_from_tables(name, _read_tables(name))


def _read_tables(name: str) -> dict[str, Any]:
    if name.endswith(".toml"):
        source: Path | Traversable = Path(name)
    else:
        source = recipe_folder() / f"{name}.toml"
    try:
        if not source.is_file():
            raise RecipeError(
                f"recipe '{name}' was not found: give one of {', '.join(list_recipes())}, or the path of a .toml file"
            )
        tables = tomllib.loads(source.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe '{name}' is not TOML: {error}; compare it with a shipped recipe") from error
    except OSError as error:
        raise RecipeError(f"recipe '{name}' can't be read: {error.strerror}; check its name and permissions") from error
    parent = tables.pop("extends", None)
    if parent is None:
        return tables
    if parent not in list_recipes():
        raise RecipeError(f"recipe '{name}' extends '{parent}', expected one of {', '.join(list_recipes())}")
    return _overlay(_read_tables(parent), tables)


def _overlay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _overlay(merged[key], value) if both_tables else value
    return merged


def _recipe_from_tables(name: str, tables: dict[str, Any]) -> Recipe:
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        flat.update(value if isinstance(value, dict) else {key: value})
    fields = {field.name: field for field in dataclasses.fields(Recipe) if field.name != "name"}
    if unknown := sorted(flat.keys() - fields.keys()):
        raise RecipeError(
            f"recipe '{name}' has the unknown field '{unknown[0]}'; known are {', '.join(sorted(fields))}"
        )
    required = {field.name for field in fields.values() if field.default is dataclasses.MISSING}
    if missing := sorted(required - flat.keys()):
        raise RecipeError(
            f"recipe '{name}' lacks the field '{missing[0]}'; add it, or start with: extends = \"segformer\" (or "
            '"a2u_matting")'
        )
    try:
        read = {field: _READERS[field](value) for field, value in flat.items()}
    except (TypeError, ValueError) as error:
        raise RecipeError(f"recipe '{name}' has a value of the wrong kind: {error}") from error
    recipe = Recipe(name=Path(name).stem if name.endswith(".toml") else name, **read)
    if recipe.high_to_low not in _HIGH_TO_LOW:
        raise RecipeError(f"recipe '{name}' has high_to_low '{recipe.high_to_low}', expected 'exact' or 'scrambled'")
    if min(recipe.std) <= 0 or recipe.size_multiple < 1:
        raise RecipeError(f"recipe '{name}' has a std or size_multiple that is not positive")
    if recipe.task is Task.SEGMENTATION and not 1 <= recipe.short_side <= recipe.long_side:
        raise RecipeError(
            f"recipe '{name}' has a short_side or long_side that is not positive, or the former is larger"
        )
    if not recipe.quick or not recipe.full:
        raise RecipeError(f"recipe '{name}' verifies at no shape; name at least one in quick and in full")
    return recipe


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(x) for x in _entries(values))
    if not all(math.isfinite(x) for x in (red, green, blue)):
        raise ValueError(f"{values} is not finite")
    return red, green, blue


def _entries(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    entries = _entries(value)
    for entry in entries:
        if not isinstance(entry, str):
            raise TypeError(f"{entry!r} is not text")
    return tuple(entries)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _shapes(value: Any) -> tuple[Shape, ...]:
    return tuple(Shape.parse(text) for text in _texts(value))


def _task(value: Any) -> Task:
    if value not in list(Task):
        raise ValueError(f"task '{value}', expected one of {', '.join(Task)}")
    return Task(value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "task": _task,
    "mean": _triple,
    "std": _triple,
    "size_multiple": _whole,
    "tolerance": str,
    "pictures": _texts,
    "quick": _shapes,
    "full": _shapes,
    "upsampler": str,
    "kernel_size": _whole,
    "high_to_low": str,
    "classes": _texts,
    "heads": lambda value: tuple(_whole(x) for x in _entries(value)),
    "block_norm_eps": float,
    "embed_norm_eps": float,
    "short_side": _whole,
    "long_side": _whole,
    "probs_tolerance": str,
}
