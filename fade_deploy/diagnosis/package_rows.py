"""Rows of Python and of the packages that are imported."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import fade_deploy
from fade_deploy.diagnosis.child import Answer
from fade_deploy.diagnosis.installed import OWN, admitted_python, installed_version
from fade_deploy.diagnosis.known_bad import KnownBad, holds
from fade_deploy.diagnosis.row import Row, Status, given_and_remedy

__all__ = ["Judge", "own_row", "python_row"]


def python_row() -> Row:
    """The interpreter, and the C library that decides which wheels fit."""
    version, wanted = platform.python_version(), admitted_python()
    library, its_version = platform.libc_ver()
    system = f"{platform.system()} {platform.machine()}, {library} {its_version}".rstrip(", ")
    found = f"{system}, {sys.executable}"
    if not holds(wanted, version):
        return Row(
            name="python",
            status=Status.BAD_VERSION,
            version=version,
            found=f"{found}; fade-deploy wants {_shown(wanted)}",
            remedy=f"make a virtual environment of a Python {_shown(wanted)} and install fade-deploy there",
        )
    return Row(name="python", status=Status.OK, version=version, found=found)


def own_row() -> Row:
    """This package: from where, and whether pip knows it."""
    folder = Path(fade_deploy.__file__).parent
    listed = installed_version(OWN)
    row = {"name": OWN, "version": fade_deploy.__version__}
    if not listed:
        return Row(
            **row,
            status=Status.BROKEN,
            found=f"runs from {folder}, pip does not know it, so no version can be held against its ranges",
            remedy=f"pip install {folder.parent}",
        )
    if listed != fade_deploy.__version__:
        return Row(
            **row,
            status=Status.BROKEN,
            found=f"runs from {folder}, where pip says {listed}",
            remedy=f"pip install --force-reinstall --no-deps {folder.parent}",
        )
    return Row(**row, status=Status.OK, found=str(folder))


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Judges packages: against the ranges that we admit and against what is known of their versions.

    Attributes:
        ranges: Canonical name -> (range, extra), from :func:`fade_deploy.diagnosis.installed.admitted`.
        known: All entries.
        versions: Everything that is installed, package -> version.
    """

    ranges: Mapping[str, tuple[SpecifierSet, str]]
    known: Sequence[KnownBad]
    versions: Mapping[str, str]

    def package(self, distribution: str, answer: Answer, *, found: str, why: str, name: str = "") -> Row:
        """The row of a package that a probe imported.

        Args:
            distribution: As pip calls it.
            answer: The probe's.
            found: What it did, where it did.
            why: What it is for, where it is not installed.
            name: Of the row, where it is not the distribution's.
        """
        listed = self.versions.get(distribution, "")
        version = str(answer.facts.get("version") or listed)
        about = {"name": name or distribution, "version": version}
        if answer.absent and not listed:
            return Row(
                **about, status=Status.MISSING, found=f"not installed; it {why}", remedy=self.install(distribution)
            )
        if answer.absent:
            return Row(
                **about,
                status=Status.BROKEN,
                found=f"pip lists {listed}, and there is no module {answer.absent}",
                remedy=self.install_again(distribution),
            )
        if bad := self.bad_version(distribution, version, name=about["name"]):
            return bad
        if answer.fault:
            given, remedy = given_and_remedy(answer.fault)
            return Row(**about, status=Status.BROKEN, found=given, remedy=remedy or self.install_again(distribution))
        if answer.facts.get("works") is False:
            return Row(
                **about,
                status=Status.BROKEN,
                found="it computes something else than it should",
                remedy=self.install_again(distribution),
            )
        return Row(**about, status=Status.OK, found=found)

    def bad_version(self, distribution: str, version: str, *, name: str) -> Row | None:
        """The row of a version that is out of range or known to fail whatever the file; None of any other."""
        versions = {**self.versions, distribution: version}
        for entry in self.known:
            if entry.pattern is None and entry.package == distribution and entry.concerns(versions):
                return Row(
                    name=name,
                    status=Status.BAD_VERSION,
                    version=version,
                    found=entry.what,
                    remedy=entry.remedy,
                    thread=entry.threads[0],
                )
        wanted, _ = self.ranges.get(canonicalize_name(distribution), (SpecifierSet(), ""))
        if version and not holds(wanted, version):
            return Row(
                name=name,
                status=Status.BAD_VERSION,
                version=version,
                found=f"fade-deploy wants {_shown(wanted)}",
                remedy=f"pip install {self._wanted(distribution)}",
            )
        return None

    def install(self, distribution: str) -> str:
        """The line that installs a package as one of our extras, or by itself where it is in none."""
        _, extra = self.ranges.get(canonicalize_name(distribution), (SpecifierSet(), ""))
        return f"pip install '{OWN}[{extra}]'" if extra else f"pip install {self._wanted(distribution)}"

    def install_again(self, distribution: str) -> str:
        """The line that mends an installation."""
        return f"pip install --force-reinstall {self._wanted(distribution)}"

    def _wanted(self, distribution: str) -> str:
        wanted, _ = self.ranges.get(canonicalize_name(distribution), (SpecifierSet(), ""))
        return f"'{distribution}{_shown(wanted)}'" if wanted else distribution


def _shown(wanted: SpecifierSet) -> str:
    """A range as people write it, the lower end first."""
    return ",".join(sorted(map(str, wanted), key=lambda part: (not part.startswith(">"), part)))
