"""Versions that are known to fail, and the operators they fail on: data, read from ``doctor/known_bad.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any

from packaging.specifiers import SpecifierSet

from fade_deploy.diagnosis.onnx_file import Node, OnnxFile, Scope
from fade_deploy.recipe import recipe_folder

__all__ = ["DRIVER", "KnownBad", "Pattern", "load_known_bad", "matching_nodes"]

DRIVER = "cuda driver"  # stands for a package: the CUDA version that the NVIDIA driver brings
_REQUIRED = {"package", "versions", "what", "threads", "remedy"}
_OPTIONAL = {"beside", "pattern"}
_PATTERN = {"operators", "opset", "dtype", "attributes"}
_DTYPES = ("", "float16", "bfloat16", "float32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """Nodes of ONNX's own domain, each taking an output of the one before; dtype and attributes are of the first."""

    operators: tuple[frozenset[str], ...]  # of each step, the operators that fit
    opset: SpecifierSet
    dtype: str  # "" is any
    attributes: Mapping[str, SpecifierSet]  # stated in the node; one that is left to its default fits nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBad:
    """One entry: which versions, what happens, where it is told, what to do."""

    package: str  # a distribution, or DRIVER
    versions: SpecifierSet  # an empty one holds every version
    beside: Mapping[str, SpecifierSet]  # other packages that must be installed too, in these versions
    what: str
    threads: tuple[str, ...]
    remedy: str
    pattern: Pattern | None  # None: the version is bad whatever the file is

    def concerns(self, versions: Mapping[str, str]) -> bool:
        """Whether what is installed (package -> version) is what this entry is about."""
        wanted = {self.package: self.versions, **self.beside}
        return all(package in versions and holds(wanted[package], versions[package]) for package in wanted)


def holds(specifier: SpecifierSet, version: str) -> bool:
    """Whether a version, a preview among them, lies in a range; what is no version lies in none."""
    try:
        return specifier.contains(version, prereleases=True)
    except ValueError:  # packaging's InvalidVersion
        return False


def load_known_bad(source: Traversable | None = None) -> tuple[KnownBad, ...]:
    """Read and check the entries; by default the shipped ones.

    Raises:
        ValueError: An entry is malformed.
    """
    file = recipe_folder() / "doctor" / "known_bad.toml" if source is None else source
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    if tables.keys() != {"known_bad"}:
        raise ValueError(f"known_bad.toml has the tables {sorted(tables)}, expected [[known_bad]] alone")
    return tuple(_entry(table) for table in tables["known_bad"])


def matching_nodes(pattern: Pattern, file: OnnxFile) -> list[Node]:
    """The first node of every place in a file that fits a pattern, in its subgraphs and function bodies too."""
    return [node for scope in file.scopes for node in _matching(pattern, scope)]


def _matching(pattern: Pattern, scope: Scope) -> Iterator[Node]:
    if not holds(pattern.opset, str(scope.opset)):
        return
    takers: dict[str, list[Node]] = {}
    for node in scope.nodes:
        for name in node.inputs:
            takers.setdefault(name, []).append(node)

    def goes_on(node: Node, step: int) -> bool:
        if node.domain or node.operator not in pattern.operators[step]:
            return False
        if step + 1 == len(pattern.operators):
            return True
        return any(goes_on(taker, step + 1) for output in node.outputs for taker in takers.get(output, []))

    for node in scope.nodes:
        fits = pattern.dtype in ("", scope.dtype_of(node)) and all(
            key in node.attributes and holds(wanted, str(node.attributes[key]))
            for key, wanted in pattern.attributes.items()
        )
        if fits and goes_on(node, 0):
            yield node


def _entry(table: dict[str, Any]) -> KnownBad:
    _check_keys(table, _REQUIRED, _OPTIONAL)
    pattern = table.get("pattern")
    if pattern is None and not table["versions"]:
        raise ValueError(f"'{table['what']}' holds for every version and every file; give versions or a pattern")
    return KnownBad(
        package=table["package"],
        versions=SpecifierSet(table["versions"]),
        beside={package: SpecifierSet(versions) for package, versions in table.get("beside", {}).items()},
        what=table["what"],
        threads=tuple(table["threads"]),
        remedy=table["remedy"],
        pattern=None if pattern is None else _pattern(pattern),
    )


def _pattern(table: dict[str, Any]) -> Pattern:
    _check_keys(table, {"operators"}, _PATTERN)
    if table.get("dtype", "") not in _DTYPES:
        raise ValueError(f"dtype '{table['dtype']}', expected one of {_DTYPES}")
    return Pattern(
        operators=tuple(frozenset(step.split("|")) for step in table["operators"]),
        opset=SpecifierSet(table.get("opset", "")),
        dtype=table.get("dtype", ""),
        attributes={key: SpecifierSet(wanted) for key, wanted in table.get("attributes", {}).items()},
    )


def _check_keys(table: dict[str, Any], required: set[str], optional: set[str]) -> None:
    if missing := required - table.keys():
        raise ValueError(f"an entry lacks {sorted(missing)}: {table}")
    if unknown := table.keys() - required - optional:
        raise ValueError(f"an entry has the unknown keys {sorted(unknown)}: {table}")
