"""What pip says is installed, and which versions of it this package admits."""

from __future__ import annotations

import re
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

__all__ = ["OWN", "admitted", "admitted_python", "installed_version"]

OWN = "fade-deploy"


def installed_version(*distributions: str) -> str:
    """Version of the first of these distributions that is installed; ``""`` where none is."""
    for distribution in distributions:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return ""


def admitted() -> dict[str, tuple[SpecifierSet, str]]:
    """Canonical name -> (range, extra that brings it; ``""`` where every installation has it)."""
    ranges: dict[str, tuple[SpecifierSet, str]] = {}
    for line in _requires():
        requirement = Requirement(line)
        extra = re.search(r"extra == ['\"]([\w.-]+)", str(requirement.marker or ""))
        ranges.setdefault(canonicalize_name(requirement.name), (requirement.specifier, extra[1] if extra else ""))
    return ranges


def admitted_python() -> SpecifierSet:
    """Versions of Python; every one where this package was not installed by pip."""
    try:
        return SpecifierSet(metadata.metadata(OWN)["Requires-Python"] or "")
    except metadata.PackageNotFoundError:
        return SpecifierSet()


def _requires() -> list[str]:
    try:
        return metadata.requires(OWN) or []
    except metadata.PackageNotFoundError:
        return []
