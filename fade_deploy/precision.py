"""Precision plans: which floating type each part of a file has; TOML that a user can read and edit.

The shipped plan and the language of the rules: ``export/precision/default.toml``, in ``fade_deploy/_recipes`` of an
installed wheel.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from fade_deploy.errors import ExportError, RecipeError
from fade_deploy.recipe import recipe_folder

__all__ = ["Precision", "PrecisionPlan", "Rule", "check_io", "default_plan", "load_plan", "lowest_of", "plan_for"]

_DEFAULT = "default"


class Precision(StrEnum):
    """A floating type: float32, float16 (11 bits, up to 65504) or bfloat16 (8 bits, the range of float32)."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"

    @property
    def type_name(self) -> str:
        """As ONNX and numpy call it."""
        return {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}[self]

    @property
    def lowest_opset(self) -> int:
        """The first of our opsets in which every operator of our files takes it; Conv takes bfloat16 from 22 on."""
        return 22 if self is Precision.BF16 else 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The precision of the nodes whose module and op type match; at least one of both is named."""

    modules: tuple[str, ...] = ()  # patterns of fnmatch; none: any
    op_types: tuple[str, ...] = ()  # likewise
    precision: Precision
    reason: str

    def matches(self, modules: Iterable[str], op_type: str) -> bool:
        """Whether the rule is for a node of these modules: its own, and those that it stands for."""
        return (not self.modules or any(_matches(self.modules, name) for name in modules)) and (
            not self.op_types or _matches(self.op_types, op_type)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionPlan:
    """A precision for a file, and rules for what of it has another; the last rule that matches wins."""

    name: str
    precision: Precision
    rules: tuple[Rule, ...] = ()

    @property
    def lowest(self) -> Precision:
        """The one with the fewest bits that it gives to anything."""
        return lowest_of([self.precision, *(rule.precision for rule in self.rules)])

    def precision_of(self, modules: Collection[str], op_type: str) -> Precision:
        """Of a node.

        Args:
            modules: Names of its module and of those that this one stands for; ``[""]`` where it has none.
            op_type: Its op type.
        """
        for rule in reversed(self.rules):
            if rule.matches(modules, op_type):
                return rule.precision
        return self.precision

    def check_patterns(self, modules: Collection[str], op_types: Collection[str]) -> None:
        """Refuse a plan that speaks of what is not there.

        Args:
            modules: Names of all modules of the model.
            op_types: All op types that there are, of this model or of any other.

        Raises:
            RecipeError: A pattern matches none of them; the message names close ones.
        """
        for rule in self.rules:
            for kind, patterns, names in (("module", rule.modules, modules), ("op type", rule.op_types, op_types)):
                for pattern in patterns:
                    if pattern and not any(fnmatchcase(name, pattern) for name in names):
                        close = difflib.get_close_matches(pattern, sorted(names), n=3, cutoff=0.4)
                        raise RecipeError(
                            f"precision plan '{self.name}': '{pattern}' matches no {kind}, expected one that the model "
                            f"has{': close are ' + ', '.join(close) if close else ''}; mend or remove the rule"
                        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        rules = [
            {key: list(value) if isinstance(value, tuple) else str(value) for key, value in _entries(rule)}
            for rule in self.rules
        ]
        return {"name": self.name, "precision": str(self.precision), "rules": rules}

    def toml(self) -> str:
        """The plan as a file that :func:`load_plan` reads."""
        blocks = [f'precision = "{self.precision}"\n']
        for rule in self.rules:
            lines = (
                f"{key} = {json.dumps(list(value) if isinstance(value, tuple) else str(value), ensure_ascii=False)}\n"
                for key, value in _entries(rule)
            )
            blocks.append("[[rule]]\n" + "".join(lines))
        return "\n".join(blocks)


def lowest_of(precisions: Iterable[Precision]) -> Precision:
    """The one with the fewest bits."""
    return max(precisions, key=list(Precision).index)


def check_io(precision: Precision) -> None:
    """Refuse what the inputs and outputs of a file can't be.

    Raises:
        ExportError: It is bfloat16.
    """
    if precision is Precision.BF16:
        raise ExportError(
            "inputs and outputs in bf16 were asked for, expected fp32 or fp16, since numpy has no bfloat16: "
            "give another --io-precision"
        )


def default_plan(precision: Precision) -> PrecisionPlan:
    """The shipped plan at that precision; for float32 one without rules."""
    if precision is Precision.FP32:
        return PrecisionPlan(name=_DEFAULT, precision=precision)
    return _read(recipe_folder() / "precision" / f"{_DEFAULT}.toml", _DEFAULT, precision)


def load_plan(path: Path, precision: Precision | None = None) -> PrecisionPlan:
    """Read a user's plan.

    Args:
        path: A TOML file.
        precision: What was asked for besides; needed where the file names none.

    Raises:
        RecipeError: It is missing, not TOML, of another form, or for another precision than asked for.
    """
    return _read(path, path.stem, precision)


def plan_for(precision: Precision | None, path: Path | str) -> PrecisionPlan:
    """What a user asks for with ``--precision`` and ``--precision-plan``.

    Args:
        precision: None: the plan's own, or float32 without one.
        path: Of a plan; empty for the shipped one.

    Raises:
        RecipeError: See :func:`load_plan`.
    """
    return load_plan(Path(path), precision) if str(path) else default_plan(precision or Precision.FP32)


def _matches(patterns: tuple[str, ...], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _entries(rule: Rule) -> list[tuple[str, Any]]:
    """The fields of a rule in order, without those that are left open."""
    values = [(field.name, getattr(rule, field.name)) for field in dataclasses.fields(rule)]
    return [(key, value) for key, value in values if value != ()]


def _read(source: Path | Traversable, name: str, asked: Precision | None) -> PrecisionPlan:
    try:
        tables = tomllib.loads(source.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"precision plan '{source}' is not TOML: {error}; compare it with the shipped one") from error
    except OSError as error:
        raise RecipeError(
            f"precision plan '{source}' can't be read: {error.strerror}; give the path of a .toml file, or leave "
            "--precision-plan out for the shipped one"
        ) from error
    if unknown := sorted(tables.keys() - {"precision", "rule"}):
        raise RecipeError(
            f"precision plan '{name}' has the unknown field '{unknown[0]}', expected precision and [[rule]]: remove it"
        )
    rules = tables.get("rule", [])
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise RecipeError(f"precision plan '{name}' has a rule that is no table, expected [[rule]] above each: mend it")
    own = _precision(tables["precision"], name) if "precision" in tables else None
    if own and asked and own is not asked:
        raise RecipeError(
            f"precision plan '{name}' is for {own}, --precision is {asked}; give one of them, or both the same"
        )
    precision = own or asked
    if precision is None:
        raise RecipeError(
            f"precision plan '{name}' names no precision and none was given: add --precision fp16 or bf16, or a line "
            'precision = "fp16" at the top of the plan'
        )
    return PrecisionPlan(
        name=name,
        precision=precision,
        rules=tuple(_rule(rule, number, name) for number, rule in enumerate(rules, start=1)),
    )


def _rule(table: dict[str, Any], number: int, name: str) -> Rule:
    where = f"rule {number} of precision plan '{name}'"
    known = {field.name for field in dataclasses.fields(Rule)}
    if unknown := sorted(table.keys() - known):
        raise RecipeError(f"{where} has the unknown field '{unknown[0]}'; known are {', '.join(sorted(known))}")
    if missing := sorted({"precision", "reason"} - table.keys()):
        raise RecipeError(f"{where} lacks the field '{missing[0]}'; add it")
    patterns = {key: table[key] for key in ("modules", "op_types") if key in table}
    if not any(patterns.values()):
        raise RecipeError(f"{where} names neither modules nor op_types, expected a list of one of them: add it")
    for key, value in patterns.items():
        if not isinstance(value, list) or not all(isinstance(pattern, str) for pattern in value):
            raise RecipeError(f'{where} has {key} {value!r}, expected a list of names as ["decode_head.*"]: mend it')
    if not isinstance(table["reason"], str) or not table["reason"].strip():
        raise RecipeError(f"{where} has the reason {table['reason']!r}, expected a sentence: say why")
    return Rule(
        modules=tuple(table.get("modules", ())),
        op_types=tuple(table.get("op_types", ())),
        precision=_precision(table["precision"], name),
        reason=table["reason"],
    )


def _precision(value: Any, name: str) -> Precision:
    if value not in list(Precision):
        raise RecipeError(
            f"precision plan '{name}' has the precision {value!r}, expected one of {', '.join(Precision)}: mend it"
        )
    return Precision(value)
