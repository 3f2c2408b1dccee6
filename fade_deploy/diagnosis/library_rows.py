"""Rows of the native libraries: found, of the right kind and version, loaded, and used by a session."""

from __future__ import annotations

from pathlib import Path

from fade_deploy import contract
from fade_deploy.diagnosis.child import Answer
from fade_deploy.diagnosis.library_kind import entry_points, kind_of
from fade_deploy.diagnosis.row import Row, Status, given_and_remedy
from fade_deploy.runtimes.native_libraries import NativeLibrary

__all__ = ["given_library_row", "installed_library_row", "missing_library_row"]

_TITLES = {
    NativeLibrary.ONNXRUNTIME_CPU: "operators for cpu",
    NativeLibrary.ONNXRUNTIME_CUDA: "operators for cuda",
    NativeLibrary.TENSORRT: "TensorRT plugin",
}
_BUILD = "pip install --force-reinstall --no-deps fade-deploy"
_BUILD_FIRST = {
    NativeLibrary.ONNXRUNTIME_CPU: f"{_BUILD}, where there is a C++ compiler",
    NativeLibrary.ONNXRUNTIME_CUDA: f"FADE_CUDA=1 {_BUILD}, where there is nvcc",
    NativeLibrary.TENSORRT: f"FADE_CUDA=1 TENSORRT_ROOT=HEADERS {_BUILD}, where there is nvcc",
}
_BUILD_AGAIN = f"build it again on this machine: {_BUILD} (a clone: make native)"


def missing_library_row(library: NativeLibrary) -> Row:
    """A library that this installation does not hold; models run from function bodies without it."""
    return Row(
        name=_TITLES[library],
        status=Status.MISSING,
        found=f"{library} was not built; files run from function bodies",
        remedy=_BUILD_FIRST[library],
    )


def installed_library_row(
    library: NativeLibrary, path: Path, loaded: Answer, ran: Answer | None, *, runtime_version: str
) -> Row:
    """A library of this installation.

    Args:
        library: Which it is by its name.
        path: Where it is.
        loaded: What the probe ``library`` told.
        ran: What the probe ``operators`` told; None where there is no provider to run it on.
        runtime_version: Of the installed onnxruntime; empty where there is none.
    """
    return _judged(_TITLES[library], library, path, loaded, ran, runtime_version)


def given_library_row(path: Path, loaded: Answer, ran: Answer | None, *, runtime_version: str) -> Row:
    """A library that the user named, whatever it is; the arguments are those of :func:`installed_library_row`."""
    kind = kind_of(path)
    if kind.library is None:
        names = entry_points(path)
        return Row(
            name=path.name,
            status=Status.BROKEN,
            found=f"{kind}, {kind.usage}" + (f"; it exports {', '.join(names)}" if names else ""),
            remedy=f"give one of fade-deploy's: {', '.join(NativeLibrary)}",
        )
    return _judged(path.name, kind.library, path, loaded, ran, runtime_version)


def _judged(
    name: str, library: NativeLibrary, path: Path, loaded: Answer, ran: Answer | None, runtime_version: str
) -> Row:
    kind, facts = kind_of(path), loaded.facts

    def row(status: Status, found: str, remedy: str = "") -> Row:
        return Row(name=name, status=status, version=_version(facts), found=found, remedy=remedy)

    names = {str(member) for member in NativeLibrary}
    if path.name in names and path.name != kind.library:
        return row(Status.BROKEN, f"{path} is {kind}, {kind.usage}", _BUILD_AGAIN)
    if loaded.fault:
        given, remedy = given_and_remedy(loaded.fault.removeprefix("OSError: "))
        return row(Status.BROKEN, f"{path} can't be loaded ({given})", remedy or _BUILD_AGAIN)
    if facts.get("operator_version") != contract.VERSION:
        given = facts.get("operator_version", "none")
        return row(
            Status.BAD_VERSION, f"its operators are of version {given}, expected {contract.VERSION}", _BUILD_AGAIN
        )
    told = str(facts.get("operators", "")).splitlines()
    if strange := [line for line in told if line not in _contract_lines()]:
        return row(Status.BAD_VERSION, f"it was built from another contract: '{strange[0]}'", _BUILD_AGAIN)
    level = facts.get("api_level")
    if level and runtime_version and _minor(runtime_version) < level:
        return row(
            Status.BAD_VERSION,
            f"it wants ONNX Runtime 1.{level} or newer (API level {level}), here is {runtime_version}",
            "pip install -U onnxruntime (or onnxruntime-gpu, whichever is installed)",
        )
    if ran is not None and not ran.facts.get("works"):
        given, remedy = given_and_remedy(ran.fault or "it computes something else than the function body")
        return row(Status.BROKEN, given, remedy or _BUILD_AGAIN)
    operators = ", ".join(line.split()[0] for line in told)
    interface = f"API level {level} (ONNX Runtime 1.{level} on)" if level else f"built for {_headers(facts)}"
    proof = kind.usage if ran is None else "ran the proof model as its body does"
    return row(Status.OK, f"{operators}; {interface}; {proof}")


def _contract_lines() -> set[str]:
    """The operators as the libraries tell them, one to a line."""
    return {
        " ".join(
            [
                operator.name,
                *(f"{name}:{shape}" for name, shape in operator.inputs),
                f"-> {operator.output}",
                *(f"{name}={value}" for name, value in operator.attributes),
            ]
        )
        for operator in contract.OPERATORS
    }


def _version(facts: dict[str, object]) -> str:
    return f"fade {facts['operator_version']}" if "operator_version" in facts else ""


def _headers(facts: dict[str, object]) -> str:
    """101600 is TensorRT 10.16."""
    number = facts.get("headers")
    return f"TensorRT {number // 10000}.{number // 100 % 100}" if isinstance(number, int) else "TensorRT"


def _minor(version: str) -> int:
    """Of onnxruntime 1.N, which is the API level that it has."""
    part = version.split(".")[1:2]
    return int(part[0]) if part and part[0].isdecimal() else 0
