"""Rows of one ``.onnx`` file: what it is, whether it loads here, natively or not, and what it is known to meet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from fade_deploy import contract
from fade_deploy.diagnosis.child import Answer
from fade_deploy.diagnosis.known_bad import KnownBad, matching_nodes
from fade_deploy.diagnosis.onnx_file import Node, OnnxFile
from fade_deploy.diagnosis.row import Row, Status, given_and_remedy

__all__ = ["file_row", "known_bad_rows", "loading_row"]

_NAMED = 2  # nodes that a row names


def file_row(name: str, file: OnnxFile) -> Row:
    """What it is; an opset that no exported file has is the loading row's to judge."""
    opset = file.opsets.get("", 0)
    counted = Counter(node.operator for node in _fade_nodes(file))
    ours = ", ".join(f"{operator} x{count}" if count > 1 else operator for operator, count in counted.items())
    lowest = contract.LOWEST_ONNXRUNTIME.get(opset, "")
    found = f"opset {opset}, IR {file.ir_version}, {len(file.nodes)} nodes, {ours or 'no fade operator'}"
    return Row(name=name, status=Status.OK, found=found + (f"; ONNX Runtime {lowest} on" if ours and lowest else ""))


def loading_row(name: str, provider: str, file: OnnxFile, answer: Answer, *, has_library: bool) -> Row:
    """Whether a session takes it, and who computes its fade operators.

    Args:
        name: Of the file.
        provider: Of onnxruntime.
        file: What is in it.
        answer: What the probe ``file`` told.
        has_library: Whether there is one of native operators for this provider.
    """
    title = f"{name} on {provider}"
    if not answer.facts.get("loads"):
        given, remedy = given_and_remedy(answer.fault or f"there is no module {answer.absent}")
        return Row(name=title, status=Status.BROKEN, found=given, remedy=remedy)
    count = len(_fade_nodes(file))
    if not count:
        return Row(name=title, status=Status.OK, found="loads; it has no fade operator")
    operators = f"its {count} fade operators" if count > 1 else "its fade operator"
    if not has_library:
        return Row(
            name=title,
            status=Status.OK,
            found=f"loads; {operators} in function bodies, for want of a native library",
        )
    if answer.fault:  # after it was loaded: the library's own
        given, remedy = given_and_remedy(answer.fault)
        return Row(name=title, status=Status.BROKEN, found=given, remedy=remedy)
    if answer.facts.get("native"):
        return Row(name=title, status=Status.OK, found=f"loads; {operators} native")
    return Row(
        name=title,
        status=Status.OK,
        found=f"loads; not all of {operators} native ({answer.facts.get('native_fault', '')})",
        remedy="export the file again with this fade-deploy, whose library has all that it exports",
    )


def known_bad_rows(name: str, file: OnnxFile, known: Sequence[KnownBad], versions: Mapping[str, str]) -> Iterator[Row]:
    """What the file is known to meet: a bad version where that is installed, else a word for who will install it."""
    packages = dict.fromkeys(entry.package for entry in known if entry.pattern is not None)
    for package in packages:
        version = versions.get(package, "")
        rows = [
            row
            for entry in known
            if entry.package == package and (row := _known_bad_row(name, file, entry, versions)) is not None
        ]
        if version and not rows:
            found = "nothing that this version is known to fail on"
            rows = [Row(name=f"{name} with {package}", status=Status.OK, version=version, found=found)]
        yield from rows


def _known_bad_row(name: str, file: OnnxFile, entry: KnownBad, versions: Mapping[str, str]) -> Row | None:
    installed = entry.package in versions
    if entry.pattern is None or (installed and not entry.concerns(versions)):
        return None
    nodes = matching_nodes(entry.pattern, file)
    if not nodes:
        return None
    named = ", ".join(f"'{node.name}'" if node.name else node.operator for node in nodes[:_NAMED])
    where = named + (f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else "")
    which = f"{entry.package} {entry.versions}".rstrip()
    found = f"{where}: it {entry.what}" if installed else f"not installed here; {which} {entry.what}: {where}"
    return Row(
        name=f"{name} with {entry.package}",
        status=Status.BAD_VERSION if installed else Status.MISSING,
        version=versions.get(entry.package, ""),
        found=found,
        remedy=entry.remedy,
        thread=entry.threads[0],
    )


def _fade_nodes(file: OnnxFile) -> list[Node]:
    return [node for node in file.nodes if node.domain == contract.DOMAIN]
