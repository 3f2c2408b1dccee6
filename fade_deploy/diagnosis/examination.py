"""One examination: what is installed, every probe at once, then the rows in the order of the screen."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from fade_deploy.diagnosis.child import Answer, ask
from fade_deploy.diagnosis.file_rows import file_row, known_bad_rows, loading_row
from fade_deploy.diagnosis.installed import admitted, installed_version
from fade_deploy.diagnosis.known_bad import load_known_bad
from fade_deploy.diagnosis.library_kind import kind_of
from fade_deploy.diagnosis.library_rows import given_library_row, installed_library_row, missing_library_row
from fade_deploy.diagnosis.onnx_file import read_onnx
from fade_deploy.diagnosis.package_rows import Judge, own_row, python_row
from fade_deploy.diagnosis.row import Diagnosis, Row, Status
from fade_deploy.diagnosis.runtime_rows import (
    driver_row,
    driver_versions,
    onnxruntime_row,
    provider_row,
    tensorrt_row,
    triton_client_row,
    triton_server_row,
)
from fade_deploy.provider import Provider
from fade_deploy.runtimes.engine_flavour import Flavour
from fade_deploy.runtimes.native_libraries import NativeLibrary

__all__ = ["TIME_LIMIT", "Examination"]

TIME_LIMIT = 20.0  # seconds of one probe; the slowest, an import of PyTorch, takes 3 to 5 where it is not the first
_PATIENCE = {"file": 3}  # times that: a large file takes its time to load

# Distribution -> the other names that it goes by; the first that is installed counts.
_DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "numpy": (),
    "torch": (),
    "onnx": (),
    "onnxscript": (),
    "polygraphy": (),
    "safetensors": (),
    "pillow": (),
    "onnxruntime": (),
    "onnxruntime-gpu": (),
    "tensorrt": ("tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt-rtx": ("tensorrt-rtx-cu13",),
    "tritonclient": (),
    "nvidia-pytriton": (),
}
# Distribution -> the probe, and what it is for.
_PACKAGES: dict[str, tuple[str, dict[str, Any], str]] = {
    "numpy": ("package", {"module": "numpy"}, "computes"),
    "torch": ("torch", {}, "exports and verifies"),
    "onnx": ("onnx", {}, "exports"),
    "onnxscript": ("package", {"module": "onnxscript"}, "exports"),
    "polygraphy": ("package", {"module": "polygraphy"}, "verifies"),
    "safetensors": ("package", {"module": "safetensors"}, "reads .safetensors"),
    "pillow": ("package", {"module": "PIL.Image"}, "reads pictures"),
}
_PROVIDER_OF = {
    NativeLibrary.ONNXRUNTIME_CPU: Provider.CPU,
    NativeLibrary.ONNXRUNTIME_CUDA: Provider.CUDA,
}

_Probes = dict[str, tuple[str, dict[str, Any]]]


class Examination:
    """What is to be examined; the arguments are those of :func:`fade_deploy.diagnosis`.

    Raises:
        InputError: The model is no ONNX file, or a library can't be read.
    """

    def __init__(self, *, model: Path | None, libraries: tuple[Path, ...], time_limit: float) -> None:
        self._time_limit = time_limit
        self._model = None if model is None else model.resolve()
        self._file = None if model is None else read_onnx(model)
        self._given = {path.resolve(): kind_of(path).library for path in libraries}
        self._installed = {library: path.resolve() for library in NativeLibrary if (path := library.installed)}
        found = {name: installed_version(name, *others) for name, others in _DISTRIBUTIONS.items()}
        self._versions = {name: version for name, version in found.items() if version}
        gpu = "onnxruntime-gpu" in self._versions
        self._providers = [provider for provider in Provider if gpu or provider is Provider.CPU]

    def diagnosis(self) -> Diagnosis:
        """Ask everything at once, and judge."""
        probes = self._probes()
        with ThreadPoolExecutor(max_workers=max(4, os.cpu_count() or 1)) as pool:
            asked = {
                key: pool.submit(ask, probe, limit=self._time_limit * _PATIENCE.get(probe, 1), **arguments)
                for key, (probe, arguments) in probes.items()
            }
            answers = {key: future.result() for key, future in asked.items()}
        return Diagnosis(rows=tuple(self._rows(answers)))

    def _probes(self) -> _Probes:
        """Everything that is asked: key -> (probe, arguments). The slowest is the first."""
        probes: _Probes = {"torch": ("torch", {})}
        for provider in self._providers:
            probes[f"session {provider}"] = ("session", {"provider": provider})
        for flavour in Flavour:
            plugins = str(self._library(NativeLibrary.TENSORRT) or "")
            probes[flavour] = ("tensorrt", {"module": flavour.module, "plugins": plugins})
        for distribution, (probe, arguments, _) in _PACKAGES.items():
            probes[distribution] = (probe, arguments)
        probes["tritonclient"] = ("triton_client", {})
        probes["driver"] = ("driver", {})
        for path, library in [*self._given.items(), *((path, name) for name, path in self._installed.items())]:
            probes[f"library {path}"] = ("library", {"path": str(path)})
            its_provider = library and _PROVIDER_OF.get(library)
            if its_provider in self._providers:
                probes[f"operators {path}"] = ("operators", {"provider": its_provider, "path": str(path)})
        for library, provider in _PROVIDER_OF.items():  # TensorRT's would build an engine, for minutes
            if self._model is not None and provider in self._providers:
                native = str(self._library(library) or "")
                probes[f"file {provider}"] = (
                    "file",
                    {"model": str(self._model), "provider": provider, "library": native},
                )
        return probes

    def _library(self, library: NativeLibrary) -> Path | None:
        """The one that was given, else the installed one."""
        given = (path for path, kind in self._given.items() if kind is library)
        return next(given, self._installed.get(library))

    def _rows(self, answers: Mapping[str, Answer]) -> Iterator[Row]:
        versions = {**self._versions, **driver_versions(answers["driver"])}
        judge = Judge(ranges=_ranges(), known=load_known_bad(), versions=versions)
        yield python_row()
        yield own_row()
        for distribution, (_, _, why) in _PACKAGES.items():
            answer = answers[distribution]
            yield judge.package(distribution, answer, found=_done(distribution, answer), why=why)
        runtime = onnxruntime_row(judge, answers[f"session {Provider.CPU}"])
        yield runtime
        runs = runtime.status in (Status.OK, Status.BAD_VERSION)
        if runs:  # else its providers could only say it again
            for provider in Provider:
                yield provider_row(judge, provider, answers.get(f"session {provider}"))
        for flavour in Flavour:
            yield tensorrt_row(judge, flavour, answers[flavour])
        for library in NativeLibrary:
            if path := self._installed.get(library):
                loaded, ran = answers[f"library {path}"], answers.get(f"operators {path}") if runs else None
                yield installed_library_row(library, path, loaded, ran, runtime_version=runtime.version)
            else:
                yield missing_library_row(library)
        yield driver_row(answers["driver"], answers["torch"])
        yield triton_client_row(judge, answers["tritonclient"])
        if "nvidia-pytriton" in versions:
            yield triton_server_row(versions)
        for path in self._given:
            loaded, ran = answers[f"library {path}"], answers.get(f"operators {path}") if runs else None
            yield given_library_row(path, loaded, ran, runtime_version=runtime.version)
        yield from self._file_rows(answers, judge, runs=runs)

    def _file_rows(self, answers: Mapping[str, Answer], judge: Judge, *, runs: bool) -> Iterator[Row]:
        if self._file is None or self._model is None:
            return
        name = self._model.name
        yield file_row(name, self._file)
        for library, provider in _PROVIDER_OF.items():
            if runs and (answer := answers.get(f"file {provider}")):
                path = self._library(library)
                yield loading_row(name, provider, self._file, answer, has_library=path is not None)
        yield from known_bad_rows(name, self._file, judge.known, judge.versions)


def _ranges() -> dict[str, tuple[SpecifierSet, str]]:
    """What is admitted; of TensorRT what the runner supports, whatever the extras say."""
    ranges = admitted()
    for flavour in Flavour:
        lowest = ".".join(map(str, flavour.lowest))
        ranges[str(flavour)] = (SpecifierSet(f">={lowest},<{flavour.highest_major + 1}"), str(flavour))
    return ranges


def _done(distribution: str, answer: Answer) -> str:
    """What a package did that works."""
    if distribution == "onnx":
        return "checked and evaluated the proof model"
    if distribution != "torch":
        return "imported"
    if not (cuda := answer.facts.get("cuda")):
        return "multiplied on the CPU, which it is built for"
    gpu = answer.facts.get("gpu")
    return f"multiplied on the CPU and on {gpu}" if gpu else f"multiplied on the CPU; built for CUDA {cuda}, no GPU"
